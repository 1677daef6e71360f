"""Every fault does something, and nothing but: it differs from the strict receiver, and it raises nothing."""

import base64
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace

import pytest

from smtpbench.conformance.scram import ScramClient
from smtpbench.errors import UsageError
from smtpbench.server import Receiver
from smtpbench.server.dialogue import Close, StartTls
from smtpbench.server.faults import BASES, FAULTS, shortage, with_faults
from smtpbench.target import Role
from tests.server.extension_probes import EXTENSION_PROBES, SUBMISSION_PROBES

HELLO = b"EHLO client.example.org\r\n"
MAIL = b"MAIL FROM:<sender@example.org>\r\n"
RCPT = b"RCPT TO:<alice@example.com>\r\n"
BEGIN = HELLO + MAIL + RCPT
HEADER = b"Date: Sun, 01 Mar 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nSubject: x\r\n\r\n"


def data(content):
    return BEGIN + b"DATA\r\n" + content + b".\r\n"


COMMANDS = [
    *(b"NOOP", b"HELP", b"RSET", b"VRFY alice", b"EXPN alice", b"MAIL FROM:<>", b"VRFY random", b"QUIT"),
    b"EXPN random",
    *(b"noop", b"NOOP x", b"NOOP ", b"FOOBAR", b"XNOSUCH", b"TURN", b"RSET x", b"DATA x", b"QUIT x", b"VRFY"),
    *(b"", b"EHLO", b"HELO", b"HELO a", b"NOOP \x07", b"DATA", b"RCPT TO:<alice@example.com>"),
    *(b"ETRN", b"ETRN example.com", b"ETRN @example.com", b"ETRN other.example", b"ETRN #uucp"),
    *(b"XCLIENT NAME=a", b"XFORWARD NAME=a"),
    *(b"EHLO [127.0.0.1]", b"EHLO [::1]", b"EHLO bad_arg!", b"EHLO other.example", b"EHLO " + b"d" * 100),
]  # fmt: skip
SENDERS = [
    *(b"<>", b"<a@b>", b"a@b", b" <a@b>", b"<a@b>junk", b"<a@b", b"<.a@b>", b"<u@[300.1.1.1]>", b"<u@a_b>"),
    *(b"<a\x01@b>", b"<@x:a@b>", b"<@x a@b>", b"<a!b@c>", b"<u@[1.2.3.4]>", b"<u@[IPv6:::1]>"),
    *(b"<a@b> X=1", b"<a@b> =x", b"<a@b> BODY=9BIT", b"<a@b> SIZE=99999999", b"<a@b> size=1"),
    b"<a@b> SIZE=90000000000000000001",
    *(b'<"a b"@c>', "<é@x>".encode(), b"<" + b"x" * 50 + b"@y>", b"<a@" + b"d" * 70 + b">"),
    b"<a@" + b"d" * 150 + b">",
]  # fmt: skip
RECIPIENTS = [
    *(b"<Postmaster>", b"<postmaster@example.com>", b"<PostMaster@example.com>", b"<alice@EXAMPLE.com>"),
    *(b"alice@example.com", b"<no@example.com>", b"<no@x.example>", b"<@a,@b:alice@example.com>"),
    *(b"<>", b"<a@b> X=1", b'<"alice"@example.com>', b"<a%x.example@example.com>"),
]  # fmt: skip
CONTENTS = [
    b"",
    b"..dot\r\n.dot\r\n...\r\n",
    b"a\x01b\r\nblank \r\nFrom x\r\n" + b"\xff\r\n",
    b"x" * 600 + b"\r\n",
    b"x" * 1_200 + b"\r\n",
    b"x" * 70_000 + b"\r\n",
    b"x" * 120_000 + b"\r\n",
    b"Subject: no date\r\n\r\n",
    b"Date: x\r\nResent-To: a@b\r\n\r\n",
    b"Date: x\r\nReceived: odd\r\nReceived: from a by b; x\r\n\r\n",
    b"Received: from a by b; x\r\n" * 50 + b"\r\n",
    b"Received: from a by b; x\r\n" * 150 + b"\r\n",
    *(b"a%sMAIL FROM:<>\r\n" % end for end in (
        b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r.\n",
        b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
    )),
]  # fmt: skip

DSN_MAIL = [
    *(b"ENVID=a+GG", b"ENVID=" + b"x" * 90, b"ENVID=a ENVID=b", b"RET=BODY", b"RET=FULL RET=HDRS"),
    b"ENVID=Q+2BA RET=FULL",
]  # fmt: skip
DSN_RCPT = [
    *(b"<bouncer@example.com>", b"<bouncer@example.com> NOTIFY=NEVER", b"<alice@example.com> NOTIFY=DELAY"),
    *(b"<alice@example.com> NOTIFY=SUCCESS", b"<alice@example.com> NOTIFY=success ORCPT=rfc822;a@b"),
    *(b"<alice@example.com> NOTIFY=NEVER,DELAY", b"<alice@example.com> ORCPT=foo"),
    *(b"<alice@example.com> NOTIFY=DELAY NOTIFY=DELAY", b"<alice@example.com> ORCPT=x;" + b"a" * 490),
]  # fmt: skip


def reported(recipient, mail=b"<bob@example.com> ENVID=Q+2BA"):
    """A session whose message may be reported."""
    begin = HELLO + b"MAIL FROM:" + mail + b"\r\n" + b"RCPT TO:" + recipient + b"\r\n"
    return [begin, b"DATA\r\n", b"From: B <bob@example.com>\r\n\r\nx\r\n.\r\n"]


# Each probe is a session: the segments that are fed, one at a time.
PROBES = [
    [b"NOOP\n"],
    [b"NOOP\r"],
    [b"NOOP\r\r\n"],
    [b"NOOP", b"\r\n"],
    [b"NOOP " + b"x" * 300 + b"\r\n"],
    [b"NOOP " + b"x" * 5_000 + b"\r\nNOOP\r\n"],
    *([command + b"\r\n"] for command in COMMANDS),
    *([HELLO, command + b"\r\n"] for command in COMMANDS),
    *([BEGIN, command + b"\r\n", b"DATA\r\n"] for command in COMMANDS),
    [b"RCPT TO:<alice@example.com>\r\n", HELLO, MAIL],
    [HELLO, b"EHLO other.example\r\n", MAIL],
    [b"HELO a\r\n", b"MAIL FROM:<> SIZE=1\r\n"],
    [HELLO, b"MAIL\r\n"],
    [HELLO, b"MAIL\r\nRCPT\r\nVRFY\r\n", MAIL],
    *([HELLO + b"MAIL FROM:" + sender + b"\r\n", RCPT] for sender in SENDERS),
    [HELLO, b"MAIL FROM:<>\r\n" + b"RCPT TO:<postmaster@example.com>\r\n"],
    [HELLO, b"MAIL FROM :<a@b>\r\n"],
    [HELLO, b"MAIL from:<a@b>\r\n"],
    [HELLO + MAIL, b"RCPT\r\n"],
    *([HELLO + MAIL + b"RCPT TO:" + recipient + b"\r\n", b"DATA\r\n", b".\r\n"] for recipient in RECIPIENTS),
    [HELLO + MAIL + b"RCPT TO:<@a:Alice+MiXeD@example.com>\r\n", b"DATA\r\n.\r\n"],
    [BEGIN + RCPT + MAIL, b"RCPT TO:<bob@example.com>\r\nDATA\r\n", b"x\r\n.\r\n"],
    [BEGIN, b"RCPT TO:<no@x.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n", HEADER + b".\r\n"],
    [HELLO + MAIL, b"RCPT TO:<alice@example.com>\r\n" * 130, b"DATA\r\n"],
    [HELLO + MAIL + b"DATA\r\n", b"x\r\n.\r\n"],
    [data(HEADER), b"RCPT TO:<bob@example.com>\r\n", MAIL],
    [data(HEADER), MAIL, b"RCPT TO:\r\n", RCPT],
    [BEGIN + b"DATA\r\n", HEADER, b".\r", b"\n"],
    [HELLO, b"NOOP\r\nNO", b"OP\r\n"],
    [HELLO, b"MAIL FROM:<a@b> RET=FULL SIZE=1\r\n", b"MAIL FROM:<a@b> RET=full\r\n"],
    [HELLO, b"MAIL FROM:<a@b> SIZE=x RET=FULL\r\n", b"MAIL FROM:<a@b> SIZE=1 RET=FULL SIZE=1\r\n"],
    [HELLO + MAIL, b"RCPT TO:<alice@example.com> NOTIFY=NEVER ORCPT=rfc822;a@b\r\n"],
    [BEGIN + b"DATA\r\n", HEADER, b"..dot\r\n", b"\xc3", b"\xa9\r\n" + b"x" * 600, b"\r\n.\r\n"],
    [BEGIN, b"BDAT 8\r\nab", b"cd\r\nef"],
    *([data(content)] for content in CONTENTS),
    [BEGIN + b"DATA\r\n", b"half a message\r\n"],
    [BEGIN + b"DATA\r\n", b"x" * 4092 + b"\r\n.\r\n"],
    [BEGIN + b"DATA\r\n", b"x" * 4096 + b".\r\nmore\r\n.\r\n"],
    [HELLO, b"MAIL\r\n" * 3, b"NOOP\r\n"],
    [HELLO + b"MAIL FROM:<> SIZE=10\r\n" + RCPT + b"DATA\r\n", HEADER + b".\r\n"],
    [HELLO + b"BDAT 6\r\nNOOP\r\n"],
    [BEGIN + b"BDAT 6 LAST\r\na\r\n..b"],
    [BEGIN, b"STARTTLS\r\nNOOP\r\n", b"MAIL FROM:<>\r\nDATA\r\n", b"x\r\n.\r\n", HELLO + b"STARTTLS\r\n"],
    [HELLO, b"AUTH PLAIN AGFsaWNlAHdyb25n\r\n"],
    [HELLO, b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"],
    [BEGIN, b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"],
    [HELLO, b"STARTTLS now\r\n"],
    [HELLO, b"AUTH X-NONE\r\n"],
    [HELLO, b"AUTH PLAIN\r\n", b"*\r\n"],
    [HELLO, b"AUTH PLAIN\r\n", b"AGFs!aWNlAHNlY3JldA==\r\n"],
    [HELLO, b"AUTH CRAM-MD5 AAAA\r\n"],
    [HELLO, b"MAIL FROM:<a@b> AUTH=<>\r\n"],
    [HELLO, b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", b"STARTTLS\r\n", HELLO + b"AUTH PLAIN\r\n"],
    [BEGIN, b"BDAT 1\r\nx", b"RSET\r\n", MAIL + RCPT + b"BDAT 1 LAST\r\ny"],
    [BEGIN, b"BDAT 1\r\nxDATA\r\n.\r\n"],
    [BEGIN, b"BDAT 1\r\nxBDAT 0 LAST\r\n"],
    [BEGIN, b"BDAT\r\n"],
    [BEGIN, b"BDAT 12\r\na\n.\nNOOP\r\nxx"],
    [HELLO + b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n" + RCPT + b"DATA\r\n", b".\r\n"],
    [HELLO + b"MAIL FROM:<a@b> BODY=7BIT\r\n"],
    [HELLO + b"MAIL FROM:<a@b> BODY=7BIT BODY=7BIT\r\n"],
    [HELLO + b"MAIL FROM:<a@b> SIZE=120000\r\n"],
    [HELLO, b"MAIL FROM:<" + b"a" * 60 + b"@" + b"d." * 80 + b"d" + b"> SIZE=" + b"0" * 40 + b"\r\n"],
    [HELLO, MAIL + RCPT, b"RSET\r\n"],
    [HELLO, b"HELP\r\nNOOP\r\n"],
    [HELLO + b"MAIL FROM:<a@b> SIZE=7\r\n" + RCPT + b"DATA\r\nx ~ y\r\n.\r\n"],
    [HELLO + b"MAIL FROM:<A@b>\r\n" + RCPT + b"DATA\r\nx\r\n.\r\n"],
    [BEGIN + b"DATA\r\n", b"Subject"],
    [HELLO + MAIL + b"RCPT TO:<a@relay.example>\r\nDATA\r\n", b"lone\nLF\r\n.\r\n"],
    [BEGIN + b"DATA\r\n", b"..\r\n" * 40_000 + b".\r\n"],
    [BEGIN + b"DATA\r\n", b"..\r\n" * 44_000 + b".\r\n"],
    *([HELLO, b"MAIL FROM:<a@b> " + parameters + b"\r\n"] for parameters in DSN_MAIL),
    *(reported(recipient) for recipient in DSN_RCPT),
    reported(b"<alice@example.com> NOTIFY=SUCCESS", mail=b"<>"),
    [BEGIN, b"RCPT TO:<bob@example.com> NOTIFY=NEVER\r\n", b"RCPT TO:<alice@example.com> NOTIFY=DELAY\r\n"],
]  # fmt: skip


def b64(octets):
    return base64.b64encode(octets)


SCRAM_FIRST = b"r=mineyours,s=" + b64(bytes(16)) + b",i=4096"  # as `no_chance` has it


def scram(mechanism="SCRAM-SHA-256", **options):
    """A session with an exchange of SCRAM, whose messages `options` make wrong."""
    client = ScramClient("alice", "secret", nonce="mine", **options)
    first, final = b64(client.first()), b64(client.final(SCRAM_FIRST))
    return [HELLO, f"AUTH {mechanism} ".encode() + first + b"\r\n", final + b"\r\n", b"\r\n"]


GOOD = b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"
BAD = b"AUTH PLAIN AGFsaWNlAHdyb25n\r\n"
BEARER = b"n,,\1auth=Bearer secret\1\1"
AUTH_PROBES = [
    *([HELLO, line + b"\r\n"] for line in (b"AUTH", b"AUTH PLAIN =", b"AUTH plain", b"AUTH LOGIN")),
    [b"AUTH PLAIN\r\n"],
    [HELLO, b"AUTH PLAIN\r\n", b"A" * 600 + b"\r\n"],
    [HELLO, b"AUTH PLAIN\r\n", b"A" * 20_000 + b"\r\n"],
    [HELLO, BAD, GOOD],
    [HELLO, GOOD, b"RSET\r\n", GOOD],
    [HELLO, b"MAIL FROM:<a@b> AUTH=a@b\r\n", b"RSET\r\n", b"MAIL FROM:<a@b> AUTH=a+G1@b\r\n"],
    [HELLO + b"STARTTLS\r\n", HELLO, GOOD, MAIL + RCPT + b"DATA\r\n", b"x\r\n.\r\n"],
    [HELLO + b"STARTTLS\r\n", HELLO, MAIL + RCPT + b"DATA\r\n", b"x\r\n.\r\n"],
    *(
        [HELLO, b"AUTH PLAIN " + b64(message) + b"\r\n"]
        for message in (b"alice\0secret", b"bob\0alice\0secret")
    ),
    [HELLO, b"AUTH LOGIN " + b64(b"alice") + b"\r\n"],
    [HELLO, b"AUTH CRAM-MD5\r\n"],
    scram(),
    scram(extension="m=x"),
    scram(final_suffix="x"),
    scram(header="y,,"),
    scram("SCRAM-SHA-256-PLUS", header="p=none,,"),
    *(
        [HELLO + b"STARTTLS\r\n", HELLO, b"AUTH OAUTHBEARER " + b64(message) + b"\r\n", b"AQ==\r\n"]
        for message in (BEARER, BEARER[:-1], b"n,,\1auth=Bearer wrong\1\1")
    ),
]
RANDOM = re.compile(rb"\bid \w+|=_\w+|<\w+(?=@mx\.)")  # identifiers of messages, boundaries
U = "δοκιμή@example.com".encode()
UTF8_RCPT = b"RCPT TO:<" + U + b">\r\n"
LOGIN = HELLO + b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"
UTF8_PROBES = [
    [HELLO, b"VRFY " + U + b"\r\n", b"VRFY alice SMTPUTF8\r\n"],
    [HELLO, b"MAIL FROM:<a@b> SMTPUTF8=1\r\n"],
    [HELLO, b"MAIL FROM:<a@b> SMTPUTF8 BODY=8BITMIME\r\n"],
    [HELLO, b"MAIL FROM:<a\xff@b> SMTPUTF8\r\n"],
    [HELLO, b"MAIL FROM:<long.local.part@%s> SMTPUTF8\r\n" % b".".join([b"d" * 60] * 4)],
    [HELLO, b"MAIL FROM:<a@b> SMTPUTF8\r\n" + UTF8_RCPT, b"DATA\r\nX: \xc3\xa9\r\n\r\n.\r\n"],
    [HELLO + MAIL, UTF8_RCPT, RCPT[:-2] + b" ORCPT=utf-8;a@b\r\n"],
]
SUBMITTED = [
    [HELLO + b"STARTTLS\r\n", LOGIN, b"MAIL FROM:<a@b>\r\nMAIL FROM:<a@b..example>\r\n"],
    [HELLO + b"STARTTLS\r\n", LOGIN + MAIL + RCPT, b"DATA\r\n", b"From: a@b\r\n\r\n.\r\n"],
]
LMTP_PROBE = [
    b"LHLO a\r\n" + MAIL + RCPT + b"RCPT TO:<bob@example.com>\r\n",
    b"BDAT 1\r\nxBDAT 1 LAST\r\ny",
]
ROLES = {
    Role.MX: UTF8_PROBES + PROBES + AUTH_PROBES + EXTENSION_PROBES,
    Role.SUBMISSION: [
        [HELLO, MAIL],
        [HELLO, b"RSET\r\n"],
        [HELLO + b"STARTTLS\r\n", HELLO, b"NOOP\r\n"],
        *SUBMISSION_PROBES,
        *SUBMITTED,
    ],
    Role.SUBMISSIONS: [[HELLO, MAIL]],
    Role.LMTP: [[b"LHLO a\r\n", MAIL, RCPT, RCPT, b"DATA\r\n", b".\r\n"], [HELLO], LMTP_PROBE],
}


def observed(receiver_class, new_talk, tls_context, role, probe):
    """All that a client and a mailbox see of a session; what is random in it blanked."""
    talk = new_talk(
        receiver_class,
        role=role,
        users={"alice": "secret"},
        auth_in_clear=role is not Role.SUBMISSION,
        relays={} if role is Role.LMTP else {"relay.example": ("127.0.0.1", 1)},
        tls=tls_context(),
        max_recipients=125,
        mailboxes=("postmaster", "alice", "bob", "δοκιμή"),
        max_size=130_000,
        max_transactions=20,
        max_hold=60,
        owners_since={"alice": datetime(2020, 1, 1, tzinfo=UTC)},
        null_mx=frozenset({"null.example"}),
    )
    talk.receiver.tls_unique = b"finished"
    said = [talk.greeting, talk.receiver.config.tls.minimum_version]
    for segment in probe:
        if isinstance(talk.receiver.action, Close):
            break
        said += [talk.say(segment), talk.receiver.idle_limit()]
        if isinstance(talk.receiver.action, StartTls):
            said.append(talk.receiver.tls_started())
    closed = isinstance(talk.receiver.action, Close)
    gone = talk.receiver.disconnected()
    said.append(b"" if closed else talk.receiver.shut_down())
    stored = [
        (copy.sender, *copy.recipients, RANDOM.sub(b"", copy.content)) for copy in (*talk.stored, *gone)
    ]
    return said, closed, stored, talk.holds


@pytest.fixture(scope="module")
def tls_context():
    """Makes TLS contexts without a certificate: a receiver shakes no hands."""
    import ssl

    return lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # a new one: a fault may change it


@pytest.fixture(scope="module", autouse=True)
def no_chance():
    """Nonces, salts and challenges are the same each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smtpbench.server.sasl.secrets", SimpleNamespace(randbits=lambda bits: 7))
        patch.setattr("smtpbench.server.sasl.time", SimpleNamespace(time_ns=lambda: 1))
        patch.setattr("scramp.core.token_hex", lambda: "yours")
        patch.setattr("scramp.core.token_bytes", lambda: bytes(16))
        yield


@pytest.fixture(scope="module")
def strict(new_talk, tls_context):
    return {
        (role, index): observed(Receiver, new_talk, tls_context, role, probe)
        for role, probes in ROLES.items()
        for index, probe in enumerate(probes)
    }


def note_call(seen, frame, event, arg):
    seen.add(frame.f_code.co_name)


@pytest.fixture(scope="module")
def called(new_talk, tls_context):
    """The names of the functions that the strict receiver calls in each probe."""
    names = {}
    for role, probes in ROLES.items():
        for index, probe in enumerate(probes):
            seen: set[str] = set()
            names[role, index] = seen
            sys.setprofile(partial(note_call, seen))
            try:
                observed(Receiver, new_talk, tls_context, role, probe)
            finally:
                sys.setprofile(None)
    return names


def likely_first(name, called):
    """Every probe, first those that call what the fault overrides, the shorter ones before the longer."""
    changed = {
        member for part in FAULTS[name].mixin.__mro__ if part not in Receiver.__mro__ for member in vars(part)
    }
    changed -= {"__doc__", "__module__"}

    def rank(key):
        role, index = key
        return not changed & called[key], sum(map(len, ROLES[role][index]))

    return sorted(called, key=rank)


# What only a shortage shows, campaigns have to find: tests/campaign/test_overload.py.
RECEIVER_FAULTS = [
    name
    for name, fault in FAULTS.items()
    if issubclass(fault.mixin, Receiver) and fault.mixin.__module__ != shortage.__name__
]


@pytest.mark.parametrize("name", RECEIVER_FAULTS)
def test_each_fault_of_the_receiver_shows(name, new_talk, tls_context, strict, called):
    faulty = with_faults([name])
    assert any(
        observed(faulty, new_talk, tls_context, role, ROLES[role][index]) != strict[role, index]
        for role, index in likely_first(name, called)
    )


def test_no_probe_is_left_out(called, strict):
    assert all(sorted(likely_first(name, called)) == sorted(strict) for name in RECEIVER_FAULTS[:3])


def test_the_strict_receiver_is_the_same_every_time(new_talk, tls_context, strict):
    assert strict == {
        (role, index): observed(Receiver, new_talk, tls_context, role, probe)
        for role, probes in ROLES.items()
        for index, probe in enumerate(probes)
    }


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_says_what_it_is(fault):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fault.name)
    assert fault.summary
    assert fault.requirements
    assert all(re.fullmatch(r"[A-Z0-9]+-([A-E]-)?\d+", row) for row in fault.requirements)
    assert issubclass(fault.mixin, BASES)


def test_faults_combine(new_talk):
    talk = new_talk(with_faults(["two-replies-to-noop", "quit-250", "no-received"]))
    assert talk.codes(b"NOOP\r\n") == [250, 250]
    assert talk.send(b"x\r\n") == [354, 250]
    assert talk.stored[0].content == b"Return-Path: <sender@example.org>\r\nx\r\n"
    assert talk.codes(b"QUIT\r\n") == [250]


def test_no_fault_is_the_strict_receiver():
    assert with_faults([]) is Receiver


def test_an_unknown_fault_is_named():
    with pytest.raises(UsageError, match="unknown fault no-such, nor-this"):
        with_faults(["no-received", "no-such", "nor-this"])


def test_two_faults_with_one_helper_are_refused():
    with pytest.raises(UsageError, match="cannot be combined"):
        with_faults(["mail-needs-no-brackets", "rcpt-needs-no-brackets"])


def test_there_are_faults_enough_and_the_registry_is_complete_on_import():
    code = "from smtpbench.server.faults import FAULTS; print(len(FAULTS))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) == len(FAULTS) >= 75
