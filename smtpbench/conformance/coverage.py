"""Which rows of the catalogue have a case, by RFC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from smtpbench.conformance import passive
from smtpbench.conformance.cases import Case
from smtpbench.conformance.model import Catalogue
from smtpbench.errors import UsageError


@dataclass(frozen=True)
class RfcCoverage:
    """The rows of one RFC (0: of another source), counted, and the ids of those that have no case."""

    rfc: int
    rows: int
    tested: int
    untestable: int
    missing: tuple[str, ...]


def rows_tested(cases: Iterable[Case]) -> frozenset[str]:
    """Ids of the requirements that a case or a passive rule names."""
    named = {row for case in cases for row in case.requirements}
    return frozenset(named | {row for rule in passive.RULES for row in rule.requirements})


def coverage(catalogue: Catalogue, cases: Iterable[Case]) -> list[RfcCoverage]:
    """One line for each RFC, in numeric order. Raises UsageError for a row that is named and not there."""
    tested = rows_tested(cases)
    unknown = sorted(tested - set(catalogue))
    if unknown:
        raise UsageError(f"cases name requirements that are not in the catalogue: {', '.join(unknown)}")
    lines = []
    for rfc in sorted({row.rfc for row in catalogue.values()}):
        rows = [row for row in catalogue.values() if row.rfc == rfc]
        missing = tuple(row.id for row in rows if row.id not in tested and row.untestable is None)
        lines.append(
            RfcCoverage(
                rfc=rfc,
                rows=len(rows),
                tested=sum(row.id in tested for row in rows),
                untestable=sum(row.untestable is not None and row.id not in tested for row in rows),
                missing=missing,
            )
        )
    return lines
