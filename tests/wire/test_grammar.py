"""The grammar of paths, literals, parameters and xtext: RFC examples, edges, and what must not match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.wire.grammar import (
    NULL_PATH,
    Path,
    decode_xtext,
    is_address_literal,
    is_domain,
    parse_forward_path,
    parse_parameters,
    parse_reverse_path,
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"<a@b>", Path(b"a", b"b")),
        (b"<Joe.Smith+x@example.com>", Path(b"Joe.Smith+x", b"example.com")),
        (b"<!#$%&'*+-/=?^_`{|}~@x.y>", Path(b"!#$%&'*+-/=?^_`{|}~", b"x.y")),
        (b'<"a b"@x>', Path(b'"a b"', b"x")),
        (b'<"a\\"b"@x>', Path(b'"a\\"b"', b"x")),
        (b'<"a>b"@x>', Path(b'"a>b"', b"x")),
        (b'<""@x>', Path(b'""', b"x")),
        (b"<u@[192.0.2.1]>", Path(b"u", b"[192.0.2.1]")),
        (b"<u@[IPv6:2001:db8::1]>", Path(b"u", b"[IPv6:2001:db8::1]")),
        (b"<@hosta.int,@jkl.org:userc@d.bar.org>", Path(b"userc", b"d.bar.org", (b"hosta.int", b"jkl.org"))),
        ("<josé@bücher.example>".encode(), Path("josé".encode(), "bücher.example".encode())),
        (b"<" + b"x" * 64 + b"@y>", Path(b"x" * 64, b"y")),
        (b"<u@" + b"d" * 255 + b">", Path(b"u", b"d" * 255)),
    ],
)
@pytest.mark.parametrize("rest", [b"", b" SIZE=1", b"junk>"])
@pytest.mark.parametrize("parse", [parse_reverse_path, parse_forward_path])
def test_paths(parse, text, path, rest):
    assert parse(text + rest) == (path, rest)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a@b",
        b"<a@b",
        b"a@b>",
        b"<<a@b>>",
        b" <a@b>",
        b"< a@b>",
        b"<a@b >",
        b"<a>",
        b"<@b>",
        b"<a@>",
        b"<.a@x>",
        b"<a.@x>",
        b"<a..b@x>",
        b"<a b@x>",
        b'<"a"b@x>',
        b'<"a@x>',
        b'<"a\x00"@x>',
        b"<a\x01@x>",
        b"<a\x7f@x>",
        b"<u@a_b.example>",
        b"<u@-a.example>",
        b"<u@a-.example>",
        b"<u@a..b>",
        b"<u@.a>",
        b"<u@a.>",
        b"<@a.example user@b>",
        b"<@a.example,user@b>",
        b"<@a,@b,:u@d>",
        b"<u@[300.1.1.1]>",
        b"<u@[1.2.3]>",
        b"<u@[IPv6:zz]>",
        b"<u@[::1]>",
        b"<u@[]>",
        b"<\xff\xfe@x>",
        b"<u@\xff.example>",
        b"<" + b"x" * 65 + b"@y>",
        b"<u@" + b"d" * 256 + b">",
    ],
)
@pytest.mark.parametrize("parse", [parse_reverse_path, parse_forward_path])
def test_not_a_path(parse, text):
    assert parse(text) is None


def test_the_null_path_is_a_reverse_path_only():
    assert parse_reverse_path(b"<> SIZE=1") == (NULL_PATH, b" SIZE=1")
    assert parse_forward_path(b"<>") is None
    assert NULL_PATH.mailbox == b""


@pytest.mark.parametrize("word", [b"postmaster", b"Postmaster", b"POSTMASTER"])
def test_postmaster_needs_no_domain_as_a_recipient(word):
    assert parse_forward_path(b"<" + word + b">") == (Path(word, b""), b"")
    assert parse_reverse_path(b"<" + word + b">") is None


@pytest.mark.parametrize("spelling", [b"abc", b'"abc"', b'"a\\bc"', b'"\\a\\b\\c"'])
def test_all_spellings_of_a_local_part_have_one_value(spelling):
    path, _ = parse_forward_path(b"<" + spelling + b"@x>")
    assert path.local_value == b"abc"
    assert path.mailbox == spelling + b"@x"


@pytest.mark.parametrize(
    ("literal", "valid"),
    [
        (b"[127.0.0.1]", True),
        (b"[255.255.255.255]", True),
        (b"[256.0.0.1]", False),
        (b"[1.2.3.4.5]", False),
        (b"[IPv6:::1]", True),
        (b"[ipv6:2001:db8::ff]", True),
        (b"[IPv6:::ffff:192.0.2.1]", True),
        (b"[IPv6:fe80::1%eth0]", False),
        (b"[IPv6:1:2]", False),
        (b"[IPv6:]", False),
        (b"[::1]", False),
        (b"[x:y]", False),
        (b"127.0.0.1", False),
        (b"[127.0.0.1", False),
    ],
)
def test_address_literals(literal, valid):
    assert is_address_literal(literal) is valid


@pytest.mark.parametrize("domain", [b"a", b"example.com", b"1.2", b"a--b.c", b"xn--bcher-kva.example"])
def test_domains(domain):
    assert is_domain(domain)


@pytest.mark.parametrize("domain", [b"", b".", b"a b", b"a.", b"-a", b"a-", b"a_b", b"a\n", b"bad!"])
def test_not_a_domain(domain):
    assert not is_domain(domain)


def test_parameters():
    assert parse_parameters(b"") == []
    assert parse_parameters(b" size=10 SMTPUTF8 x-y=a+3D") == [
        ("SIZE", "10"),
        ("SMTPUTF8", None),
        ("X-Y", "a+3D"),
    ]


@pytest.mark.parametrize("text", [b"X", b" ", b"  X", b" X ", b" =x", b" X=", b" X==1", b" -X", b" X=a\x01"])
def test_malformed_parameters(text):
    assert parse_parameters(text) is None


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [(b"", b""), (b"e+3Dmc2@example.com", b"e=mc2@example.com"), (b"+2B+00", b"+\x00")],
)
def test_xtext(encoded, decoded):
    assert decode_xtext(encoded) == decoded


@pytest.mark.parametrize("text", [b"a+G1", b"a+3d", b"a+3", b"a+", b"a=b", b"a b", b"\xe9"])
def test_malformed_xtext(text):
    assert decode_xtext(text) is None


@given(st.binary())
def test_xtext_can_carry_any_octets(octets):
    encoded = b"".join(bytes([o]) if 33 <= o <= 126 and o not in b"+=" else b"+%02X" % o for o in octets)
    assert decode_xtext(encoded) == octets


@given(st.binary(max_size=400))
def test_a_path_is_never_more_than_what_was_given(octets):
    for parse in (parse_reverse_path, parse_forward_path):
        found = parse(b"<" + octets)
        if found is not None:
            path, rest = found
            assert (b"<" + octets).endswith(b">" + rest)
            assert path.mailbox in octets
