from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.load.corpus.mixture import KINDS, MIME, read_mixture


@pytest.mark.parametrize(
    ("value", "shares"),
    [
        ("plain", {"plain": 1}),
        ("html@3, 8bit", {"html": 0.75, "8bit": 0.25}),
        ({"html": 3, "8bit": 1}, {"html": 0.75, "8bit": 0.25}),
        ("mime", {kind: weight / 10 for kind, weight in MIME.items()}),
        ("mime@9,8bit@1,html@10", {**{k: w * 9 / 200 for k, w in MIME.items()}, "html": 0.68, "8bit": 0.05}),
    ],
)
def test_forms(value: Any, shares: dict[str, float]) -> None:
    mixture = read_mixture(value)
    assert dict(mixture.shares) == pytest.approx(shares)
    assert dict(read_mixture(str(mixture)).shares) == dict(mixture.shares)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("pdf", "unknown kind 'pdf', expected some of mime, plain"),
        ("html@0", "weight '0'"),
        ("html@x", "weight 'x'"),
        ("html@inf", "weight 'inf'"),
        ("", "unknown kind ''"),
    ],
)
def test_mistakes(value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_mixture(value)


@given(st.dictionaries(st.sampled_from(sorted(KINDS)), st.integers(1, 9), min_size=1))
def test_dealt_as_exactly_as_whole_numbers_allow(weights: dict[str, int]) -> None:
    dealt = Counter(read_mixture(weights).deal(256))
    total = sum(weights.values())
    assert sum(dealt.values()) == 256
    assert all(abs(dealt[kind] - 256 * weight / total) < 1 for kind, weight in weights.items())


def test_a_kind_of_hardly_any_weight_is_there() -> None:
    assert "8bit" in read_mixture("html@1000,8bit@1").deal(256)
