"""How long messages take so far: pairs in either order, percentiles to 1 %, bounded."""

from __future__ import annotations

import random

import numpy as np
import pytest

from smtpbench.delivery import tempo
from smtpbench.delivery.tempo import SHARES, Tempo

MS = 1_000_000


def test_percentiles_are_those_of_the_durations_to_one_percent() -> None:
    chance = random.Random(1)
    took = [chance.lognormvariate(3, 1) for _ in range(5000)]
    seen = Tempo()
    for number, duration in enumerate(took):
        first, second = (b"%d" % number, 10**18), (b"%d" % number, 10**18 + int(duration * MS))
        steps = [lambda one=first: seen.begin([one]), lambda one=second: seen.end([one])]
        for step in steps if number % 2 else reversed(steps):  # a copy may come before its reply
            step()
    found = seen.figures()
    assert found["count"] == 5000
    for name, share in SHARES.items():
        assert found[name] == pytest.approx(float(np.quantile(took, share, method="inverted_cdf")), rel=0.011)


def test_nothing_is_known_of_nothing() -> None:
    seen = Tempo()
    seen.begin([(b"a", 1)])
    seen.end([(b"b", 1)])
    assert seen.figures() == {}


def test_a_second_copy_is_no_second_message() -> None:
    seen = Tempo()
    seen.begin([(b"a", 0)])
    seen.end([(b"a", 5 * MS), (b"a", 50 * MS)])
    assert (seen.figures()["count"], round(seen.figures()["max_ms"])) == (1, 5)


def test_messages_that_never_come_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempo, "MOST", 3)
    seen = Tempo()
    seen.begin((b"%d" % number, 0) for number in range(10))
    seen.end((b"%d" % number, 5 * MS) for number in range(10, 20))
    seen.end((b"%d" % number, 5 * MS) for number in range(10))
    assert seen.figures()["count"] == 3
