from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.fingerprint import MASK
from smtpbench.errors import UsageError
from smtpbench.load.corpus.mime import LONGEST_LINE, Envelope, Maker
from smtpbench.load.corpus.mixture import KINDS, MIME

ASCII = Envelope("sender@example.org", ("one@example.net",))
UTF8 = Envelope("jörg@exämple.example", ("ü@exämple.net",), utf8=True)
ENOUGH = 1024  # the usual size, in which every kind has room


def make(kind: str, size: int, envelope: Envelope = ASCII, seed: int = 1) -> bytes:
    return MASK.join(Maker(envelope).make(kind, size, Random(seed)))


def parsed(content: bytes) -> EmailMessage:
    """As the standard library reads it back, with nothing to complain about."""
    message = message_from_bytes(content, policy=policy.SMTP)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert part.defects == []
        assert all(not header.defects for header in part.values())
    return message


def texts(message: EmailMessage) -> list[str]:
    return [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"]


@given(
    st.sampled_from(sorted(KINDS)), st.integers(ENOUGH, 6000), st.sampled_from([ASCII, UTF8]),
    st.integers(0, 9),
)  # fmt: skip
def test_every_kind_has_the_size_asked_for_and_lines_that_smtp_can_carry(
    kind: str, size: int, envelope: Envelope, seed: int
) -> None:
    content = make(kind, size, envelope, seed)
    assert len(content) == size
    assert content.endswith(b"\r\n")
    assert not any(end in content.replace(b"\r\n", b"") for end in (b"\r", b"\n"))
    assert max(map(len, content.split(b"\r\n"))) <= LONGEST_LINE


@given(st.sampled_from(sorted(KINDS)), st.integers(ENOUGH, 6000))
def test_the_identifier_is_in_the_message_id_and_once_in_the_text(kind: str, size: int) -> None:
    pieces = Maker(ASCII).make(kind, size, Random(1))
    assert len(pieces) == 3
    message = parsed(MASK.join(pieces))
    assert message["Message-ID"] == f"<{MASK.decode()}@example.org>"
    assert sum(text.splitlines().count(MASK.decode()) for text in texts(message)) == 1


@given(st.sampled_from(sorted(KINDS)), st.integers(ENOUGH, 6000))
def test_it_may_be_in_the_message_id_alone(kind: str, size: int) -> None:
    pieces = Maker(ASCII, in_body=False).make(kind, size, Random(1))
    assert len(pieces) == 2
    assert len(MASK.join(pieces)) == size
    assert pieces[0].endswith(b"Message-ID: <")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_same_seed_gives_the_same_octets(kind: str) -> None:
    body = [make(kind, 3000, seed=seed).partition(b"\r\n\r\n")[2] for seed in (1, 1, 2)]
    assert body[0] == body[1]
    assert (body[0] == body[2]) == (kind in ("plain", "long-lines"))  # which have no choice


def test_most_of_a_large_message_is_its_bulk() -> None:
    """Of what the kind is about, and not of filler."""
    size = 50_000
    assert len(parsed(make("attachment", size)).get_body().get_content()) < 200
    html = parsed(make("html", size)).get_body(("html",)).get_content()
    assert len(html) > size / 2
    for kind in ("quoted-printable", "8bit"):
        (text,) = texts(parsed(make(kind, size)))
        assert len(text.encode()) - len(text) > size / 20
    longest = [line for line in make("long-lines", size).split(b"\r\n") if len(line) == LONGEST_LINE]
    assert len(longest) > size / LONGEST_LINE - 3


def test_attachments_can_be_decoded() -> None:
    scan, note = parsed(make("attachment", 20_000)).iter_attachments()
    assert (scan["Content-Transfer-Encoding"], note["Content-Transfer-Encoding"]) == (
        "base64", "quoted-printable",
    )  # fmt: skip
    assert len(scan.get_content()) > 10_000
    assert (note.get_filename(), note.get_content()) == ("Grüße.txt", "Schöne Grüße aus Köln!\r\n")


def test_headers_are_encoded_and_folded_or_utf_8() -> None:
    encoded, raw = make("headers", ENOUGH), make("headers", ENOUGH, UTF8)
    assert encoded.isascii()
    assert b"=?utf-8?" in encoded
    assert b"=?" not in raw
    assert "Reply-To: Jürgen Groß <reply@example.org>\r\n".encode() in raw
    for content in (encoded, raw):
        assert b"\r\n <" in content.partition(b"\r\n\r\n")[0]  # References, folded
    assert "заметка" in parsed(encoded)["Subject"]


def test_lines_begin_with_dots_and_one_is_a_dot_alone() -> None:
    lines = make("dots", 3000).partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert lines[0] == b"."
    assert b".." in lines
    assert sum(line.startswith(b".") for line in lines) > 20


def test_only_8bit_needs_8bit() -> None:
    assert [kind for kind in KINDS if not make(kind, 2000).isascii()] == ["8bit"]
    assert "8bit" not in MIME


def test_many_recipients_are_not_all_shown() -> None:
    content = make("html", 2000, Envelope("a@example.org", tuple(f"r{n}@example.net" for n in range(100))))
    assert content.count(b"@example.net") == 3
    parsed(content)


@pytest.mark.parametrize(
    "address", ['"two words"@example.org', "a.b+c@[127.0.0.1]", "x" * 64 + "@example.org"]
)
def test_unusual_addresses_are_shown_as_they_are(address: str) -> None:
    content = make("headers", 2000, Envelope(address, (address,)))
    assert f"<{address}>".encode() in content.replace(b"\r\n ", b"")
    assert len(content) == 2000


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"plain"}))
def test_too_small_says_how_much_it_takes(kind: str) -> None:
    with pytest.raises(UsageError, match=f"too small for content {kind}") as caught:
        make(kind, 200)
    least = int(str(caught.value).rpartition(" octets")[0].rpartition(" ")[2])
    assert len(make(kind, least)) == least
    with pytest.raises(UsageError):
        make(kind, least - 1)
