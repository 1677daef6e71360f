"""The latency histograms of a result file, decoded."""

from __future__ import annotations

import binascii
import zlib
from typing import Any

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
