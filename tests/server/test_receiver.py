"""The strict receiver: order, mailboxes, content, trace, limits. Sans-IO, no clock."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.server import ServerConfig
from smtpbench.server.config import ALL_EXTENSIONS
from smtpbench.server.dialogue import Close
from smtpbench.target import Role

HELLO = b"EHLO client.example.org\r\n"
MAIL = b"MAIL FROM:<sender@example.org>\r\n"
RCPT = b"RCPT TO:<alice@example.com>\r\n"


def test_greeting_and_ehlo(talk):
    assert talk.greeting == b"220 mx.example.com ESMTP smtpbench reference server\r\n"
    lines = talk.say(HELLO).split(b"\r\n")
    assert lines[0] == b"250-mx.example.com greets client.example.org"
    assert lines[1:-2] == [
        b"250-PIPELINING",
        b"250-SIZE 33554432",
        b"250-8BITMIME",
        b"250-SMTPUTF8",
        b"250-CHUNKING",
        b"250-BINARYMIME",
        b"250-ENHANCEDSTATUSCODES",
        b"250-DSN",
        b"250-HELP",
        b"250-EXPN",
        b"250-VRFY",
        b"250-ETRN",
        b"250-DELIVERBY 60",
        b"250-MTRK",
        b"250-MT-PRIORITY MIXER",
        b"250-RRVS",
        b"250-PRDR",
    ]
    assert lines[-2] == b"250 LIMITS RCPTMAX=1000"


def test_helo_gets_one_line_and_no_extensions(talk):
    assert talk.say(b"HELO a.example\r\n") == b"250 mx.example.com greets a.example\r\n"
    assert talk.codes(b"MAIL FROM:<> SIZE=1\r\nMAIL FROM:<>\r\n") == [555, 250]


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"NOOP\r\nHELP\r\nRSET\r\nVRFY postmaster\r\nEXPN alice\r\n", [250, 214, 250, 250, 250]),
        (b"MAIL FROM:<>\r\n" + RCPT + b"DATA\r\n", [503, 503, 503]),
        (HELLO + RCPT + b"DATA\r\n", [250, 503, 503]),
        (HELLO + MAIL + MAIL, [250, 250, 503]),
        (HELLO + MAIL + b"DATA\r\n", [250, 250, 503]),
        (HELLO + MAIL + b"RCPT TO:<nobody@example.com>\r\nDATA\r\n", [250, 250, 550, 503]),
        (HELLO + MAIL + b"RCPT TO:<x@elsewhere.example>\r\n" + RCPT, [250, 250, 550, 250]),
        (HELLO + MAIL + RCPT + b"RSET\r\nDATA\r\n" + RCPT, [250, 250, 250, 250, 503, 503]),
        (HELLO + MAIL + RCPT + HELLO + b"DATA\r\n", [250, 250, 250, 250, 503]),
        (HELLO + MAIL + RCPT + b"EHLO bad_arg!\r\n" + RCPT, [250, 250, 250, 501, 250]),
        (
            HELLO + MAIL + RCPT + b"NOOP\r\nVRFY x\r\nHELP\r\nEXPN x\r\nDATA\r\n",
            [250] * 4 + [550, 214, 550, 354],
        ),
        (HELLO + b"MAIL FROM:<bad addr>\r\n" + RCPT, [250, 501, 503]),
        (HELLO + b"MAIL FROM:<> SIZE=99999999999999999999\r\n" + RCPT, [250, 552, 503]),
        (
            HELLO + b"LHLO a\r\nFOO\r\n\r\nSTARTTLS\r\nAUTH PLAIN\r\nTURN\r\n",
            [250, 500, 500, 500, 502, 502, 502],
        ),
        (b"VRFY random@nonexistent.example\r\nVRFY \xc3\xa9\r\nVRFY \xc3\xa9 SMTPUTF8\r\n", [252, 550, 550]),
        (b"HELP NOOP\r\nHELP FOO\r\n", [214, 504]),
    ],
)
def test_codes(talk, data, codes):
    assert talk.codes(data) == codes


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        (b"Postmaster", 250),
        (b"POSTMASTER@Example.COM", 250),
        (b"Alice@example.com", 250),
        (b'"alice"@example.com', 250),
        (b'"al\\ice"@example.com', 250),
        (b"alice+list@example.com", 250),
        (b"@a.example,@b.example:alice@example.com", 250),
        (b"nobody@example.com", 550),
        (b"alice%elsewhere.example@example.com", 550),
        (b"elsewhere.example!alice@example.com", 550),
        (b'"alice@elsewhere.example"@example.com', 550),
        (b"@example.com:alice@elsewhere.example", 550),
        (b"alice@[127.0.0.1]", 550),
        (b"alice@sub.example.com", 550),
    ],
)
def test_recipients(talk, recipient, code):
    talk.say(HELLO + MAIL)
    assert talk.codes(b"RCPT TO:<" + recipient + b">\r\n") == [code]


def test_delivery_has_exactly_the_content_below_the_trace(talk):
    assert talk.send(b"Subject: x\r\n\r\n..one\r\n.two\r\n \r\nbare\nlf\r\n") == [354, 250]
    (copy,) = talk.stored
    assert (copy.mailbox, copy.sender, copy.recipients) == (
        "alice",
        b"sender@example.org",
        (b"alice@example.com",),
    )
    head, content = copy.content.split(b"Subject:")
    assert content == b" x\r\n\r\n.one\r\ntwo\r\n \r\nbare\nlf\r\n"
    lines = head.split(b"\r\n")
    assert lines[0] == b"Return-Path: <sender@example.org>"
    assert lines[1] == b"Received: from client.example.org ([127.0.0.1])"
    assert lines[2].startswith(b"\tby mx.example.com with ESMTP id ")
    assert lines[3:] == [b"\tfor <alice@example.com>;", b"\tSun, 01 Mar 2026 12:00:00 +0000", b""]


def test_each_mailbox_gets_one_copy_that_names_no_other(talk):
    assert talk.send(b"\r\n", (b"alice@example.com", b"bob@example.com", b"Alice@example.com")) == [354, 250]
    assert sorted(copy.mailbox for copy in talk.stored) == ["alice", "bob"]
    by_mailbox = {copy.mailbox: copy.content for copy in talk.stored}
    assert b"bob" not in by_mailbox["alice"]
    assert b"lice" not in by_mailbox["bob"]


def test_the_null_sender_and_a_source_route(talk):
    talk.send(b"\r\n", (b"@a.example:MiXeD+Case@example.com", b"@a.example:Bob@example.com"), b"")
    (copy,) = talk.stored
    assert copy.content.startswith(b"Return-Path: <>\r\n")
    assert copy.recipients == (b"Bob@example.com",)


def test_two_transactions_pipelined_with_content(talk):
    group = HELLO + MAIL + RCPT + b"DATA\r\none\r\n.\r\n" + MAIL + RCPT + b"DATA\r\ntwo\r\n.\r\nQUIT\r\n"
    assert talk.codes(group) == [250, 250, 250, 354, 250, 250, 250, 354, 250, 221]
    assert [copy.content[-5:] for copy in talk.stored] == [b"one\r\n", b"two\r\n"]
    assert isinstance(talk.receiver.action, Close)


def test_a_failing_store_is_a_temporary_refusal(new_talk):
    talk = new_talk(works=False)
    assert talk.send(b"x\r\n") == [354, 451]
    assert talk.codes(RCPT) == [503]


def test_content_beyond_the_limit_is_read_and_refused(new_talk):
    talk = new_talk(max_size=100)
    assert talk.send(b"x" * 98 + b"\r\n") == [354, 250]
    assert talk.send(b"." + b"." * 98 + b"\r\n") == [354, 250]  # the stuffed dot does not count
    assert talk.send(b"x" * 99 + b"\r\n") == [354, 552]
    assert talk.codes(b"NOOP\r\n") == [250]
    assert len(talk.stored) == 2


def test_loops_are_stopped_beyond_a_hundred_hops(talk):
    hop = b"Received: from a by b; Sun, 01 Mar 2026 12:00:00 +0000\r\n"
    assert talk.send(hop * 100 + b"\r\n") == [354, 250]
    assert talk.send(hop * 101 + b"\r\n") == [354, 554]
    assert talk.send(b"\r\n" + hop * 101) == [354, 250]


@pytest.mark.parametrize(("content", "code"), [(b"a\nb\r\n", 554), (b"a\rb\r\n", 554), (b"ab\r\n", 250)])
def test_bare_line_ends_can_be_refused(new_talk, content, code):
    talk = new_talk(bare_line_ends="refuse")
    assert talk.send(content) == [354, code]
    assert len(talk.stored) == (code == 250)


@pytest.mark.parametrize("length", [1_000, 4_096, 100_000])
def test_command_lines_up_to_the_limit(talk, length):
    line = b"NOOP " + b"x" * (length - 7) + b"\r\n"
    expected = 250 if length <= talk.receiver.config.max_line else 500
    for size in (1_024, len(line)):
        pieces = [line[i : i + size] for i in range(0, len(line), size)]
        assert b"".join(map(talk.say, pieces))[:3] == str(expected).encode()
        assert talk.codes(b"NOOP\r\n") == [250]
    assert len(talk.receiver.input) == 0


def test_a_line_without_end_is_not_kept(talk):
    for _ in range(100):
        assert talk.say(b"x" * 65_536) == b""
    assert len(talk.receiver.input) <= talk.receiver.config.max_line
    assert talk.codes(b"\r\nNOOP\r\n") == [500, 250]


def test_a_thousand_recipients(new_talk):
    talk = new_talk()
    talk.say(HELLO + MAIL)
    group = b"".join(b"RCPT TO:<alice+%d@example.com>\r\n" % n for n in range(1_001))
    assert talk.codes(group) == [250] * 1_000 + [452]
    assert talk.codes(b"DATA\r\nx\r\n.\r\n") == [354, 250]
    assert len(talk.stored) == 1_000


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"BDAT 5\r\n12345BDAT 2 LAST\r\n\r\n", [250, 250]),
        (b"BDAT 5\r\n1\n.\r\nBDAT 0 LAST\r\n", [250, 250]),
        (b"BDAT 0 LAST\r\nBDAT 0 LAST\r\n", [250, 503]),
        (b"BDAT 1\r\nxDATA\r\n" + RCPT, [250, 503, 503]),
        (b"BDAT 1\r\nxRSET\r\nBDAT 6\r\nNOOP\r\nNOOP\r\n", [250, 250, 503, 250]),
        (b"BDAT 101\r\n" + b"x" * 101 + b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n", [552, 503, 250]),
        (b"BDAT x\r\nBDAT 5 FOO\r\nNOOP\r\n", [501, 501, 250]),
    ],
)
def test_bdat(new_talk, data, codes):
    for size in (1, len(data)):
        talk = new_talk(max_size=100)
        talk.say(HELLO + MAIL + RCPT)
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        assert [int(line[:3]) for line in b"".join(map(talk.say, pieces)).splitlines()] == codes


def test_binary_content_by_bdat_only(talk):
    octets = bytes(range(256)) + b"\r\n.\r\n"
    talk.say(HELLO + b"MAIL FROM:<> BODY=BINARYMIME\r\n" + RCPT)
    assert talk.codes(b"DATA\r\n") == [503]
    assert talk.codes(b"BDAT %d LAST\r\n" % len(octets) + octets) == [250]
    assert talk.stored[0].content.endswith(octets)


def test_bdat_without_a_transaction_is_read_all_the_same(talk):
    assert talk.codes(b"BDAT 6\r\nNOOP\r\n" + HELLO + b"BDAT 6\r\nNOOP\r\nNOOP\r\n") == [503, 250, 503, 250]


def test_smtputf8(talk):
    talk.say(HELLO)
    assert talk.codes("MAIL FROM:<é@x>\r\n".encode()) == [550]
    assert talk.codes("MAIL FROM:<é@x> SMTPUTF8\r\nRCPT TO:<alice@example.com>\r\n".encode()) == [250, 250]
    assert talk.codes("RCPT TO:<u@bücher.example>\r\n".encode()) == [550]
    assert talk.codes(b"DATA\r\n.\r\n") == [354, 250]
    assert b" with UTF8SMTP id " in talk.stored[0].content


def test_lmtp_has_a_reply_for_each_recipient(new_talk):
    talk = new_talk(role=Role.LMTP)
    assert talk.codes(b"EHLO a\r\nHELO a\r\nLHLO a\r\n") == [500, 500, 250]
    assert talk.codes(MAIL + RCPT + b"RCPT TO:<no@example.com>\r\n" + RCPT) == [250, 250, 550, 250]
    assert talk.codes(b"DATA\r\nx\r\n.\r\n") == [354, 250, 250]
    assert b" with LMTP id " in talk.stored[0].content
    assert talk.codes(MAIL + b"DATA\r\n") == [250, 503]
    assert talk.codes(b"BDAT 1 LAST\r\nx" + RCPT + b"BDAT 1\r\nxBDAT 0 LAST\r\n") == [503, 250, 250, 250]


def test_a_sink_takes_anything_and_adds_nothing(new_talk):
    talk = new_talk(sink=True)
    assert talk.send(b"x\r\n", (b"a@b.example", b"c@example.com")) == [354, 250]
    (copy,) = talk.stored
    assert copy.content == b"x\r\n"
    assert copy.recipients == (b"a@b.example", b"c@example.com")


def test_extensions_can_be_switched_off(new_talk):
    extensions = ServerConfig.extensions - {"CHUNKING", "SIZE", "HELP", "ENHANCEDSTATUSCODES", "DSN"}
    talk = new_talk(extensions=extensions)
    assert b"CHUNKING" not in talk.say(HELLO)
    assert talk.codes(b"BDAT 4\r\nHELP\r\n") == [502, 502]
    assert talk.codes(b"MAIL FROM:<> SIZE=1\r\nMAIL FROM:<> RET=FULL\r\n") == [555, 555]
    assert talk.say(b"NOOP\r\n") == b"250 OK\r\n"


def test_last_words(new_talk, talk):
    assert talk.receiver.timed_out().startswith(b"421 4.4.2 ")
    assert isinstance(talk.receiver.action, Close)
    assert new_talk().receiver.shut_down().startswith(b"421 4.3.2 ")


def test_a_disconnect_delivers_nothing(talk):
    talk.say(HELLO + MAIL + RCPT + b"DATA\r\nhalf a message\r\n")
    assert talk.receiver.disconnected() == ()


session = (
    HELLO
    + b"NOOP\r\nnoop x\r\nFOO\r\n"
    + MAIL
    + RCPT
    + b"RCPT TO:<no@example.com>\r\nDATA\r\nSubject: x\r\n\r\n..\r\na\n.\r\nb\r\n.\r\n"
    + MAIL
    + RCPT
    + b"BDAT 3\r\n\r\n.BDAT 2 LAST\r\n\r\nRSET\r\nQUIT\r\n"
)


@given(st.lists(st.integers(0, len(session)), max_size=8))
def test_replies_do_not_depend_on_segmentation(new_talk, cuts):
    whole = new_talk()
    expected = whole.say(session)
    edges = sorted({0, len(session), *cuts})
    talk = new_talk()
    received = b"".join(talk.say(session[a:b]) for a, b in itertools.pairwise(edges))
    assert received == expected
    contents = [[copy.content.partition(b"+0000")[2] for copy in each.stored] for each in (talk, whole)]
    assert contents[0] == contents[1]


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_input_gets_replies_and_no_exception(new_talk, pieces):
    talk = new_talk(max_line=100, max_size=50)
    for piece in pieces:
        if talk.receiver.action is None:
            talk.say(piece)
    assert len(talk.receiver.input) <= 100 + 60


verbs = st.sampled_from(
    [
        HELLO,
        MAIL,
        RCPT,
        b"DATA\r\n",
        b".\r\n",
        b"BDAT 3\r\nabc",
        b"BDAT 1 LAST\r\nx",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"FOO\r\n",
    ]
)


@given(st.lists(verbs, max_size=30))
def test_every_copy_was_accepted_with_a_250(new_talk, steps):
    talk = new_talk()
    out = b"".join(map(talk.say, steps))
    assert out.count(b"2.0.0 Message accepted") == len(talk.stored)


def test_a_server_that_takes_no_mail_answers_503_until_quit(new_talk):
    talk = new_talk(takes_no_mail=True)
    assert talk.greeting == b"554 mx.example.com No SMTP service here\r\n"
    assert talk.codes(HELLO + MAIL + b"NOOP\r\nnonsense\r\n") == [503] * 4
    assert talk.codes(b"QUIT\r\n") == [221]
    assert isinstance(talk.receiver.action, Close)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("VRFY δοκιμή", b"252 2.6.8 "),  # RFC 6531 §3.7.4.2: the mailbox is there and cannot be named
        ("EXPN δοκιμή@example.com", b"252 2.6.8 "),
        ("VRFY δοκιμή SMTPUTF8", "250 2.1.5 <δοκιμή@example.com>\r\n".encode()),
        ("VRFY δοκιμή smtputf8", "250 2.1.5 <δοκιμή@example.com>\r\n".encode()),
        ("VRFY alice SMTPUTF8", b"250 2.1.5 <alice@example.com>\r\n"),
        ("VRFY δοκιμή SMTPUTF8=1", b"550 5.1.1 "),
        ("VRFY SMTPUTF8", b"550 5.1.1 "),
        ("VRFY nobody SMTPUTF8", b"550 5.1.1 "),
    ],
)
def test_a_mailbox_is_named_in_utf8_only_to_who_allows_it(line, reply, new_talk):
    talk = new_talk(mailboxes=("alice", "δοκιμή"))
    assert talk.say(line.encode() + b"\r\n").startswith(reply)


def test_without_smtputf8_its_parameter_is_a_part_of_the_name(new_talk):
    talk = new_talk(mailboxes=("alice",), extensions=ALL_EXTENSIONS - {"SMTPUTF8"})
    assert talk.codes(b"VRFY alice SMTPUTF8\r\n") == [550]


def test_a_message_for_a_mailbox_in_utf8(new_talk):
    talk = new_talk(mailboxes=("δοκιμή",))
    talk.say("EHLO a\r\nMAIL FROM:<ü@bücher.example> SMTPUTF8\r\nRCPT TO:<δοκιμή@example.com>\r\n".encode())
    assert talk.codes(b"DATA\r\nx\r\n.\r\n") == [354, 250]
    (copy,) = talk.stored
    assert (copy.mailbox, copy.sender.decode()) == ("δοκιμή", "ü@bücher.example")
    assert b"with UTF8SMTP id " in copy.content
    assert "for <δοκιμή@example.com>;".encode() in copy.content
