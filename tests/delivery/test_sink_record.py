"""What a sink writes down, and what is read back of it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery import sink_record
from smtpbench.delivery.arrival import read_arrival
from smtpbench.delivery.sink_record import KeepingMaildir, Lines, RecordFile, read_record
from smtpbench.errors import UsageError
from smtpbench.server.sink_receiver import Taken

U_UMLAUT = "ü@y.example".encode()
ID = b"0123abcd-%09x"


def message(number, body=b"hello", session=1, recipients=(b"b@y.example", U_UMLAUT)):
    identifier = ID % number
    content = b"Message-ID: <%s@x.example>\r\n\r\n%s\r\n%s\r\n" % (identifier, identifier, body)
    return Taken(session, number, b"a@x.example", recipients, content, 1_000 + number, 2_000 + number)


def test_a_file_is_read_back_as_it_was_written(tmp_path):
    file = RecordFile(tmp_path / "record")
    batch = [message(1), message(2), message(3, b"other", session=7), Taken(8, 1, b"", (), b"alien", 5, 6)]
    file(batch[:2])
    file([])
    file(batch[2:])
    assert len((tmp_path / "record").read_bytes().splitlines()) == 4, "with the system before it is closed"
    file.close()
    expected = [
        read_arrival(
            one.content,
            one.at_ns,
            sender=one.sender.decode(),
            recipients=tuple(address.decode() for address in one.recipients),
            session=one.session,
        )
        for one in batch
    ]
    assert list(read_record(tmp_path / "record")) == expected
    assert [one.identifier for one in expected] == [ID % 1, ID % 2, ID % 3, b""]
    assert expected[0].digest == expected[1].digest != expected[2].digest


def test_a_body_is_decoded_once(monkeypatch):
    calls = []
    monkeypatch.setattr(sink_record, "decoded_digest", lambda *given: calls.append(given) or b"decoded")
    lines = Lines()
    assert all(b'"decoded":"6465636f646564"' in lines.of(message(number)) for number in range(1, 10))
    assert len(calls) == 1
    monkeypatch.setattr(sink_record, "KEPT_BODIES", 1)
    lines.of(message(1, b"other"))
    lines.of(message(2))
    assert len(calls) == 3, "the first was forgotten: memory is bounded"
    monkeypatch.setattr(sink_record, "LONGEST_KEPT", 10)
    lines.of(message(1, b"long"))
    lines.of(message(2, b"long"))
    assert len(calls) == 5


BODIES = st.lists(st.sampled_from([b"\r\n", b"\n", b">From ", b"x", ID % 1, ID % 2, b"0", b"-"]), max_size=12)


@given(st.lists(st.tuples(st.integers(1, 3), BODIES), min_size=1, max_size=6))
def test_what_is_remembered_changes_no_line(given_bodies):
    """A line says of a message what is said of it alone."""
    lines = Lines()
    for number, parts in given_bodies:
        one = message(number, b"".join(parts), recipients=(b'"a\\"b"@y.example',))
        expected = read_arrival(
            one.content, one.at_ns, sender="a@x.example", recipients=('"a\\"b"@y.example',), session=1
        )
        assert sink_record._arrival(lines.of(one), "here") == expected


def test_the_end_of_a_sink_that_was_killed_is_left_out(tmp_path):
    file = RecordFile(tmp_path / "record")
    file([message(1), message(2)])
    file.close()
    path = tmp_path / "record"
    path.write_bytes(path.read_bytes()[:-10])
    assert [one.identifier for one in read_record(path)] == [ID % 1]


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"nonsense\n", b'{"id": 5}\n', b"\xff\n"])
def test_a_file_that_is_no_record(tmp_path, line):
    path = tmp_path / "record"
    path.write_bytes(line)
    with pytest.raises(UsageError, match=f"{path}: line 1: no record of a sink"):
        list(read_record(path))


def test_paths_that_do_not_work(tmp_path):
    with pytest.raises(UsageError, match="/no/such/file: No such file"):
        RecordFile(Path("/no/such/file"))
    with pytest.raises(UsageError, match="/no/such/file: No such file"):
        list(read_record(Path("/no/such/file")))
    with pytest.raises(UsageError, match="Not a directory"):
        KeepingMaildir(Path("/dev/null/x"))


def test_a_disk_that_is_full(tmp_path):
    file = RecordFile(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        file([message(1)])
    file.close()


def test_a_write_that_takes_a_part_is_gone_on_with(tmp_path, monkeypatch):
    write = os.write
    file = RecordFile(tmp_path / "record")
    monkeypatch.setattr(
        "smtpbench.delivery.sink_record.os.write", lambda where, octets: write(where, octets[:50])
    )
    file([message(1), message(2)])
    file.close()
    assert len(list(read_record(tmp_path / "record"))) == 2


def test_a_maildir_has_the_message_below_its_envelope(tmp_path):
    keep = KeepingMaildir(tmp_path / "mail")
    keep([message(1), message(2)])
    files = sorted((tmp_path / "mail" / "new").iterdir())
    assert [file.read_bytes() for file in files] == [
        b"Return-Path: <a@x.example>\r\nDelivered-To: b@y.example\r\n"
        + "Delivered-To: ü@y.example\r\n".encode()
        + message(number).content
        for number in (1, 2)
    ]
    (tmp_path / "mail" / "tmp").rmdir()
    (tmp_path / "mail" / "tmp").write_text("in the way", encoding="ascii")
    with pytest.raises(OSError, match="could not be written"):
        keep([message(3)])
