from __future__ import annotations

import mailbox
from email import message_from_bytes
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.fingerprint import header_identifier, make_identifier
from smtpbench.errors import UsageError
from smtpbench.load.corpus import replay
from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.replay import Mail, read_corpus
from smtpbench.load.identifiers import Identifiers
from smtpbench.wire.content import ContentReceiver

MAIL = (
    b"From: a@real.example\nTo: b@real.example\nMessage-ID: <1@real.example>\nSubject: hi\n\nHello\n.\n..\n"
)
SENT = MAIL.replace(b"\n", b"\r\n")


def folder(tmp_path: Path, **files: bytes) -> Path:
    for name, octets in files.items():
        (tmp_path / f"{name}.eml").write_bytes(octets)
    return tmp_path


def complaint(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(path)
    return str(caught.value)


def octets(path: Path) -> list[bytes]:
    return [mail.octets for mail in read_corpus(path).mails]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_become_crlf(tmp_path: Path, end: bytes) -> None:
    assert octets(folder(tmp_path, one=MAIL.replace(b"\n", end))) == [SENT]


def test_a_last_line_that_is_not_ended_is(tmp_path: Path) -> None:
    assert octets(folder(tmp_path, one=MAIL.rstrip())) == [SENT]


@given(
    st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\r\n", b"\xe9", b"\0", b"X" * 999])).map(b"".join)
)
def test_nothing_else_is_changed_on_the_way(body: bytes) -> None:
    """What the server stores is our line and, but for line ends, the octets of the file."""
    raw = b"Subject: \xc3\xa9\n\n" + body + b"\n"
    mail = Mail("one", replay._LINE_END.sub(b"\r\n", raw))
    identifiers = Identifiers()
    receiver = ContentReceiver()
    stored = receiver.feed(Content(mail.pieces, identifiers).next_content())
    line, _, rest = stored.partition(b"\r\n")
    identifier = make_identifier(identifiers.run, 1)
    assert line == b"X-Smtpbench-Id: " + identifier
    assert header_identifier(stored) == identifier
    assert rest == mail.octets
    assert rest.splitlines() == raw.splitlines()
    assert (receiver.bare_cr, receiver.bare_lf) == (0, 0)


def test_a_folder_is_read_in_the_order_of_its_names_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.EML").write_bytes(b"Subject: second\n\n")
    (tmp_path / "notes.txt").write_bytes(b"no mail")
    folder(tmp_path, a=b"Subject: first\n\n", c=b"Subject: third\n\n")
    assert octets(tmp_path) == [b"Subject: %s\r\n\r\n" % word for word in (b"first", b"second", b"third")]


def test_a_maildir(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "box")
    box.add(MAIL)
    assert octets(tmp_path / "box") == [SENT]


def test_an_mbox(tmp_path: Path) -> None:
    path = tmp_path / "archive.mbox"
    box = mailbox.mbox(path)
    box.add(MAIL)
    box.add(b"Subject: two\n\nFrom the start\n")
    box.close()
    before = path.read_bytes()
    assert octets(path) == [SENT, b"Subject: two\r\n\r\n>From the start\r\n"]
    assert path.read_bytes() == before
    assert read_corpus(path).mails[1].name == f"{path}, message 2"


def test_one_message_alone(tmp_path: Path) -> None:
    assert octets(folder(tmp_path, one=MAIL) / "one.eml") == [SENT]


def test_what_cannot_be_replayed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MESSAGE_MAX", 1000)
    folder(
        tmp_path, a=MAIL, b=b"", c=b" \r\n\n", d=b"Hello\n", e=b"Subject: \xe9\n\n", f=b"Subject: a\n\n" * 100
    )
    (tmp_path / "g.eml").mkdir()
    said = complaint(tmp_path).splitlines()
    assert said == [
        f"corpus {tmp_path}/b.eml: empty",
        f"corpus {tmp_path}/c.eml: empty",
        f"corpus {tmp_path}/d.eml: it does not begin with a header field",
        f"corpus {tmp_path}/e.eml: its header is neither ASCII nor UTF-8, which no extension of SMTP carries",
        f"corpus {tmp_path}/f.eml: too big: 1,200 octets, expected 1,000 at most",
        f"corpus {tmp_path}: 1 more of the kind",
    ]
    (tmp_path / "f.eml").unlink()
    assert complaint(tmp_path).splitlines()[-1] == f"corpus {tmp_path}/g.eml: not a file"


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "gone.eml").symlink_to(tmp_path / "nowhere")
    assert complaint(tmp_path) == f"corpus {tmp_path}/gone.eml: No such file or directory"


def test_there_has_to_be_mail(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none") == f"corpus {tmp_path}/none: No such file or directory"
    assert complaint(tmp_path) == f"corpus {tmp_path}: no .eml file in it, and it is no Maildir"
    (tmp_path / "notes.txt").write_bytes(b"no mail\n")
    assert complaint(tmp_path / "notes.txt").startswith(
        f"corpus {tmp_path}/notes.txt: no message in it: in an mbox"
    )


@pytest.mark.parametrize(("limit", "value"), [("CORPUS_MAX", 150), ("MESSAGES_MAX", 1)])
def test_too_much_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(replay, limit, value)
    assert "too large: more than" in complaint(folder(tmp_path, a=MAIL, b=MAIL))


def test_a_summary_tells_corpora_apart_and_says_what_is_unusual(tmp_path: Path) -> None:
    folder(tmp_path, a=MAIL, b=MAIL + b"x" * 999)
    before = read_corpus(tmp_path).summary
    assert before.startswith("2 messages, 1,203 octets, 1 with lines longer than 998 octets, sha256 ")
    (tmp_path / "a.eml").write_bytes(MAIL.replace(b"hi", b"ho"))
    assert read_corpus(tmp_path).summary != before


def test_what_was_signed_reads_the_same(tmp_path: Path) -> None:
    (mail,) = read_corpus(folder(tmp_path, one=MAIL)).mails
    sent = message_from_bytes(Content(mail.pieces, Identifiers()).stored(b"0" * 18))
    assert sent.items()[1:] == message_from_bytes(mail.octets).items()
    assert sent.get_payload() == message_from_bytes(mail.octets).get_payload()
