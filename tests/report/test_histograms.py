from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.report.histograms import Recorded

HOUR_US = 3_600_000_000
Counted = list[tuple[int, int]]


@given(st.lists(st.tuples(st.integers(1, HOUR_US), st.integers(1, 1000)), min_size=1, max_size=20))
def test_figures_are_those_of_hdrhistogram(values: Counted) -> None:
    histogram = HdrHistogram(1, HOUR_US, 3)
    for value, count in values:
        histogram.record_value(value, count)
    recorded = Recorded(histogram)
    assert recorded.total == histogram.get_total_count()
    assert recorded.mean() == pytest.approx(histogram.get_mean_value(), rel=1e-12)
    parts = [0.001, 0.25, 0.5, 0.9, 0.999, 1.0]
    assert recorded.quantiles(parts) == [histogram.get_value_at_percentile(100 * part) for part in parts]


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
