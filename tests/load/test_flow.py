"""The transactions of a session, without a socket: a strict server in memory answers, and may refuse."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress, product, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.plain import plain
from smtpbench.load.flow import Flow
from smtpbench.load.identifiers import Identifiers
from smtpbench.load.recorder import Recorder
from smtpbench.load.script import Script, Transaction
from smtpbench.load.supply import Budget

RECIPIENTS = ["a@example.net", "b@example.net"]
LIMIT = 500  # reads of the server: more than any of these sessions needs


@dataclass
class Peer:
    """A server that keeps to the order of RFC 5321 §4.1.4, but answers `refusals` (verb, nth) instead.

    `strict` is whether DATA without a recipient is refused; 354 is allowed as well (RFC 2920 §3.1), but
    not in LMTP (RFC 2033 §4.2).
    """

    refusals: dict[tuple[str, int], int] = field(default_factory=dict)
    strict: bool = True
    lmtp: bool = False
    contents: list[bytes] = field(default_factory=list)
    accepted: int = 0
    bad_order: list[bytes] = field(default_factory=list)
    closed: bool = False
    _pending: bytes = b""
    _counts: Counter[str] = field(default_factory=Counter)
    _mail: bool = False
    _rcpts: int = 0
    _in_data: bool = False
    _dirty: bool = False  # a BDAT failed: RSET alone may follow

    def feed(self, data: bytes) -> bytes:
        """The replies to what came."""
        self._pending += data
        return b"".join(b"%d said\r\n" % code for code in self._answers())

    def reopen(self) -> None:
        """The next connection."""
        self.closed = self._mail = self._in_data = self._dirty = False
        self._pending, self._rcpts = b"", 0

    def _answers(self) -> Iterator[int]:
        while not self.closed:
            if self._in_data:
                content, end, rest = (b"\r\n" + self._pending).partition(b"\r\n.\r\n")
                if not end:
                    return
                self._pending, self._in_data = rest, False
                yield from self._take(content[2:] + b"\r\n", self._rcpts, "content")
                continue
            line, end, rest = self._pending.partition(b"\r\n")
            if not end:
                return
            verb = line[:4].decode()
            if verb == "BDAT":
                size = int(re.fullmatch(rb"BDAT (\d+) LAST", line)[1])
                if len(rest) < size:
                    return
                content, self._pending = rest[:size], rest[size:]
                yield from self._bdat(content)
            else:
                self._pending = rest
                yield self._command(verb, line)

    def _command(self, verb: str, line: bytes) -> int:
        if self._dirty and verb != "RSET":
            self.bad_order.append(line)
        if verb == "RSET":
            self._mail, self._rcpts, self._dirty = False, 0, False
            return self._judge(verb, 250)
        if verb == "MAIL":
            if self._mail:
                self.bad_order.append(line)
                return 503
            code = self._judge(verb, 250)
            self._mail = code == 250
            return code
        if verb == "RCPT":
            code = self._judge(verb, 250 if self._mail else 503)
            self._rcpts += code == 250
            return code
        assert verb == "DATA"
        code = self._judge(
            verb, 354 if self._mail and (self._rcpts or not (self.strict or self.lmtp)) else 503
        )
        self._in_data = code == 354
        return code

    def _bdat(self, content: bytes) -> Iterator[int]:
        if not self._rcpts:
            self._dirty = True
            if not self.lmtp:  # RFC 2033 §4.3: there it has no reply
                yield self._judge("content", 503)
            return
        for code in self._take(content, self._rcpts, "content"):
            self._dirty = self._dirty or code != 250
            yield code

    def _take(self, content: bytes, recipients: int, what: str) -> Iterator[int]:
        self._mail, self._rcpts = False, 0
        codes = [self._judge(what, 250 if recipients else 554) for _ in range(recipients if self.lmtp else 1)]
        if set(codes) == {250}:
            self.accepted += 1
            self.contents.append(content)
        return iter(codes)

    def _judge(self, what: str, code: int) -> int:
        self._counts[what] += 1
        code = self.refusals.get((what, self._counts[what]), code)
        self.closed = self.closed or code == 421
        return code


class Wire(asyncio.Transport):
    """What a flow writes to: everything goes to `peer`, whose replies wait to be read."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer, self.waiting, self.writes, self.aborted = peer, b"", [], False

    def write(self, data: Any) -> None:
        self.writes.append(data)
        self.waiting += self.peer.feed(data)

    def abort(self) -> None:
        self.aborted = True


def script_of(*, lmtp: bool = False) -> Script:
    """Messages of 600 octets to both recipients."""
    content = Content(plain(600, "s@example.org", RECIPIENTS), Identifiers())
    transaction = Transaction(
        b"MAIL FROM:<s@example.org>\r\n",
        tuple(b"RCPT TO:<%s>\r\n" % name.encode() for name in RECIPIENTS),
        content.next_content,
        content.next_bdat,
    )
    return Script(repeat(transaction).__next__, lmtp)


async def session(
    peer: Peer,
    messages: int,
    *,
    pipelining: bool,
    chunking: bool = False,
    cut: int = 1 << 20,
    lmtp: bool = False,
) -> tuple[Counter[str], Recorder, Wire]:
    """Send `messages` over as many sessions as it takes; replies come in pieces of `cut` octets."""
    recorder = Recorder()
    supply = Budget(recorder, messages)
    script = script_of(lmtp=lmtp)
    rested: list[Flow] = []
    wire = Wire(peer)
    for _ in range(messages + 1):
        flow, wire = Flow(script, recorder, supply), Wire(peer)
        flow.connection_made(wire)
        flow.pipelining, flow.chunking = pipelining, chunking
        flow.run(rested.append)
        for _ in range(LIMIT * 12):
            if not wire.waiting:
                break
            data, wire.waiting = wire.waiting[:cut], wire.waiting[cut:]
            flow.data_received(data)
        if peer.closed:
            flow.connection_lost(None)
            peer.reopen()
        if supply.spent:
            break
    assert rested
    assert rested[-1] is flow
    return (
        Counter({name: n for name, n in recorder.counters.items() if n and name != "offered"}),
        recorder,
        wire,
    )


WORDS = ("pipelining", "chunking", "lmtp")
MANNERS = [
    pytest.param(dict(zip(WORDS, on, strict=True)), id="-".join(compress(WORDS, on)) or "plain")
    for on in product([False, True], repeat=len(WORDS))
]


@pytest.mark.parametrize("manner", MANNERS)
async def test_every_message_is_sent_once(manner: dict[str, bool]) -> None:
    peer = Peer(lmtp=manner["lmtp"])
    counters, recorder, wire = await session(peer, 5, **manner)
    assert counters == {"accepted": 5}
    assert len(set(peer.contents)) == peer.accepted == 5
    assert {len(content) for content in peer.contents} == {600}
    assert not peer.bad_order
    assert any(b"BDAT 600 LAST\r\n" in write for write in wire.writes) == manner["chunking"]
    series = recorder.take_batch().series
    counts = {name: int(sparse.counts.sum()) for name, sparse in series.items()}
    without_data = {"mail": 5, "rcpt": 10, "body": 5, "transaction": 5}
    assert counts == (without_data if manner["chunking"] else {**without_data, "data": 5})


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lax"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_refused_the_counts_and_the_order_hold(
    manner: dict[str, bool], strict: bool, data: st.DataObject
) -> None:
    refusals = data.draw(
        st.dictionaries(
            st.tuples(st.sampled_from(["MAIL", "RCPT", "DATA", "content", "RSET"]), st.integers(1, 6)),
            st.sampled_from([421, 451, 550, 503]),
            max_size=5,
        )
    )
    peer = Peer(refusals, strict=strict, lmtp=manner["lmtp"])
    counters, _, _ = asyncio.run(session(peer, 5, cut=data.draw(st.integers(1, 40)), **manner))
    assert sum(counters.values()) == 5
    assert counters["accepted"] == peer.accepted == len(set(peer.contents))
    assert not peer.bad_order


STEPS = ["MAIL", "RCPT", "DATA", "content"]


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("step", STEPS)
async def test_cut_at_every_octet_a_refusal_is_the_same(manner: dict[str, bool], step: str) -> None:
    def refusing() -> Peer:
        return Peer({(step, n): 552 for n in ((3, 4) if step == "RCPT" else (2,))}, lmtp=manner["lmtp"])

    whole, _, _ = await session(refusing(), 3, **manner)
    for cut in range(1, 45):
        assert (await session(refusing(), 3, cut=cut, **manner))[0] == whole
    failures = 0 if step == "DATA" and manner["chunking"] else 1
    assert whole == Counter({"accepted": 3 - failures, **({"rejected_5xx": 1} if failures else {})})


LIES = (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 ok\r\n")


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("answered", range(10))
async def test_a_server_that_answers_what_it_has_not_read_gets_no_content_until_it_has(
    pipelining: bool, answered: int
) -> None:
    recorder, wire = Recorder(), Wire(Peer())
    flow = Flow(script_of(), recorder, Budget(recorder, None))
    flow.connection_made(wire)
    flow.pipelining = pipelining
    flow.run(lambda flow: None)
    for number in range(answered):
        flow.data_received(LIES[number % len(LIES)])
    flow.pause_writing()
    before = len(wire.writes)
    for number in range(answered, answered + 2 * len(LIES)):
        if flow._held is None:
            flow.data_received(LIES[number % len(LIES)])
    assert flow._held is not None
    assert not any(b"Message-ID" in write for write in wire.writes[before:])
    held = len(wire.writes)
    flow.resume_writing()
    assert len(wire.writes) == held + 1


async def test_an_answer_to_a_content_that_is_held_back_ends_the_session() -> None:
    recorder, wire = Recorder(), Wire(Peer())
    flow = Flow(script_of(), recorder, Budget(recorder, None))
    flow.connection_made(wire)
    flow.run(lambda flow: None)
    flow.pause_writing()
    for lie in LIES:
        flow.data_received(lie)
    assert flow.broken
    assert wire.aborted
    assert recorder.counters["dropped"] == 1
    flow.resume_writing()
    assert not any(b"Message-ID" in write for write in wire.writes)


async def test_a_refused_recipient_of_two_costs_no_message() -> None:
    for pipelining, chunking in product([False, True], repeat=2):
        counters, _, _ = await session(Peer({("RCPT", 1): 550}), 2, pipelining=pipelining, chunking=chunking)
        assert counters == {"accepted": 2}


async def test_a_whole_transaction_of_bdat_is_one_write() -> None:
    _, _, wire = await session(Peer(), 3, pipelining=True, chunking=True)
    assert len(wire.writes) == 3
    for write in wire.writes:
        head, _, content = write.partition(b"BDAT 600 LAST\r\n")
        assert head.count(b"\r\n") == 3
        assert len(content) == 600


async def test_without_chunking_offered_the_message_goes_as_data() -> None:
    _, _, wire = await session(Peer(), 2, pipelining=True, chunking=False)
    assert not any(b"BDAT" in write for write in wire.writes)


@pytest.mark.parametrize("pipelining", [False, True])
async def test_a_failed_bdat_is_followed_by_rset_and_nothing_else(pipelining: bool) -> None:
    _, _, wire = await session(Peer({("content", 1): 452}), 2, pipelining=pipelining, chunking=True)
    failed = next(n for n, write in enumerate(wire.writes) if b"BDAT" in write)
    assert wire.writes[failed + 1] == b"RSET\r\n"
