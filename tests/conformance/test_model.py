"""The catalogue: what is read from TOML, and one line for each mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpbench.conformance.coverage import coverage
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.model import Catalogue, Level, find_cases, load_catalogue
from smtpbench.conformance.passive import RULES
from smtpbench.errors import UsageError

GOOD = """
[[requirement]]
id = "5321-B-21"
rfc = 5321
section = "4.1.1.9"
level = "MUST"
need = ["wire"]
text = "NOOP is answered 250."
"""


def written(folder: Path, text: str) -> Path:
    (folder / "catalogue").mkdir(exist_ok=True)
    (folder / "catalogue" / "rows.toml").write_text(text)
    return folder


def test_a_row(tmp_path: Path) -> None:
    rows = load_catalogue(written(tmp_path, GOOD))
    assert list(rows) == ["5321-B-21"]
    row = rows["5321-B-21"]
    assert (row.rfc, row.section, row.level, row.need) == (5321, "4.1.1.9", Level.MUST, ("wire",))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + GOOD, "5321-B-21: this id is used twice"),
        (GOOD.replace('"MUST"', '"OUGHT"'), "5321-B-21.level: 'OUGHT': input should be 'MUST', "),
        (GOOD.replace('["wire"]', '["W"]'), "5321-B-21.need.0: 'W': input should be 'wire', "),
        (GOOD + "colour = 1\n", "5321-B-21.colour: unknown key (value 1)"),
        (GOOD.replace('text = "NOOP is answered 250."', ""), "5321-B-21.text: missing, a value is needed"),
        (GOOD.replace('id = "5321-B-21"', ""), "requirement 1.id: missing, a value is needed"),
        ("x = [", "not TOML: "),
        ("", "requirement: missing, a value is needed"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_catalogue(written(tmp_path, text))
    lines = str(raised.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path / 'catalogue' / 'rows.toml'}: {complaint}")


def test_the_strongest_of_rows(catalogue: Catalogue) -> None:
    assert catalogue.strongest(["T-3", "T-2"]).id == "T-2"
    assert catalogue.strongest(["T-4", "T-1"]).id == "T-4"
    with pytest.raises(UsageError, match="'T-9' is not in the catalogue"):
        catalogue.strongest(["T-1", "T-9"])


def test_our_own_catalogue_and_cases_fit_together() -> None:
    root = find_cases()
    rows, cases = load_catalogue(root), load_cases(root)
    lines = coverage(rows, cases)  # raises for a requirement that is named and not there
    assert sum(line.rows for line in lines) == len(rows)
    for line in lines:
        assert line.tested + line.untestable + len(line.missing) == line.rows
    assert {row for rule in RULES for row in rule.requirements} <= set(rows)
