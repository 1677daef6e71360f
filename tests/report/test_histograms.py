from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpbench.report.histograms import Recorded

HOUR_US = 3_600_000_000
Counted = list[tuple[int, int]]
SOME = st.lists(st.tuples(st.integers(1, HOUR_US), st.integers(1, 1000)), min_size=1, max_size=20)


def recording(values: Counted) -> HdrHistogram:
    histogram = HdrHistogram(1, HOUR_US, 3)
    for value, count in values:
        histogram.record_value(value, count)
    return histogram


@given(SOME)
def test_quantiles_are_those_of_hdrhistogram(values: Counted) -> None:
    histogram = recording(values)
    recorded = Recorded(histogram)
    assert recorded.total == histogram.get_total_count()
    parts = {0.001: 0.1, 0.25: 25, 0.5: 50, 0.9: 90, 0.999: 99.9, 1.0: 100}
    expected = histogram.get_percentile_to_value_dict([*parts.values()])  # all of them in one walk
    assert recorded.quantiles([*parts]) == [expected[percent] for percent in parts.values()]


@settings(max_examples=10)  # each is a walk over 23,000 counts in Python, which coverage makes slow
@given(SOME)
def test_the_mean_is_that_of_hdrhistogram(values: Counted) -> None:
    histogram = recording(values)
    assert Recorded(histogram).mean() == pytest.approx(histogram.get_mean_value(), rel=1e-12)


def test_a_histogram_of_other_precision_is_read_as_well() -> None:
    histogram = HdrHistogram(1, 10_000, 2)
    for value in range(1, 5001):
        histogram.record_value(value)
    recorded = Recorded(HdrHistogram.decode(histogram.encode()))
    assert recorded.mean() == pytest.approx(2500, rel=0.01)
    assert recorded.quantiles([0.5]) == [histogram.get_value_at_percentile(50)]


def test_an_empty_histogram_has_no_figures() -> None:
    recorded = Recorded(HdrHistogram(1, HOUR_US, 3))
    assert (recorded.total, recorded.mean(), recorded.quantiles([0.5])) == (0, 0.0, [0])
