"""Distributions as they are written: on the command line, in a TOML file, in a result.

    8k                       always the same
    uniform:1-10             any of them, equally likely
    exponential:MEAN
    lognormal:MEDIAN,SIGMA   SIGMA is that of the natural logarithm
    pareto:MINIMUM,ALPHA
    choice:1k@70,64k@25,1m@5 by weight; 1 where none is given
    empirical:FILE           as they were measured, one number a line

All but the first may end in ``,min=…`` and ``,max=…``: what lies beyond is put at the bound. Octets take
k, m and g (powers of 1024); times take ms, s, m and h, and are in seconds without a unit. In TOML the
same is a table: ``{ kind = "lognormal", median = "8k", sigma = 1.2, max = "1m" }``, and for a choice
``{ kind = "choice", values = ["1k", "64k"], weights = [70, 25] }``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from smtpbench.load.distributions import (
    Choice,
    Distribution,
    Exponential,
    Lognormal,
    Pareto,
    Shape,
    Uniform,
)

_EMPIRICAL_MAX = 1_000  # different values kept of a file; more are condensed to as many quantiles
_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([a-z]*)", re.IGNORECASE)
_BOUND = re.compile(r"(min|max)\s*=(.*)")

_FORMS = {
    "fixed": "a number",
    "uniform": "uniform:LOW-HIGH",
    "exponential": "exponential:MEAN",
    "lognormal": "lognormal:MEDIAN,SIGMA",
    "pareto": "pareto:MINIMUM,ALPHA",
    "choice": "choice:VALUE@WEIGHT,…",
    "empirical": "empirical:FILE",
}
_TABLE_KEYS: dict[str, tuple[str, ...]] = {
    "fixed": ("value",),
    "uniform": ("low", "high"),
    "exponential": ("mean",),
    "lognormal": ("median", "sigma"),
    "pareto": ("minimum", "alpha"),
    "choice": ("values",),
    "empirical": ("file",),
}


@dataclass(frozen=True)
class Scale:
    """What is counted: its units, the smallest and the largest value, and an example for error lines."""

    example: str
    units: Mapping[str, float]
    low: float
    high: float
    whole: bool = True

    def read(self, value: Any) -> Distribution:
        """A number, text, a TOML table or a distribution. Raises ValueError that says what is expected."""
        if isinstance(value, Distribution):
            return self.read(plain(value))
        text = _as_text(value) if isinstance(value, Mapping) else str(value).strip()
        kind, colon, rest = text.partition(":")
        words = [word.strip() for word in (rest if colon else text).split(",")]
        bounds = {"min": -math.inf, "max": math.inf}
        while colon and (match := _BOUND.fullmatch(words[-1])):
            bounds[match[1]] = self.number(match[2])
            words.pop()
        shape = self._shape(kind.strip().lower() if colon else "fixed", words)
        return self._checked(text, shape, bounds["min"], bounds["max"])

    def number(self, text: Any) -> float:
        """A single number with its unit. Raises ValueError."""
        match = _NUMBER.fullmatch(str(text).strip())
        if match is None or match[2].lower() not in self.units:
            known = ", ".join(filter(None, self.units))
            raise ValueError(
                f"{str(text).strip()!r} is no number{f' with a unit of {known}' if known else ''}, "
                f"expected such as {self.example}"
            )
        return float(match[1]) * self.units[match[2].lower()]

    def _shape(self, kind: str, words: list[str]) -> Shape:
        if kind not in _READERS:
            raise ValueError(f"unknown distribution {kind!r}, expected {', '.join(_FORMS.values())}")
        count, read = _READERS[kind]
        if not words or not all(words) or (count and len(words) != count):
            raise ValueError(f"expected {_FORMS[kind]}")
        return read(self, words)

    def _checked(self, text: str, shape: Shape, low: float, high: float) -> Distribution:
        """Values that were named must be on the scale; a tail that was not is cut at its ends."""
        if low > high:
            raise ValueError(f"min={low:g} is above max={high:g}")
        named = [low, high, shape.highest, shape.lowest if shape.lowest else math.inf]
        if isinstance(shape, Uniform | Choice):
            named.append(shape.lowest)
        for value in filter(math.isfinite, named):
            if not self.low <= value <= self.high:
                raise ValueError(f"expected {self.low:,.0f} to {self.high:,.0f}, not {value:,.10g}")
        if self.whole and isinstance(shape, Choice) and any(value % 1 for value in shape.values):
            raise ValueError(f"expected whole numbers such as {self.example}")
        return Distribution(text, shape, max(low, self.low), min(high, self.high), self.whole)


_BARE = Scale("1.5", {"": 1.0}, 0, math.inf, whole=False)  # sigma, alpha, a weight


def _as_text(table: Mapping[str, Any]) -> str:
    """A TOML table as text. Raises ValueError for a key that is missing or unknown."""
    kind = str(table.get("kind", ""))
    keys = _TABLE_KEYS.get(kind)
    if keys is None:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(_TABLE_KEYS)}")
    needed = {"kind", *keys}
    allowed = needed | ({"weights"} if kind == "choice" else set())
    allowed |= {"min", "max"} if kind != "fixed" else set()
    if needed - table.keys() or table.keys() - allowed:
        raise ValueError(f"a distribution of kind {kind} has the keys {', '.join(sorted(allowed))}")
    if kind == "fixed":
        return str(table["value"])
    bounds = [f"{key}={table[key]}" for key in ("min", "max") if key in table]
    return f"{kind}:" + ",".join([_body(kind, table), *bounds])


def _body(kind: str, table: Mapping[str, Any]) -> str:
    if kind == "choice":
        values = table["values"]
        weights = table.get("weights", [1] * len(values))
        if len(weights) != len(values):
            raise ValueError("choice: as many weights as values are needed")
        return ",".join(f"{value}@{weight}" for value, weight in zip(values, weights, strict=True))
    return ("-" if kind == "uniform" else ",").join(str(table[key]) for key in _TABLE_KEYS[kind])


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError(f"expected more than 0, not {value:g}")
    return value


def _uniform(scale: Scale, words: list[str]) -> Shape:
    low, dash, high = words[0].partition("-")
    if not dash:
        raise ValueError(f"expected {_FORMS['uniform']}")
    return Uniform(scale.number(low), scale.number(high), whole=scale.whole)


def _choice(scale: Scale, words: list[str]) -> Shape:
    pairs = [word.partition("@") for word in words]
    return Choice(
        tuple(scale.number(value) for value, _, _ in pairs),
        tuple(_BARE.number(weight) if at else 1.0 for _, at, weight in pairs),
    )


def _empirical(scale: Scale, words: list[str]) -> Shape:
    path = Path(words[0])
    try:
        found = sorted(scale.number(word) for word in path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if not found:
        raise ValueError(f"{path}: no number in it")
    if len(set(found)) > _EMPIRICAL_MAX:
        step = len(found) / _EMPIRICAL_MAX
        found = [found[int((i + 0.5) * step)] for i in range(_EMPIRICAL_MAX)]
    counts = Counter(found)
    return Choice(tuple(counts), tuple(map(float, counts.values())))


# Kind → how many words it takes (0: any number), and how they are read.
_READERS: dict[str, tuple[int, Callable[[Scale, list[str]], Shape]]] = {
    "fixed": (1, lambda scale, words: Choice((scale.number(words[0]),), (1.0,))),
    "uniform": (1, _uniform),
    "exponential": (1, lambda scale, words: Exponential(_positive(scale.number(words[0])))),
    "lognormal": (2, lambda s, w: Lognormal(_positive(s.number(w[0])), _BARE.number(w[1]))),
    "pareto": (2, lambda s, w: Pareto(_positive(s.number(w[0])), _positive(_BARE.number(w[1])))),
    "choice": (0, _choice),
    "empirical": (1, _empirical),
}


def plain(distribution: Distribution) -> int | float | str:
    """As a result shows it: a number if it never varies, else text that `Scale.read` takes, without files."""
    if distribution.fixed is not None:
        return int(distribution.fixed) if distribution.whole else distribution.fixed
    shape = distribution.shape
    if isinstance(shape, Choice):
        return f"choice:{_pairs(shape.values, shape.weights)}{_bounds(distribution.text)}"
    return distribution.text


def _pairs(values: Sequence[float], weights: Sequence[float]) -> str:
    return ",".join(f"{value:.10g}@{weight:.10g}" for value, weight in zip(values, weights, strict=True))


def _bounds(text: str) -> str:
    return "".join(f",{word.strip()}" for word in text.split(",") if _BOUND.fullmatch(word.strip()))


_TIME = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_OCTETS = {"": 1.0, "k": 1024.0, "m": 1024.0**2, "g": 1024.0**3}

SMALLEST_MESSAGE = (
    512  # room for the headers with addresses of ordinary length; checked exactly by the content
)
LARGEST_MESSAGE = 1 << 30
SIZE = Scale("8k or lognormal:8k,1.2", _OCTETS, SMALLEST_MESSAGE, LARGEST_MESSAGE)
RECIPIENTS = Scale("2 or uniform:1-10", {"": 1.0}, 1, 1000)
MESSAGES = Scale("10 or exponential:10", {"": 1.0}, 1, 1e9)
PAUSE = Scale("2s or exponential:500ms", _TIME, 0, 86_400, whole=False)

Sizes = Annotated[Distribution, PlainValidator(SIZE.read), PlainSerializer(plain)]
"""Octets of a message."""
Recipients = Annotated[Distribution, PlainValidator(RECIPIENTS.read), PlainSerializer(plain)]
"""Recipients of a message."""
Messages = Annotated[Distribution, PlainValidator(MESSAGES.read), PlainSerializer(plain)]
"""Messages of a session."""
Pause = Annotated[Distribution, PlainValidator(PAUSE.read), PlainSerializer(plain)]
"""Seconds."""
