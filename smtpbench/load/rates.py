"""The rate of an open workload as a function of time: a ramp, a spike, a day, or any line of straight pieces.

A plan needs two things of it: how many messages it promises until a time (the integral of the rate),
and the time by which so many are promised (its inverse). In text, with rates in messages a second:

    200                         always the same
    ramp:10-200,60s             from 10 to 200 in a minute; 200 from then on
    spike:50-500,30s,10s        50, and after 30 s for 10 s 500
    diurnal:20-200,10m          a day of ten minutes: 20 at its beginning and end, 200 at noon; then the next
    stages:0@0s,100@1m,100@5m   straight lines from one rate at a time to the next; the last one stays

In TOML the same is text or a table, such as ``rate = { kind = "ramp", from = 10, to = 200, over = "60s" }``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator

from smtpbench.load.quantities import PAUSE, Scale

MAX_RATE = 1_000_000  # a second; more than any single machine can offer
_GRID = 4096  # points of a day between which the inverse of its integral is taken as straight, then mended
_NEWTON = 3  # steps that mend it to the last digit

Floats = NDArray[np.float64]


class Profile(ABC):
    """A rate over time. `text` can be read again; `lasts` is its own length in seconds."""

    text: str
    lasts: float

    @abstractmethod
    def promised(self, t: Floats) -> Floats:
        """Messages due in the first `t` seconds."""

    @abstractmethod
    def when(self, messages: Floats) -> Floats:
        """Seconds until so many are due; infinite where the rate has gone to nothing before."""

    @property
    @abstractmethod
    def highest(self) -> float:
        """The highest rate."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Pieces(Profile):
    """Straight lines between `points` (seconds, rate), the first at 0; after the last its rate stays.

    Two points of the same time are a jump.
    """

    text: str
    points: tuple[tuple[float, float], ...]
    lasts: float

    @cached_property
    def _lines(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Of each line: its start, the rate there, how fast the rate grows, and what is due before it."""
        t, rate = (np.array(column, float) for column in zip(*self.points, strict=True))
        spans = np.diff(t)
        growth = np.divide(np.diff(rate), spans, out=np.zeros(len(spans)), where=spans > 0)
        before = np.concatenate(([0.0], np.cumsum((rate[:-1] + rate[1:]) / 2 * spans)))
        return t, rate, np.append(growth, 0.0), before

    @property
    def highest(self) -> float:
        """The highest rate."""
        return max(rate for _, rate in self.points)

    def promised(self, t: Floats) -> Floats:
        """See `Profile`."""
        starts, rate, growth, before = self._lines
        t = np.asarray(t, float)
        line = np.maximum(np.searchsorted(starts, t, side="right") - 1, 0)
        since = t - starts[line]
        result: Floats = before[line] + since * (rate[line] + growth[line] * since / 2)
        return result

    def when(self, messages: Floats) -> Floats:
        """See `Profile`. Solves ``before + rate·s + growth·s²/2 = messages`` for the line it falls on."""
        starts, rate, growth, before = self._lines
        line = np.maximum(np.searchsorted(before, messages, side="right") - 1, 0)
        over, r, g = messages - before[line], rate[line], growth[line]
        root = np.sqrt(np.maximum(r * r + 2 * g * over, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            since = np.where(over > 0, 2 * over / (r + root), 0.0)  # the form that loses no digits
        result: Floats = starts[line] + since
        return result


@dataclass(frozen=True)
class Diurnal(Profile):
    """A cosine between `low` at the beginning of each `period` and `high` halfway."""

    text: str
    low: float
    high: float
    lasts: float

    @property
    def highest(self) -> float:
        """The highest rate."""
        return self.high

    def promised(self, t: Floats) -> Floats:
        """See `Profile`."""
        mean, swing = (self.low + self.high) / 2, (self.high - self.low) / 2
        turn = 2 * math.pi / self.lasts
        result: Floats = mean * t - swing / turn * np.sin(turn * t)
        return result

    def when(self, messages: Floats) -> Floats:
        """See `Profile`. A table gives the time within a day, Newton's method its last digits."""
        a_day = (self.low + self.high) / 2 * self.lasts
        days, rest = np.divmod(messages, a_day)
        times = np.linspace(0.0, self.lasts, _GRID)
        table = self.promised(times)
        t: Floats = np.interp(rest, table, times)
        step = self.lasts / _GRID
        for _ in range(_NEWTON):
            turned = np.cos(2 * math.pi * t / self.lasts)
            rate = (self.low + self.high) / 2 - (self.high - self.low) / 2 * turned
            missing = rest - self.promised(t)
            mended = np.divide(missing, rate, out=np.zeros_like(t), where=rate > 0)
            t = t + np.clip(mended, -step, step)  # where the rate is nearly nothing a full step would be wild
        result: Floats = np.maximum(days * self.lasts + t, 0.0)
        return result


def profile(rate: float | Profile) -> Profile:
    """`rate` as a function of time."""
    return rate if isinstance(rate, Profile) else Pieces(f"{rate:g}", ((0.0, rate),), math.inf)


_RATE = Scale("200 or ramp:10-200,60s", {"": 1.0}, 0, MAX_RATE, whole=False)
_FORMS = {
    "ramp": "ramp:FROM-TO,OVER", "spike": "spike:BASE-PEAK,AT,FOR", "diurnal": "diurnal:LOW-HIGH,PERIOD",
    "stages": "stages:RATE@TIME,…",
}  # fmt: skip
_TABLE_KEYS = {
    "ramp": ("from", "to", "over"), "spike": ("base", "peak", "at", "for"),
    "diurnal": ("low", "high", "period"), "stages": ("points",),
}  # fmt: skip


def read_rate(value: Any) -> float | Profile:
    """A number of messages a second, or a profile as text or table. Raises ValueError."""
    if isinstance(value, Profile):
        return value
    text = _as_text(value) if isinstance(value, Mapping) else str(value).strip()
    kind, colon, rest = text.partition(":")
    if not colon:
        number = _RATE.number(text)
        if not 0 < number <= MAX_RATE:
            raise ValueError(f"expected more than 0 and at most {MAX_RATE:,} messages a second")
        return number
    if kind not in _FORMS:
        raise ValueError(f"unknown rate {kind!r}, expected a number or {', '.join(_FORMS.values())}")
    words = [word.strip() for word in rest.split(",")]
    found = _stages(text, words) if kind == "stages" else _between(text, kind, words)
    if not 0 < found.highest <= MAX_RATE:
        raise ValueError(f"expected a highest rate of more than 0 and at most {MAX_RATE:,} messages a second")
    return found


def _between(text: str, kind: str, words: list[str]) -> Profile:
    """One of those that go between two rates, with as many times as each takes."""
    first, dash, second = words[0].partition("-")
    if not dash or len(words) != (3 if kind == "spike" else 2):
        raise ValueError(f"expected {_FORMS[kind]}")
    low, high = _RATE.number(first), _RATE.number(second)
    times = [_seconds(word) for word in words[1:]]
    if kind == "diurnal":
        return Diurnal(text, low, high, times[0])
    if kind == "ramp":
        return Pieces(text, ((0.0, low), (times[0], high)), times[0])
    at, end = times[0], times[0] + times[1]
    return Pieces(text, ((0.0, low), (at, low), (at, high), (end, high), (end, low)), end + at)


def _stages(text: str, words: list[str]) -> Profile:
    points = []
    for word in words:
        rate, at, time = word.partition("@")
        if not at:
            raise ValueError(f"expected {_FORMS['stages']}")
        points.append((PAUSE.number(time), _RATE.number(rate)))
    if points != sorted(points, key=lambda point: point[0]) or points[-1][0] == 0:
        raise ValueError("stages: expected times that grow")
    if points[0][0] > 0:
        points.insert(0, (0.0, points[0][1]))
    return Pieces(text, tuple(points), points[-1][0])


def _seconds(text: str) -> float:
    found = PAUSE.number(text)
    if not found:
        raise ValueError("expected a time of more than 0, such as 60s")
    return found


def _as_text(table: Mapping[str, Any]) -> str:
    kind = str(table.get("kind", ""))
    keys = _TABLE_KEYS.get(kind)
    if keys is None:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(_TABLE_KEYS)}")
    if table.keys() != {"kind", *keys}:
        raise ValueError(f"a rate of kind {kind} has the keys {', '.join(keys)}")
    values = [table[key] for key in keys]
    if kind == "stages":
        return "stages:" + ",".join(f"{rate}@{time}" for time, rate in values[0])
    return f"{kind}:{values[0]}-{values[1]}," + ",".join(map(str, values[2:]))


def plain_rate(rate: float | Profile) -> float | str:
    """As a result shows it and `read_rate` takes it."""
    return rate.text if isinstance(rate, Profile) else rate


Rate = Annotated[float | Profile, PlainValidator(read_rate), PlainSerializer(plain_rate)]
"""Messages a second over all processes."""
