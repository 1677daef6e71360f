"""The rows of the catalogue: complete, in order, and each in the form that cases and reports rely on."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from typing import Any

import pytest

from smtpbench.conformance.model import CATALOGUE_FOLDER, Requirement, find_cases, load_catalogue

# Prefix of the ids in each file, and how many there are: ids are public, so none may go missing or move.
FILES = {
    "other": ("MISC-", 39),
    "rfc1870": ("1870-", 14),
    "rfc2033": ("2033-", 12),
    "rfc2034": ("2034-", 9),
    "rfc2920": ("2920-", 14),
    "rfc3030": ("3030-", 20),
    "rfc3207": ("3207-", 26),
    "rfc3461": ("3461-", 25),
    "rfc4954": ("4954-", 41),
    "rfc5321-data": ("5321-D-", 55),
    "rfc5321-envelope": ("5321-C-", 51),
    "rfc5321-relay": ("5321-E-", 21),
    "rfc5321-replies": ("5321-A-", 39),
    "rfc5321-session": ("5321-B-", 48),
    "rfc5322": ("5322-", 6),
    "rfc6152": ("6152-", 7),
    "rfc6409": ("6409-", 18),
    "rfc6531": ("6531-", 20),
}
TOTAL = 465

SECTION = re.compile(r"(?:[1-9][0-9]*|[A-Z])(?:\.[1-9][0-9]*)*(?:\((?:[0-9]+|[a-z])\))?")
"""4.1.1.4, an appendix such as F.6, or with an item of the section's list: 3.2(4), 5.1(a)."""

SENTENCE = re.compile(r"[A-Z].*[^.]\.")

# A row can lean on another document where the file's own leaves the question to it.
COMPANIONS = {
    "rfc2034": {3463},  # the codes
    "rfc2920": {5321},  # what a server without the extension does
    "rfc3207": {4954, 5321, 8314},  # AUTH in clear, one reply a command, implicit TLS
    "rfc3461": {3464},  # the format of a report
    "rfc4954": {0, 2195, 4616, 5802, 7628, 7677},  # the mechanisms; LOGIN is a draft
    "rfc6409": {5322},  # Bcc
    "rfc6531": {6532},  # UTF-8 header fields
}

FOLDER = find_cases() / CATALOGUE_FOLDER
CATALOGUE = load_catalogue()


def rows_of(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))["requirement"]
    return rows


def can_be_looked_up(row: Requirement) -> bool:
    """An RFC and its section; a row that is not yet checked may lack the section; or another source."""
    if row.rfc == 0:
        return bool(row.source) and not row.section
    named = SECTION.fullmatch(row.section) is not None or (row.section == "" and not row.checked)
    return named and row.source is None


def test_the_catalogue_is_made_of_these_files() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(FILES)


def test_the_loader_takes_every_row() -> None:
    assert len(CATALOGUE) == TOTAL == sum(count for _, count in FILES.values())


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_its_ids_without_gap_and_in_order(name: str) -> None:
    prefix, count = FILES[name]
    assert [row["id"] for row in rows_of(name)] == [f"{prefix}{number}" for number in range(1, count + 1)]


def test_no_two_rows_say_the_same() -> None:
    texts = Counter(row.text for row in CATALOGUE.values())
    assert [text for text, times in texts.items() if times > 1] == []


def test_every_row_is_one_sentence() -> None:
    assert [row.id for row in CATALOGUE.values() if not SENTENCE.fullmatch(row.text)] == []


def test_every_row_says_what_a_test_of_it_needs() -> None:
    assert [row.id for row in CATALOGUE.values() if not row.need] == []


def test_every_row_says_where_to_look_it_up() -> None:
    assert [row.id for row in CATALOGUE.values() if not can_be_looked_up(row)] == []


def test_every_correction_is_a_sentence() -> None:
    wrong = [row.id for row in CATALOGUE.values() if row.corrected is not None and row.corrected[-1:] != "."]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in FILES if name != "other"])
def test_a_file_is_about_its_own_rfc_and_the_named_companions(name: str) -> None:
    own = int(name.removeprefix("rfc")[:4])
    found = {row["rfc"] for row in rows_of(name)}
    assert found == {own} | COMPANIONS.get(name, set())
