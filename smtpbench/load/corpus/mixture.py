"""Which kinds of generated content a workload is made of, and how much of each.

    mime                     a mixture as mailboxes hold it; needs no extension (`MIME`)
    html                     one kind alone
    plain@6,html@3,8bit@1    by weight; 1 where none is given; `mime` may be one of them

In TOML the same is text or a table: ``content = { plain = 6, html = 3 }``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

KINDS = {
    "plain": "short headers and ASCII text",
    "html": "text and HTML alternatives",
    "attachment": "base64 and quoted-printable attachments",
    "quoted-printable": "non-ASCII text, quoted-printable",
    "headers": "non-ASCII and folded headers",
    "long-lines": "lines of 998 octets",
    "dots": "lines that begin with dots",
    "8bit": "non-ASCII text as it is",
}
MIME = {"html": 4, "attachment": 2, "quoted-printable": 1, "headers": 1, "long-lines": 1, "dots": 1}


@dataclass(frozen=True)
class Mixture:
    """Kinds and their shares, which add up to 1. `text` is what they were read from."""

    text: str
    shares: tuple[tuple[str, float], ...]

    @property
    def plain(self) -> bool:
        """Whether there is the plain kind alone."""
        return [kind for kind, _ in self.shares] == ["plain"]

    def deal(self, number: int) -> list[str]:
        """So many kinds, by their shares as exactly as whole numbers allow, each at least once."""
        dealt: list[str] = []
        upto = 0.0
        for kind, share in self.shares:
            upto += share
            dealt += [kind] * max(round(upto * number) - len(dealt), 1)
        return dealt

    def __str__(self) -> str:
        return self.text


def read_mixture(value: Any) -> Mixture:
    """Text, a TOML table or a mixture. Raises ValueError that says what is expected."""
    if isinstance(value, Mixture):
        return value
    if isinstance(value, Mapping):
        value = ",".join(f"{kind}@{weight}" for kind, weight in value.items())
    weights: dict[str, float] = {}
    for word in str(value).split(","):
        kind, at, number = (part.strip() for part in word.partition("@"))
        weight = _weight(number) if at else 1.0
        of = MIME if kind == "mime" else {kind: 1}
        for name, part in of.items():
            if name not in KINDS:
                raise ValueError(f"unknown kind {name!r}, expected some of mime, {', '.join(KINDS)}")
            weights[name] = weights.get(name, 0.0) + weight * part / sum(of.values())
    total = sum(weights.values())
    return Mixture(str(value), tuple((kind, weight / total) for kind, weight in weights.items()))


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not (isfinite(weight) and weight > 0):
        raise ValueError(f"weight {text!r}: expected more than 0, such as html@3")
    return weight


PLAIN = read_mixture("plain")
Contents = Annotated[Mixture, PlainValidator(read_mixture), PlainSerializer(str)]
"""The kinds of content of a workload."""
