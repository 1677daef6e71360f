"""Command lines: what they say, and which reply their mistakes deserve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.wire.grammar import NULL_PATH, Path
from smtpbench.wire.parse import Command, CommandError, parse_command
from smtpbench.wire.state import Verb


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"EHLO client.example.org", Command(Verb.EHLO, b"client.example.org")),
        (b"ehlo [IPv6:::1]", Command(Verb.EHLO, b"[IPv6:::1]")),
        (b"HELO a", Command(Verb.HELO, b"a")),
        (b"LHLO a", Command(Verb.LHLO, b"a")),
        (b"NOOP", Command(Verb.NOOP)),
        (b"NOOP  \t", Command(Verb.NOOP)),
        (b"noop any text, ignored", Command(Verb.NOOP, b"any text, ignored")),
        (b"RSET ", Command(Verb.RSET)),
        (b"QUIT", Command(Verb.QUIT)),
        (b"DATA", Command(Verb.DATA)),
        (b"STARTTLS", Command(Verb.STARTTLS)),
        (b"HELP MAIL", Command(Verb.HELP, b"MAIL")),
        (b"VRFY alice", Command(Verb.VRFY, b"alice")),
        (b"AUTH PLAIN =", Command(Verb.AUTH, b"PLAIN =")),
        (b"BDAT 0 LAST", Command(Verb.BDAT, b"0 LAST", size=0, last=True)),
        (b"bdat 86 last", Command(Verb.BDAT, b"86 last", size=86, last=True)),
        (b"BDAT 86", Command(Verb.BDAT, b"86", size=86)),
        (b"etrn example.org", Command(Verb.ETRN, b"example.org")),
        (b"ETRN @example.org", Command(Verb.ETRN, b"@example.org")),
        (b"ETRN #uucp", Command(Verb.ETRN, b"#uucp")),
        (b"BURL imap://a@b/c;uid=1", Command(Verb.BURL, b"imap://a@b/c;uid=1")),
        (b"BURL imap://a@b/c;uid=1 last", Command(Verb.BURL, b"imap://a@b/c;uid=1", last=True)),
        (b"XCLIENT NAME=a", Command(Verb.XCLIENT, b"NAME=a")),
        (b"MAIL FROM:<>", Command(Verb.MAIL, b"FROM:<>", NULL_PATH)),
        (b"mail from:<a@b> ", Command(Verb.MAIL, b"from:<a@b>", Path(b"a", b"b"))),
        (
            b"MAIL FROM:<a@b> size=10 BODY=8bitmime",
            Command(
                Verb.MAIL,
                b"FROM:<a@b> size=10 BODY=8bitmime",
                Path(b"a", b"b"),
                {"SIZE": "10", "BODY": "8bitmime"},
            ),
        ),
        (
            b"RCPT TO:<Postmaster> NOTIFY=success,delay",
            Command(
                Verb.RCPT,
                b"TO:<Postmaster> NOTIFY=success,delay",
                Path(b"Postmaster", b""),
                {"NOTIFY": "success,delay"},
            ),
        ),
    ],
)
def test_commands(line, command):
    assert parse_command(line) == command


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", 500),
        (b"FOOBAR", 500),
        (b" NOOP", 500),
        (b"XNOSUCH", 500),
        (b"NOOPX", 500),
        (b"NOOP\nNOOP", 500),
        (b"NOOP\r", 500),
        (b"\xc3\xa9", 500),
        (b"SEND FROM:<a@b>", 502),
        (b"turn", 502),
        (b"RSET x", 501),
        (b"QUIT now", 501),
        (b"DATA x", 501),
        (b"STARTTLS now", 501),
        (b"EHLO", 501),
        (b"HELO", 501),
        (b"EHLO [::1]", 501),
        (b"EHLO bad_arg!", 501),
        (b"EHLO a b", 501),
        (b"EHLO \xc3\xa9.example", 501),
        (b"EHLO a\x00", 501),
        (b"NOOP \x07", 501),
        (b"VRFY", 501),
        (b"EXPN ", 501),
        (b"AUTH", 501),
        (b"BDAT", 501),
        (b"BDAT x", 501),
        (b"BDAT -1", 501),
        (b"BDAT 5 FOO", 501),
        (b"ETRN", 501),
        (b"ETRN localname", 501),
        (b"ETRN @", 501),
        (b"ETRN #", 501),
        (b"ETRN a b.example", 501),
        (b"ETRN -a.example", 501),
        (b"BURL", 501),
        (b"BURL imap", 501),
        (b"BURL imap://a/b FIRST", 501),
        (b"BURL imap://a/b LAST LAST", 501),
        (b"XFORWARD", 501),
        (b"BDAT 999999999999999999999", 501),
        (b"MAIL", 501),
        (b"MAIL FROM", 501),
        (b"MAIL FROM:", 501),
        (b"MAIL TO:<a@b>", 501),
        (b"MAIL FROM: <a@b>", 501),
        (b"MAIL FROM :<a@b>", 501),
        (b"MAIL FROM:a@b", 501),
        (b"MAIL FROM:<a@b>junk", 501),
        (b"MAIL FROM:<a\x01@b>", 501),
        (b"RCPT", 501),
        (b"RCPT TO:<>", 501),
        (b"RCPT FROM:<a@b>", 501),
        (b"MAIL FROM:<> =x", 501),
        (b"MAIL FROM:<> SIZE==1", 501),
        (b"MAIL FROM:<> SIZE=", 501),
        (b"MAIL FROM:<> SIZE=abc", 501),
        (b"MAIL FROM:<> SIZE=-1", 501),
        (b"MAIL FROM:<> SIZE", 501),
        (b"MAIL FROM:<> SIZE=1 SIZE=2", 501),
        (b"MAIL FROM:<> SIZE=123456789012345678901", 501),
        (b"MAIL FROM:<> BODY=9BIT", 501),
        (b"MAIL FROM:<> BODY=7BIT BODY=7BIT", 501),
        (b"MAIL FROM:<> SMTPUTF8=1", 501),
        (b"MAIL FROM:<> RET=BODY", 501),
        (b"MAIL FROM:<> ENVID=", 501),
        (b"MAIL FROM:<> ENVID=a+GG", 501),
        (b"MAIL FROM:<> ENVID=a+0D+0Ab", 501),
        (b"MAIL FROM:<> ENVID=" + b"x" * 101, 501),
        (b"MAIL FROM:<> RET=FULL RET=FULL", 501),
        (b"MAIL FROM:<> ENVID=a ENVID=b", 501),
        (b"MAIL FROM:<> AUTH=bad+G1", 501),
        (b"RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS", 501),
        (b"RCPT TO:<a@b> NOTIFY=", 501),
        (b"RCPT TO:<a@b> NOTIFY=NEVER,NEVER", 501),
        (b"RCPT TO:<a@b> NOTIFY=,", 501),
        (b"RCPT TO:<a@b> NOTIFY", 501),
        (b"RCPT TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", 501),
        (b"RCPT TO:<a@b> ORCPT=foo", 501),
        (b"RCPT TO:<a@b> ORCPT=;foo", 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822;a+00", 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822;a+2b", 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822;" + b"x" * 494, 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822;a+4", 501),
        (b"MAIL FROM:<> XNOSUCH=1", 555),
        (b"MAIL FROM:<> NOTIFY=NEVER", 555),
        (b"RCPT TO:<a@b> XNOSUCH", 555),
        (b"RCPT TO:<a@b> SIZE=1", 555),
        ("MAIL FROM:<é@x>".encode(), 550),
        ("RCPT TO:<é@x>".encode(), 553),
        (b"MAIL FROM:<\xff\xfe@x> SMTPUTF8", 501),
    ],
)
def test_mistakes(line, code):
    error = parse_command(line)
    assert isinstance(error, CommandError)
    assert error.code == code
    assert error.enhanced.startswith(str(code)[0] + ".")


@pytest.mark.parametrize(
    "parameters",
    [
        b"SIZE=12345678901234567890",
        b"BODY=7BIT",
        b"BODY=BINARYMIME",
        b"SMTPUTF8",
        b"RET=hdrs ENVID=QQ314159+2B",
        b"ENVID=" + b"x" * 100,
        b"ENVID=+20",
        b"AUTH=<>",
        b"AUTH=e+3Dmc2@example.com",
    ],
)
def test_parameters_of_mail(parameters):
    assert isinstance(parse_command(b"MAIL FROM:<a@b> " + parameters), Command)


@pytest.mark.parametrize(
    "parameters",
    [
        b"NOTIFY=never",
        b"NOTIFY=DELAY,FAILURE,SUCCESS",
        b"NOTIFY=success,,success",
        b"ORCPT=rfc822;a+2Bb@c",
        b"ORCPT=x-odd_type;a",
        b"ORCPT=rfc822;" + b"x" * 493,
        "ORCPT=utf-8;é@x".encode(),
    ],
)
def test_parameters_of_rcpt(parameters):
    assert isinstance(parse_command(b"RCPT TO:<a@b> " + parameters), Command)


def test_a_parameter_that_is_not_on_offer_is_not_known():
    refusal = parse_command(b"MAIL FROM:<> SIZE=1", known=frozenset())
    assert isinstance(refusal, CommandError)
    assert refusal.code == 555
    assert isinstance(parse_command(b"MAIL FROM:<> SIZE=1", known=frozenset({"SIZE"})), Command)


def test_utf8_in_rcpt_goes_with_an_smtputf8_transaction():
    line = "RCPT TO:<é@bücher.example>".encode()
    refusal, taken = parse_command(line), parse_command(line, utf8=True)
    assert isinstance(refusal, CommandError)
    assert refusal.code == 553
    assert isinstance(taken, Command)
    assert taken.path.is_utf8


def test_utf8_in_mail_goes_with_the_parameter():
    taken = parse_command("MAIL FROM:<é@x> SMTPUTF8".encode())
    assert isinstance(taken, Command)
    assert taken.path.is_utf8


@given(st.binary(max_size=200))
def test_any_line_is_a_command_or_a_reply(line):
    parsed = parse_command(line)
    if isinstance(parsed, CommandError):
        assert parsed.code in (500, 501, 502, 550, 553, 555)


@given(st.sampled_from([*Verb]), st.binary(max_size=80))
def test_any_argument_is_judged(verb, argument):
    parsed = parse_command(verb.encode() + b" " + argument)
    assert parsed.verb in (verb, None)
