"""The journal: what `note` returned from is there, whatever becomes of the process."""

import subprocess
import sys

import pytest

from smtpbench.delivery import journal as module
from smtpbench.delivery.journal import RECORD, Content, Journal, Outcome, journals, read_journal
from smtpbench.errors import SmtpbenchError, UsageError

RUN = b"0123abcd"
CONTENT = Content(b"\1" * 16, b"\2" * 16)

WRITER = """
import sys
from itertools import count
from pathlib import Path
from smtpbench.delivery.journal import Content, Journal
journal = Journal(Path(sys.argv[1]), b"0123abcd")
journal.define_content(0, Content(b"", b""))
for number in count(1):
    envelope = journal.envelope((f"r{number}@example.com",))
    journal.note(1, number, 0, 0, 1, number, envelope, 0)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path, RUN)
    made.define_content(0, CONTENT)
    return made


def test_what_is_noted_is_read_back(journal, tmp_path):
    envelope = journal.envelope(("a@example.com", "b@example.com"))
    assert journal.envelope(("c@example.com",)) != envelope
    assert journal.envelope(("a@example.com", "b@example.com")) == envelope
    journal.note(Outcome.ACCEPTED, 7, 1_000, 20, 3, 4, envelope, 0)
    journal.note(Outcome.UNKNOWN, 8, 2_000, 2**40, 3, 5, envelope, 0)
    terms, records = read_journal(tmp_path / "0123abcd.journal")
    assert journals(tmp_path) == [tmp_path / "0123abcd.journal"]
    assert (terms.run, terms.contents) == (RUN, {0: CONTENT})
    assert terms.envelopes[envelope] == ("a@example.com", "b@example.com")
    assert [tuple(record)[:7] for record in records.tolist()] == [
        (7, 1_000, 20, 3, 4, envelope, 0),
        (8, 2_000, 2**32 - 1, 3, 5, envelope, 0),
    ]
    assert len(read_journal(tmp_path / "0123abcd.journal", 1)[1]) == 1
    journal.close()
    assert (tmp_path / "0123abcd.journal").stat().st_size == 2 * RECORD.itemsize


def test_it_grows(journal, tmp_path, monkeypatch):
    many = module.CHUNK // RECORD.itemsize + 1
    for number in range(many):
        journal.note(1, number, 0, 0, 1, number, 0, 0)
    journal.close()
    _, records = read_journal(tmp_path / "0123abcd.journal")
    assert records["number"].tolist() == list(range(many))


def test_nothing_that_was_noted_is_lost_by_a_kill(tmp_path):
    """The writer says each number after it has noted it, and is killed in the middle."""
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE) as writer:
        said = [writer.stdout.readline() for _ in range(2_000)]
        writer.kill()
        said += writer.stdout.readlines()
    last = int([line for line in said if line.endswith(b"\n")][-1])
    terms, records = read_journal(tmp_path / "0123abcd.journal")
    assert last >= 2_000
    assert records["number"].tolist()[:last] == list(range(1, last + 1))
    assert len(records) - last <= 1  # noted, and killed before it was said
    assert terms.envelopes[records["envelope"][last - 1]] == (f"r{last}@example.com",)


def test_a_record_that_was_cut_off_ends_the_journal(journal, tmp_path):
    journal.note(1, 1, 0, 0, 1, 0, 0, 0)
    journal.note(1, 2, 0, 0, 1, 1, 0, 0)
    journal.close()
    path = tmp_path / "0123abcd.journal"
    octets = bytearray(path.read_bytes())
    octets[-1] = 0
    path.write_bytes(octets)
    assert read_journal(path)[1]["number"].tolist() == [1]
    path.write_bytes(octets[:50])
    assert read_journal(path)[1]["number"].tolist() == [1]


def test_errors_are_one_line_each(journal, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"0123abcd.journal: cannot be written: File exists"):
        Journal(tmp_path, RUN)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    journal._at = module.CHUNK
    with pytest.raises(SmtpbenchError, match="the ledger cannot grow: No space left on device"):
        journal.note(1, 1, 0, 0, 1, 0, 0, 0)
    (tmp_path / "0123abcd.terms").write_text("[]\n")
    with pytest.raises(UsageError, match="not the terms of a journal"):
        read_journal(tmp_path / "0123abcd.journal")
