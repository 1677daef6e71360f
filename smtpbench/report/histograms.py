"""The latency histograms of a result file, decoded."""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from hdrh.codec import HdrCookieException, HdrHistogramSettingsException, HdrLengthException
from hdrh.histogram import HdrHistogram

from smtpbench.errors import UsageError
from smtpbench.load.result import PhaseStats


def decode(name: str, stats: PhaseStats) -> Any:
    """The histogram (µs) of a series. Raises UsageError that names it if it cannot be decoded."""
    try:
        histogram = HdrHistogram.decode(stats.hdr)
    except (binascii.Error, zlib.error, ValueError, IndexError, HdrCookieException) as error:
        raise UsageError(f"phase {name}: hdr is not a histogram: {error or type(error).__name__}") from None
    except (HdrLengthException, HdrHistogramSettingsException) as error:
        raise UsageError(f"phase {name}: hdr is a damaged histogram: {error}") from None
    return histogram


class Recorded:
    """What a histogram has recorded: its figures, as HdrHistogram has them, without its walk over all counts.

    A page asks for some thousand of them, and each walk is over 23,000 counts in Python.
    """

    def __init__(self, histogram: Any) -> None:
        counts = np.ctypeslib.as_array(histogram.counts)
        positions = np.flatnonzero(counts)
        self._counts = counts[positions].astype(np.int64)
        self._running = np.cumsum(self._counts)
        self._lowest = np.array([histogram.get_value_from_index(at) for at in positions.tolist()], np.int64)
        highest = [histogram.get_highest_equivalent_value(value) for value in self._lowest.tolist()]
        self._highest = np.array(highest, np.int64)

    @property
    def total(self) -> int:
        """How many values there are."""
        return int(self._running[-1]) if len(self._running) else 0

    def mean(self) -> float:
        """The mean, of the middles of the classes (µs); 0 without values."""
        if not self.total:
            return 0.0
        middles = self._lowest + (self._highest - self._lowest + 1) // 2
        return int((self._counts * middles).sum()) / self.total

    def quantiles(self, parts: Sequence[float]) -> list[int]:
        """The values (µs) that these parts of all, 0 to 1, do not exceed (0: the least); 0 without values."""
        if not self.total:
            return [0] * len(parts)
        ranks = np.maximum(np.floor(np.array(parts) * self.total + 0.5), 1)
        return [int(value) for value in self._highest[np.searchsorted(self._running, ranks)]]
