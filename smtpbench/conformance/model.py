"""The catalogue: requirement rows with their levels, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import smtpbench
from smtpbench.errors import UsageError

CATALOGUE_FOLDER = "catalogue"


class Level(StrEnum):
    """How binding a requirement is: RFC 2119 words, and what follows from grammar or plain prose."""

    MUST = "MUST"
    MUST_NOT = "MUST NOT"
    GRAMMAR = "GRAMMAR"
    SHOULD = "SHOULD"
    SHOULD_NOT = "SHOULD NOT"
    PROSE = "PROSE"
    MAY = "MAY"
    INFO = "INFO"


STRENGTH: Mapping[Level, int] = {
    Level.MUST: 3,
    Level.MUST_NOT: 3,
    Level.GRAMMAR: 3,
    Level.SHOULD: 2,
    Level.SHOULD_NOT: 2,
    Level.PROSE: 2,
    Level.MAY: 1,
    Level.INFO: 0,
}

Need = Literal["wire", "fixture", "delivered", "extension", "tls", "auth", "config", "slow"]


class Requirement(BaseModel):
    """One row: what the RFC asks, where, how strongly, and what a test of it needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z-]*$")]
    rfc: Annotated[int, Field(ge=0, le=99999)]  # 0: no RFC says it, `source` does
    section: str  # of that RFC; empty if the row is about the whole document
    source: str | None = None
    level: Level
    need: tuple[Need, ...] = ()
    text: Annotated[str, Field(min_length=1)]
    untestable: str | None = None  # why no test from outside can decide it
    corrected: str | None = None  # why level or section differ from what is often quoted
    checked: bool = True  # False: written from memory of the RFC, not yet held against its text


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    requirement: list[Requirement]


class Catalogue(Mapping[str, Requirement]):
    """Requirements by id, in the order of the files."""

    def __init__(self, rows: Iterable[Requirement]) -> None:
        self._rows = {row.id: row for row in rows}

    def __getitem__(self, key: str) -> Requirement:
        return self._rows[key]

    def __iter__(self) -> Any:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def strongest(self, ids: Iterable[str]) -> Requirement:
        """The row among `ids` with the strongest level, the first of equals. Raises UsageError."""
        rows = []
        for key in ids:
            if key not in self._rows:
                raise UsageError(f"requirement {key!r} is not in the catalogue")
            rows.append(self._rows[key])
        return max(rows, key=lambda row: STRENGTH[row.level])


def find_cases() -> Path:
    """The folder of the cases: ``conformance/`` of a checkout, ``smtpbench/cases`` of the wheel."""
    package = Path(smtpbench.__file__).resolve().parent
    for folder in (package.parent / "conformance", package / "cases"):
        if (folder / CATALOGUE_FOLDER).is_dir():
            return folder
    raise UsageError(f"no cases found: neither {package.parent / 'conformance'} nor {package / 'cases'}")


def load_catalogue(root: Path | None = None) -> Catalogue:
    """All rows below ``catalogue/`` of the cases' folder. Raises UsageError, one line per mistake."""
    folder = (root or find_cases()) / CATALOGUE_FOLDER
    rows: dict[str, Requirement] = {}
    mistakes: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        for row in _read(path, mistakes):
            if row.id in rows:
                mistakes.append(f"{path}: {row.id}: this id is used twice")
            rows.setdefault(row.id, row)
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return Catalogue(rows.values())


def _read(path: Path, mistakes: list[str]) -> list[Requirement]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return _File.model_validate(data).requirement
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        mistakes.append(f"{path}: not TOML: {error}")
    except ValidationError as error:
        mistakes += [f"{path}: {_one_line(data, item)}" for item in error.errors()]
    return []


def _one_line(data: dict[str, Any], item: Any) -> str:
    where = list(item["loc"])
    if len(where) >= 2 and isinstance(where[1], int):
        row = data["requirement"][where[1]]
        name = row.get("id") if isinstance(row, dict) else None
        where[:2] = [str(name or f"requirement {where[1] + 1}")]
    key = ".".join(str(part) for part in where)
    if item["type"] == "missing":
        return f"{key}: missing, a value is needed"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {item['input']!r})"
    message = item["msg"]
    return f"{key}: {item['input']!r}: {message[:1].lower()}{message[1:]}"
