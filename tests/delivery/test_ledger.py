"""The ledger in its file: filled from journals bit by bit, and again by whoever opens it later."""

import time
from dataclasses import replace

import pytest

from smtpbench.delivery.accounts import Notice
from smtpbench.delivery.arrival import Arrival
from smtpbench.delivery.fingerprint import make_identifier
from smtpbench.delivery.journal import Content, Journal, Outcome
from smtpbench.delivery.ledger import FILE, Ledger
from smtpbench.errors import UsageError

RUN, OTHER_RUN = b"0123abcd", b"89abcdef"
CONTENT = Content(b"exact", b"decoded")
ALICE = "alice@example.com"


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path, RUN)
    made.define_content(0, CONTENT)
    return made


def note(journal, number, outcome=Outcome.ACCEPTED):
    journal.note(outcome, number, time.perf_counter_ns(), 20, 1, number, journal.envelope((ALICE,)), 0)


def arrival(number, run=RUN):
    now = time.time_ns()
    return Arrival(make_identifier(run, number), now, "s@example.org", (ALICE,), b"exact")


def test_entries_come_over_once(tmp_path, journal):
    ledger = Ledger(tmp_path)
    note(journal, 1)
    ledger.import_journals()
    note(journal, 2)
    ledger.import_journals()
    ledger.import_journals()
    assert ledger.accepted() == 2
    assert ledger.digests() == {b"exact"}
    assert ledger.runs() == {RUN}


def test_the_balance_after_a_kill_is_that_of_what_is_in_the_files(tmp_path, journal):
    first = Ledger(tmp_path)
    for number in range(1, 6):
        note(journal, number)
    first.import_journals()
    first.add([arrival(1), replace(arrival(2), digest=b"x", decoded=b"x")])
    note(journal, 6)  # nobody lives to import it, or to close anything
    second = Ledger(tmp_path)
    second.import_journals()
    second.add([], [Notice(make_identifier(RUN, 3), ALICE, "failed", 1)])
    counts = second.balance(closed=False).counts
    assert (counts.accepted, counts.delivered, counts.bounced, counts.pending) == (6, 2, 1, 3)
    assert (counts.corrupted, counts.lost, counts.unknown) == (1, 0, 0)


def test_times_are_wall_clock(tmp_path, journal):
    before = time.time_ns()
    note(journal, 1)
    ledger = Ledger(tmp_path)
    ledger.import_journals()
    ledger.add([arrival(1)])
    (copy,) = ledger.balance(closed=True).copies
    assert copy.answered_ns - copy.begun_ns == 20_000
    slack = (
        1_000_000_000  # the two clocks are read one after the other, and the machine may be busy in between
    )
    assert before - slack <= copy.answered_ns <= copy.arrived_ns + slack


def test_two_processes_and_the_mail_of_others(tmp_path, journal):
    other = Journal(tmp_path, OTHER_RUN)
    other.define_content(0, CONTENT)
    note(journal, 1)
    note(other, 1)
    ledger = Ledger(tmp_path)
    ledger.import_journals()
    ledger.add([arrival(1), arrival(1, OTHER_RUN), arrival(1, b"77777777"), Arrival(b"", 1)])
    counts = ledger.balance(closed=True).counts
    assert (counts.accepted, counts.delivered, counts.foreign) == (2, 2, 2)


def test_facts(tmp_path):
    ledger = Ledger(tmp_path)
    assert ledger.fact("stopped_ns") is None
    ledger.set_fact("stopped_ns", 5)
    ledger.set_fact("stopped_ns", [6])
    assert Ledger(tmp_path).fact("stopped_ns") == [6]


def test_a_file_that_is_no_ledger(tmp_path):
    (tmp_path / FILE).write_text("hello, this is no database at all" * 10)
    with pytest.raises(UsageError, match=r"ledger\.sqlite: not a ledger"):
        Ledger(tmp_path)
