"""The ledger of a run: what was acknowledged and what arrived, in one SQLite file.

    ledger = Ledger(folder)            # folder/ledger.sqlite; the engines write their journals beside it
    ledger.import_journals()           # what they have noted since
    ledger.add(arrivals, notices)
    ledger.balance(closed=True).counts

The journals are the record of what was acknowledged, the database is what is made of them: it is filled while
the load runs, and again by whoever opens the folder after a kill. It is in WAL mode, and each call is one
transaction, so it is whole after a kill too. Times are wall clock, ns since the epoch. Used by one thread at
a time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from smtpbench.delivery.accounts import Balance, Entry, Notice, balance
from smtpbench.delivery.arrival import Arrival, Read
from smtpbench.delivery.fingerprint import make_identifier
from smtpbench.delivery.journal import Content, Outcome, Terms, journals, read_journal
from smtpbench.errors import UsageError

FILE = "ledger.sqlite"
BUSY_S = 10.0  # somebody else reads the file, with sqlite3 say

_SCHEMA = """
create table if not exists journals (run blob primary key, records integer not null);
create table if not exists contents (
    run blob, content integer, digest blob not null, decoded blob not null, primary key (run, content)
) without rowid;
create table if not exists envelopes (
    run blob, envelope integer, recipients text not null, primary key (run, envelope)
) without rowid;
create table if not exists entries (
    run blob, number integer, outcome integer not null,
    begun_ns integer not null, answered_ns integer not null,
    session integer not null, ordinal integer not null, envelope integer not null, content integer not null
);
create table if not exists arrivals (
    identifier blob not null, at_ns integer not null, sender text, recipients text not null,
    digest blob not null, decoded blob not null, spliced integer not null, session integer not null
);
create table if not exists reads (
    protocol text not null, identifier blob not null, at_ns integer not null, since_ns integer not null,
    stated_ns integer
);
create table if not exists notices (
    identifier blob not null, recipient text not null, action text not null,
    at_ns integer not null, strict integer not null
);
create table if not exists facts (name text primary key, value text not null);
"""


class Ledger:
    """The ledger in `folder`, made if there is none. Raises UsageError for a file that is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")  # a commit is in the page cache: see journal.py
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{path}: not a ledger: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # what goes in

    def import_journals(self) -> list[tuple[bytes, int]]:
        """Take over what the engines have noted since the last call: the identifiers of what was accepted,
        with when the transaction began. Raises UsageError for a damaged journal.
        """
        accepted: list[tuple[bytes, int]] = []
        for path in journals(self._folder):
            run = path.stem.encode()
            row = self._db.execute("select records from journals where run = ?", (run,)).fetchone()
            done = int(row[0]) if row else 0
            terms, records = read_journal(path, done)
            if not row or len(records):
                with self._db:
                    accepted += self._take(run, terms, records.tolist(), done)
        return accepted

    def _take(
        self, run: bytes, terms: Terms, records: list[tuple[int, ...]], done: int
    ) -> list[tuple[bytes, int]]:
        execute, many = self._db.execute, self._db.executemany
        many(
            "insert or replace into contents values (?, ?, ?, ?)",
            ((run, index, one.digest, one.decoded) for index, one in terms.contents.items()),
        )
        many(
            "insert or replace into envelopes values (?, ?, ?)",
            ((run, index, json.dumps(names)) for index, names in terms.envelopes.items()),
        )
        offset = terms.offset_ns
        entries = [
            (run, number, outcome, at + offset - took_us * 1000, at + offset,
             session, ordinal, envelope, content)
            for number, at, took_us, session, ordinal, envelope, content, _, outcome, _ in records
        ]  # fmt: skip
        many("insert into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?)", entries)
        execute("insert or replace into journals values (?, ?)", (run, done + len(records)))
        return [
            (make_identifier(run, number), begun_ns)
            for _, number, outcome, begun_ns, *_ in entries
            if outcome == Outcome.ACCEPTED
        ]

    def add(self, arrivals: Sequence[Arrival], notices: Sequence[Notice] = ()) -> None:
        """Write down what an observer saw."""
        with self._db:
            self._db.executemany(
                "insert into arrivals values (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (one.identifier, one.at_ns, one.sender, json.dumps(one.recipients),
                     one.digest, one.decoded, one.spliced, one.session)
                    for one in arrivals
                ),
            )  # fmt: skip
            self._db.executemany(
                "insert into notices values (?, ?, ?, ?, ?)",
                ((one.identifier, one.recipient, one.action, one.at_ns, one.strict) for one in notices),
            )

    def add_reads(self, reads: Iterable[Read]) -> None:
        """Write down what was read."""
        with self._db:
            self._db.executemany(
                "insert into reads values (?, ?, ?, ?, ?)",
                ((one.protocol, one.identifier, one.at_ns, one.since_ns, one.stated_ns) for one in reads),
            )

    def set_fact(self, name: str, value: Any) -> None:
        """Write down `value` (as JSON has it) under `name`."""
        with self._db:
            self._db.execute("insert or replace into facts values (?, ?)", (name, json.dumps(value)))

    # what comes out

    def fact(self, name: str) -> Any:
        """What was written down under `name`, or None."""
        row = self._db.execute("select value from facts where name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def runs(self) -> frozenset[bytes]:
        """The runs that the journals are of, one for each process that sent messages."""
        return frozenset(row[0] for row in self._db.execute("select run from journals"))

    def digests(self) -> frozenset[bytes]:
        """The digests of what is sent."""
        return frozenset(row[0] for row in self._db.execute("select digest from contents"))

    def count(self, outcome: Outcome) -> int:
        """How many messages have met `outcome`."""
        found = self._db.execute("select count(*) from entries where outcome = ?", (int(outcome),))
        return cast(int, found.fetchone()[0])

    def accepted(self) -> int:
        """How many messages were acknowledged."""
        return self.count(Outcome.ACCEPTED)

    def balance(self, *, closed: bool) -> Balance:
        """What became of each message. `closed`: what is missing now is lost."""
        return balance(self._entries(), self._arrivals(), self._notices(), runs=self.runs(), closed=closed)

    def reads(self) -> Iterator[Read]:
        """What was read, in that order."""
        return (Read(*row) for row in self._db.execute("select * from reads order by rowid"))

    def begun(self) -> dict[bytes, int]:
        """When the transaction of each accepted message began."""
        rows = self._db.execute(
            "select run, number, begun_ns from entries where outcome = ?", (int(Outcome.ACCEPTED),)
        )
        return {make_identifier(run, number): begun_ns for run, number, begun_ns in rows}

    def _entries(self) -> Iterator[Entry]:
        contents = {
            (run, index): Content(digest, decoded)
            for run, index, digest, decoded in self._db.execute("select * from contents")
        }
        envelopes = {
            (run, index): tuple(json.loads(names))
            for run, index, names in self._db.execute("select * from envelopes")
        }
        for run, number, outcome, begun, answered, session, ordinal, envelope, content in self._db.execute(
            "select * from entries order by rowid"
        ):
            yield Entry(
                make_identifier(run, number), Outcome(outcome), begun, answered, (run, session), ordinal,
                envelopes[run, envelope], contents[run, content],
            )  # fmt: skip

    def _arrivals(self) -> Iterator[Arrival]:
        for identifier, at_ns, sender, recipients, digest, decoded, spliced, session in self._db.execute(
            "select * from arrivals order by rowid"
        ):
            names = tuple(json.loads(recipients))
            yield Arrival(identifier, at_ns, sender, names, digest, decoded, bool(spliced), session)

    def _notices(self) -> Iterator[Notice]:
        for identifier, recipient, action, at_ns, strict in self._db.execute(
            "select * from notices order by rowid"
        ):
            yield Notice(identifier, recipient, action, at_ns, bool(strict))
