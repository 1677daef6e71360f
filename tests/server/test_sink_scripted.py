"""A sink that follows a script, on a socket: each kind of misbehaviour as a client meets it."""

import asyncio
import contextlib
import time

import pytest

from smtpbench.server.sink import sink_config
from smtpbench.server.sink_script import SinkScript
from smtpbench.server.sink_scripted import ScriptedSink

WAIT = 20
MESSAGE = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nhello\r\n.\r\n"
TO_TWO = MESSAGE.replace(b"DATA", b"RCPT TO:<c@z.example>\r\nDATA")
EHLO, QUIT = b"EHLO x.example\r\n", b"QUIT\r\n"


class Outcome:
    def __init__(self, said, sink, taken, took_s):
        self.said, self.taken, self.took_s = said, taken, took_s
        self.counts = sink.counts
        self.codes = [int(line[:3]) for line in said.split(b"\r\n")[:-1] if line[3:4] == b" "]


async def play(*rules, octets=EHLO + MESSAGE + QUIT, lmtp=False, **script):
    """One session with a sink that follows `rules`."""
    taken = []
    sink = ScriptedSink(SinkScript(rule=rules, **script), sink_config(lmtp=lmtp), consumer=taken.extend)
    async with asyncio.timeout(WAIT), sink:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        try:
            writer.write(octets)
            said = await reader.read()
        finally:
            writer.close()
        took = time.monotonic() - begun
    return Outcome(said, sink, taken, took)


async def test_a_rule_that_does_not_hold_changes_nothing():
    outcome = await play({"on": "rcpt", "recipient": "nobody@*", "reply": "550"})
    assert outcome.codes == [220, 250, 250, 250, 354, 250, 221]
    assert [(one.sender, one.recipients, one.content) for one in outcome.taken] == [
        (b"a@x.example", (b"b@y.example",), b"hello\r\n")
    ]
    assert outcome.counts.scripted == {}


@pytest.mark.parametrize(
    ("on", "codes"),
    [
        ("ehlo", [220, 451, 503, 503, 503, 500, 500, 221]),
        ("mail", [220, 250, 451, 503, 503, 500, 500, 221]),
        ("rcpt", [220, 250, 250, 451, 503, 500, 500, 221]),
        ("data", [220, 250, 250, 250, 451, 500, 500, 221]),
        ("body", [220, 250, 250, 250, 354, 451, 221]),
    ],
)
async def test_a_refusal_on_each_command(on, codes):
    """The content of a message that was not asked for is taken for commands, as RFC 5321 has it."""
    outcome = await play({"on": on, "reply": "451 4.3.2 No"})
    assert outcome.codes == codes
    assert b"451 4.3.2 No\r\n" in outcome.said
    assert outcome.counts.scripted == {f"{on} 451": 1}
    assert outcome.taken == []


@pytest.mark.parametrize("code", [421, 554])
async def test_no_service(code):
    outcome = await play({"on": "connect", "reply": f"{code} 4.3.2 No"}, octets=b"")
    assert outcome.codes == [code]


async def test_421_closes():
    assert (await play({"on": "rcpt", "reply": "421 4.3.2 Gone"})).codes == [220, 250, 250, 421]
    assert (await play({"on": "quit", "reply": "421"})).codes == [220, 250, 250, 250, 354, 250, 421]


@pytest.mark.parametrize("on", ["connect", "ehlo", "mail", "rcpt", "data", "body", "quit"])
async def test_a_drop_in_place_of_each_reply(on):
    places = ["connect", "ehlo", "mail", "rcpt", "data", "body", "quit"]
    outcome = await play({"on": on, "drop": "before"}, octets=EHLO + MESSAGE + QUIT)
    assert outcome.codes == [220, 250, 250, 250, 354, 250, 221][: places.index(on)]
    assert len(outcome.taken) == (1 if on == "quit" else 0)
    assert outcome.counts.scripted == {f"{on} dropped before the reply": 1}


async def test_a_drop_after_the_final_dots_reply():
    outcome = await play({"on": "body", "drop": "after"}, octets=EHLO + MESSAGE + MESSAGE)
    assert outcome.codes == [220, 250, 250, 250, 354, 250]
    assert len(outcome.taken) == outcome.counts.messages == 1


async def test_a_message_that_is_taken_and_not_acknowledged():
    outcome = await play({"on": "body", "drop": "before", "taken": True})
    assert outcome.codes == [220, 250, 250, 250, 354]
    assert len(outcome.taken) == 1


async def test_one_recipient_of_two_is_refused():
    rule = {"on": "rcpt", "domain": "y.example", "reply": "550 5.1.1 Nobody"}
    outcome = await play(rule, octets=EHLO + TO_TWO + QUIT)
    assert outcome.codes == [220, 250, 250, 550, 250, 354, 250, 221]
    assert [one.recipients for one in outcome.taken] == [(b"c@z.example",)]


async def test_a_verdict_on_the_message_is_for_all_recipients_and_in_lmtp_for_each():
    rule = {"on": "body", "domain": "y.example", "reply": "452 4.2.2 Full"}
    smtp = await play(rule, octets=EHLO + TO_TWO + QUIT)
    assert smtp.codes[-2:] == [452, 221]
    assert smtp.taken == []
    lmtp = await play(rule, octets=b"LHLO x.example\r\n" + TO_TWO + QUIT, lmtp=True)
    assert lmtp.codes[-3:] == [452, 250, 221]
    assert [one.recipients for one in lmtp.taken] == [(b"c@z.example",)]


async def test_chunks_have_the_same_end():
    octets = EHLO + MESSAGE.partition(b"DATA")[0] + b"BDAT 7 LAST\r\nhello\r\n" + QUIT
    assert (await play({"on": "body", "reply": "451"}, octets=octets)).codes[-2:] == [451, 221]
    assert len((await play({"on": "rcpt", "delay_s": 0.01}, octets=octets)).taken) == 1


@pytest.mark.parametrize("on", ["connect", "ehlo", "mail", "rcpt", "data", "body", "quit"])
async def test_a_delay_before_each_reply(on):
    outcome = await play({"on": on, "delay_s": 0.15})
    assert outcome.took_s >= 0.15
    assert outcome.codes == [220, 250, 250, 250, 354, 250, 221]
    assert len(outcome.taken) == 1
    assert outcome.counts.scripted == {f"{on} delayed": 1}


async def test_extensions_that_are_missing():
    always = await play({"on": "rcpt", "delay_s": 0.01}, without=("CHUNKING",))
    assert b"CHUNKING" not in always.said
    octets = EHLO + b"BDAT 1\r\n" + QUIT
    once = await play({"on": "ehlo", "without": ("CHUNKING", "DSN")}, octets=octets)
    assert b"CHUNKING" not in once.said
    assert b"DSN" not in once.said
    assert b"8BITMIME" in once.said
    assert once.codes == [220, 250, 502, 221]
    assert once.counts.scripted == {"ehlo without CHUNKING DSN": 1}


async def test_greylisting():
    first = MESSAGE.partition(b"DATA")[0]
    outcome = await play({"on": "rcpt", "greylist_s": 60}, octets=EHLO + first + QUIT)
    assert outcome.codes == [220, 250, 250, 450, 221]
    assert outcome.counts.scripted == {"rcpt 450": 1}


async def test_slow_reading():
    content = (b"x" * 98 + b"\r\n") * 100
    octets = EHLO + MESSAGE.replace(b"hello\r\n", content) + QUIT
    sink = ScriptedSink(SinkScript(rule=[{"on": "connect", "read_rate": 50_000}]))
    async with asyncio.timeout(WAIT), sink:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        for start in range(0, len(octets), 1_000):
            writer.write(octets[start : start + 1_000])
            await writer.drain()
        said = await reader.read()
        took = time.monotonic() - begun
        writer.close()
    assert b"221" in said
    assert took >= 0.1
    assert sink.counts.octets == len(content)


async def test_the_hop_goes_down_and_comes_up_on_the_same_port():
    sink = ScriptedSink(SinkScript(outages_s=[(0.2, 0.6)]))
    async with asyncio.timeout(WAIT), sink:
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        assert (await reader.readline()).startswith(b"220")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", sink.port)
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
        assert (await reader.readline()).startswith(b"220")
        writer.close()
    assert sink.counts.scripted == {"down": 1}


class Telling(ScriptedSink):
    """Says when something has happened."""

    def __init__(self, **script):
        super().__init__(SinkScript(**script))
        self.happened = asyncio.Event()

    def open_session(self):
        self.happened.set()
        return super().open_session()

    def note(self, what):
        super().note(what)
        self.happened.set()


async def test_stopping_in_the_middle_of_a_delay_and_of_an_outage():
    async with asyncio.timeout(WAIT):
        async with Telling(
            rule=[{"on": "connect", "delay_s": 60}], flapping={"up_s": 60, "down_s": 1}
        ) as sink:
            reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
            await sink.happened.wait()
        assert await reader.read() == b""
        writer.close()
        async with Telling(outages_s=[(0, 60)]) as down:
            await down.happened.wait()
        assert down.counts.scripted == {"down": 1}
