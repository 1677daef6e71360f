"""Digests: what a faithful relay or mailbox does changes nothing, what damages a body always shows."""

import re
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.arrival import read_arrival
from smtpbench.delivery.fingerprint import (
    decoded_digest,
    digest,
    header_identifier,
    identifiers,
    make_identifier,
    number_of,
    split,
)
from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.plain import plain
from smtpbench.load.identifiers import Identifiers
from smtpbench.load.script import END_OF_DATA

ID = b"0123abcd-00000001f"
BODY = b"0123abcd-00000001f\r\nFrom here on\r\n\r\n>From there\r\nlast line\r\n\r\n"
HEADER = b"From: <a@example.org>\r\nMessage-ID: <0123abcd-00000001f@example.org>\r\n"


def plain_content():
    return Content(plain(1024, "a@example.org", ["b@example.net"]), Identifiers())


def test_identifiers_of_the_load_are_found_where_they_are():
    content = plain_content().next_content().removesuffix(END_OF_DATA)
    header, body = split(content)
    (found,) = identifiers(body)
    assert header_identifier(header) == found
    assert found == make_identifier(found[:8], number_of(found)) == found[:8] + b"-000000001"


def test_messages_of_one_content_have_one_digest():
    template = plain_content()
    arrivals = [read_arrival(template.next_content().removesuffix(END_OF_DATA), 1) for _ in range(3)]
    assert len({one.identifier for one in arrivals}) == 3
    assert len({(one.digest, one.decoded) for one in arrivals}) == 1


def test_trace_fields_on_top_and_a_folded_message_id():
    content = b"Received: from a\r\n\tby b; id 1\r\n" + HEADER.replace(b": <0", b":\r\n <0") + b"\r\n" + BODY
    assert read_arrival(content, 1).identifier == ID
    assert read_arrival(content, 1).digest == digest(BODY, ID)


@pytest.mark.parametrize(
    "stored",
    [
        BODY.replace(b"\r\n", b"\n"),
        BODY + b"\r\n",
        BODY.rstrip(b"\r\n") + b"\r\n",
        BODY.replace(b"\r\nFrom here", b"\r\n>From here"),  # mboxo
        BODY.replace(b"From ", b">From "),  # mboxrd
    ],
)
def test_what_a_mailbox_does_is_no_damage(stored):
    assert digest(stored, ID) == digest(BODY, ID)


@given(st.integers(0, len(BODY.rstrip()) - 1), st.integers(0, 7))
def test_every_flipped_bit_of_a_body_shows(at, bit):
    damaged = bytearray(BODY)
    damaged[at] ^= 1 << bit
    arrival = read_arrival(HEADER + b"\r\n" + bytes(damaged), 1)
    assert arrival.spliced or arrival.digest != digest(BODY, ID)


def test_a_header_field_of_ours_goes_before_a_message_id():
    header = b"X-Smtpbench-Id: " + ID + b"\r\nMessage-ID: <ffffffff-00000000f@example.org>"
    assert header_identifier(header) == ID
    assert header_identifier(header.partition(b"\r\n")[2]) == b"ffffffff-00000000f"


def test_a_dot_too_many_and_a_line_too_few_show():
    assert digest(BODY.replace(b"last", b".last"), ID) != digest(BODY, ID)
    assert digest(BODY.replace(b"last line\r\n", b""), ID) != digest(BODY, ID)


def test_another_transfer_encoding_is_the_same_content():
    text = "0123abcd-00000001f\r\nGrüße, lang und breit " + "ü" * 80 + "\r\n"
    eight = HEADER + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    eight += b"Content-Transfer-Encoding: 8bit\r\n\r\n" + text.encode()
    message = message_from_bytes(eight, policy=policy.SMTP)
    for encoding in ("quoted-printable", "base64"):
        again = message_from_bytes(eight, policy=policy.SMTP)
        again.set_content(message.get_content(), cte=encoding)
        octets = again.as_bytes()
        assert digest(split(octets)[1], ID) != digest(split(eight)[1], ID)
        assert decoded_digest(octets, ID) == decoded_digest(eight, ID)
        damaged = octets.replace(b"=C3=BC", b"=C3=BD").replace(b"w7zDvM", b"w7zDvN")
        assert damaged != octets
        assert decoded_digest(damaged, ID) != decoded_digest(eight, ID)


def test_the_header_of_one_and_the_body_of_another():
    arrival = read_arrival(HEADER + b"\r\n" + BODY.replace(ID, b"0123abcd-000000020"), 1)
    assert arrival.identifier == ID
    assert arrival.spliced


def test_a_message_whose_message_id_was_damaged_is_known_by_its_body():
    arrival = read_arrival(HEADER.replace(b"0123abcd", b"0123abXd") + b"\r\n" + BODY, 1)
    assert (arrival.identifier, arrival.spliced) == (ID, False)


def test_a_message_of_somebody_else():
    assert read_arrival(b"Subject: hi\r\n\r\nhello\r\n", 1).identifier == b""


def test_a_known_digest_is_not_decoded():
    content = HEADER + b"\r\n" + BODY
    assert read_arrival(content, 1, known={digest(BODY, ID)}).decoded == b""
    assert read_arrival(content, 1).decoded == decoded_digest(content, ID)


OCTETS = st.lists(
    st.sampled_from([b"\r", b"\n", b"x", b"-", b"Z", ID, ID[:9], ID[9:], b"Message-ID: <", b"@"]), max_size=12
).map(b"".join)


@given(OCTETS)
def test_a_header_ends_at_the_first_empty_line_of_either_kind(content):
    end = re.search(rb"\r?\n\r?\n", content)
    expected = (content, b"") if end is None else (content[: end.start()], content[end.end() :])
    assert split(content) == expected


@given(OCTETS)
def test_an_identifier_stands_alone(octets):
    plain = rb"(?<![0-9A-Za-z-])[0-9a-f]{8}-[0-9a-f]{9}(?![0-9A-Za-z-])"
    assert identifiers(octets) == list(dict.fromkeys(re.findall(plain, octets)))
    named = re.search(rb"^Message-ID:\s*<?([0-9a-f]{8}-[0-9a-f]{9})@", octets, re.MULTILINE)
    assert header_identifier(octets) == (named[1] if named else b"")
