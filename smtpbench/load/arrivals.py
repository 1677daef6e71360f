"""Arrival plans: when each message of an open workload is due. Pure functions of the rate and the seed.

The rate may change over time (`rates`). Messages are numbered by the integral of the rate: a constant
plan has them due where it is 0, 1, 2 …, a Poisson plan where a Poisson process of rate 1 has its points
(time change; the result is a Poisson process of that rate). The parts of a plan are every n-th of its
arrivals, so that together they are the plan itself, however many processes share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from smtpbench.load.rates import Profile, profile

Process = Literal["poisson", "constant"]

BLOCK = 1024  # arrivals computed at once
MAX_TRACE = 5_000_000  # lines; each costs memory here and in every worker


def plan(
    process: Process,
    rate: float | Profile,
    *,
    seed: int,
    part: int = 0,
    parts: int = 1,
) -> Iterator[float]:
    """The share of process `part` of `parts` in an arrival plan of `rate` messages a second in all.

    Ascending seconds from the start; endless unless the rate goes to nothing.
    """
    numbered = _evenly() if process == "constant" else _independently(seed)
    when, seen = profile(rate).when, 0
    for block in numbered:
        due = when(block)
        yield from due[(part - seen) % parts :: parts][: _finite(due, part, seen, parts)].tolist()
        if not math.isfinite(due[-1]):
            return
        seen += len(block)


def _finite(due: NDArray[np.float64], part: int, seen: int, parts: int) -> int | None:
    """How many of this part's arrivals in a block have a time; None for all."""
    if math.isfinite(due[-1]):
        return None
    return int(np.isfinite(due[(part - seen) % parts :: parts]).sum())


def _evenly() -> Iterator[NDArray[np.float64]]:
    first = 0
    while True:
        yield np.arange(first, first + BLOCK, dtype=np.float64)
        first += BLOCK


def _independently(seed: int) -> Iterator[NDArray[np.float64]]:
    random, last = np.random.default_rng(seed), 0.0
    while True:
        block = last + np.cumsum(random.exponential(size=BLOCK))
        last = float(block[-1])
        yield block


def shared(trace: Sequence[float], *, part: int = 0, parts: int = 1) -> Iterator[float]:
    """The share of a process in a recorded trace."""
    return islice(trace, part, None, parts)


def read_trace(path: Path) -> tuple[float, ...]:
    """The arrival times of a file: one number of seconds a line, ascending; the first is the start.

    Empty lines and lines that begin with ``#`` do not count. Raises ValueError that names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(getattr(error, "strerror", None) or "not text") from None
    times: list[float] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        times.append(_time(text, number))
        if len(times) > 1 and times[-1] < times[-2]:
            raise ValueError(f"line {number}: {text} comes before {times[-2]:g}: expected ascending times")
    if not times:
        raise ValueError("no arrival in it")
    if len(times) > MAX_TRACE:
        raise ValueError(f"{len(times):,} arrivals: expected at most {MAX_TRACE:,}")
    return tuple(at - times[0] for at in times)


def _time(text: str, number: int) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"line {number}: {text[:40]!r}: expected a number of seconds")
    return found
