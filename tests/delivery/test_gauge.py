"""What engines are in the middle of, read by another process."""

from __future__ import annotations

from pathlib import Path

from smtpbench.delivery.gauge import Gauge, Reading, read_gauges


def test_gauges_add_up_and_end_at_zero(tmp_path: Path) -> None:
    assert read_gauges(tmp_path) == Reading(0, 0)
    first, second = Gauge(tmp_path, b"00000001"), Gauge(tmp_path, b"00000002")
    first.change(1, 0)
    first.change(0, 1)
    second.change(1, 0)
    assert read_gauges(tmp_path) == Reading(2, 1)
    first.change(0, -1)
    assert read_gauges(tmp_path) == Reading(2, 0)
    first.close()
    second.close()
    assert read_gauges(tmp_path) == Reading(0, 0)
