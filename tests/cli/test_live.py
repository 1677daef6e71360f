"""What a run shows while it goes on: it fits, whatever the server says and however small the terminal is."""

from __future__ import annotations

import io
import re
from collections import deque
from typing import Any

import pytest
from rich.console import Console

from smtpbench.cli._dashboard import BARS, Past, dashboard, drain_screen
from smtpbench.cli.live import plain_line, queue_progress, watching
from smtpbench.load.collect import Collector
from smtpbench.load.recorder import Recorder
from smtpbench.load.result import PHASES
from smtpbench.load.thresholds import parse_threshold
from tests.report.conftest import HOSTILE

THRESHOLDS = [parse_threshold("body.p99 < 500ms"), parse_threshold("error_rate < 0.1%")]
SIZES = [(80, 23), (80, 12), (200, 60), (40, 10), (20, 3)]


def figures(**others: Any) -> dict[str, Any]:
    """What the control side says of a run in which everything happened."""
    recorder = Recorder()
    for name in PHASES:
        for _ in range(100):
            getattr(recorder, name)(12_345)
    for _ in range(90):
        recorder.intended(40_000)
    recorder.counters |= {"offered": 123_456, "accepted": 90, "sessions": 7}
    recorder.fail("rejected_4xx", 1_000_000, 2_000_000)
    for code in (220, 250, 354, 421, 450, 451, 452, 550, 552, 554):
        recorder.reply(code)
    batch = recorder.take_batch()
    batch.span_ns, batch.cpu_ns, batch.waiting, batch.sessions_open = 1_000_000_000, 950_000_000, 42, 5
    collector = Collector()
    collector.add("local", batch)
    return {
        **collector.progress(), "target": "mx at 127.0.0.1:2525", "ends_s": 2.0, "ends_messages": None,
        "workers": {"working": 3, "lost": 1}, **others,
    }  # fmt: skip


def drawn(shown: dict[str, Any], width: int, height: int) -> list[str]:
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, height=height, force_terminal=False, color_system=None)
    console.print(dashboard(shown, Past(deque([1, 5, 10])), THRESHOLDS, width, height))
    return buffer.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("hostile", [{}, {"target": HOSTILE * 3, "refusal": HOSTILE * 3}])
def test_it_fits(width: int, height: int, hostile: dict[str, str]) -> None:
    lines = drawn(figures(**hostile), width, height)
    assert 0 < len(lines) <= height
    assert max(map(len, lines)) <= width
    assert all(character.isprintable() for line in lines for character in line)


def test_everything_is_there_on_an_ordinary_terminal() -> None:
    text = "\n".join(drawn(figures(), 80, 30))
    for part in (
        "00:01 / 00:02", "90/s accepted", "123,456/s offered", BARS[-1], "5 open, 7 in all",
        "42 arrivals wait",
        "3 working, 1 lost", "90 accepted  1 4yz", "451 × 1", "✓ body.p99 < 500ms  measured 12.3",
        "✗ error_rate < 0.1%  measured 1.099%", "busiest loop 95% of a core", "p99.9", "intended",
    ):  # fmt: skip
        assert part in text, part
    assert all(f"\n{name} " in text for name in PHASES)
    assert "40.0 ms" in text


def test_where_not_all_phases_fit_the_whole_goes_before_its_parts() -> None:
    text = "\n".join(drawn(figures(), 80, 13))
    assert "\ntransaction" in text
    assert "\nintended" in text
    assert "\nbanner" not in text


FOLLOWED = {
    "accepted": 2_345, "arrived": 1_234, "depth": 1_111, "trouble": "",
    "delivery": {
        "end to end": {"count": 1_234, "p50_ms": 81.5, "p99_ms": 444, "max_ms": 777},
        "read imap": {"count": 1_200, "p50_ms": 122, "p99_ms": 555, "max_ms": 888},
        "read pop3": {},
    },
}  # fmt: skip


def waiting(shown: dict[str, Any], width: int, height: int) -> list[str]:
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, height=height, force_terminal=False, color_system=None)
    console.print(drain_screen(shown, Past(depths=deque([9, 5, 1])), width, height))
    return buffer.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("trouble", ["", HOSTILE * 3])
def test_a_run_whose_mail_is_followed_fits_too(width: int, height: int, trouble: str) -> None:
    followed = {**FOLLOWED, "trouble": trouble}
    for lines in (
        drawn(figures(**followed), width, height), waiting({**followed, "draining_s": 62.0}, width, height)
    ):  # fmt: skip
        assert 0 < len(lines) <= height
        assert max(map(len, lines)) <= width
        assert all(character.isprintable() for line in lines for character in line)


def test_a_queue_is_seen_while_the_load_goes_on_and_while_the_rest_is_waited_for() -> None:
    loading = "\n".join(drawn(figures(**FOLLOWED), 80, 30))
    draining = "\n".join(waiting({**FOLLOWED, "draining_s": 62.0}, 80, 30))
    for text in (loading, draining):
        assert "delivery  2,345 accepted, 1,234 delivered, 1,111 queued" in text
        assert re.search(r"end to end +1,234 +81\.5 ms .* 444 ms .* 777 ms", text)
        assert re.search(r"read imap +1,200 +122 ms .* 555 ms", text)
        assert "read pop3" not in text
    assert re.search(r"waiting for the rest +01:02", draining)
    assert BARS[-1] in draining
    assert "delivery" not in "\n".join(drawn(figures(), 80, 30))


def test_a_queue_is_a_line_a_second_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with queue_progress(quiet=False) as show:
        show({**figures(), **FOLLOWED, "arrived_last_s": 45})
        show({**FOLLOWED, "draining_s": 62.0})
        show({"t_s": 3.0, "settled": 4, "messages": 20})
    loading, draining, retries = capsys.readouterr().err.splitlines()
    for line in (loading, draining):
        assert re.search(r"2,345 accepted +1,234 arrived +1,111 queued", line)
        assert "end to end p50 81.5 ms p99 444 ms  read imap p50 122 ms p99 555 ms" in line
    assert "45/s out" in loading
    assert draining.startswith("  draining")
    assert "4 of 20 messages settled" in retries


def test_half_of_the_messages_is_half_of_the_bar() -> None:
    bar = drawn(figures(ends_s=None, ends_messages=182), 80, 30)[1]
    assert (bar.count("━"), bar.count("─")) == (40, 40)
    assert "━" not in drawn(figures(ends_s=None), 80, 30)[1]


def test_users_have_no_plan_to_be_behind_of() -> None:
    text = "\n".join(drawn(figures(waiting=None, offered_last_s=None), 80, 30))
    assert "offered" not in text
    assert "arrivals" not in text


def test_a_warm_up_says_so_and_judges_nothing() -> None:
    collector = Collector(warm_up=5.0)
    batch = Recorder().take_batch()
    batch.span_ns = 2_000_000_000
    collector.add("local", batch)
    shown = {**collector.progress(), "workers": {}}
    assert plain_line(shown) == "warming up, 3 s left      0 sessions"
    text = "\n".join(drawn(shown, 80, 23))
    assert "warming up, 3 s left" in text
    assert "✗" not in text


def test_a_line_a_second_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=False) as watcher:
        watcher.progress(figures())
        watcher.notice("worker \x1b[2J is lost")
    line, notice = capsys.readouterr().err.splitlines()
    assert line.startswith("   1.0 s      5 sessions         90 accepted       90/s")
    assert notice == "worker \\x1b[2J is lost"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=True) as watcher:
        watcher.progress(figures())
        watcher.notice("hello")
    assert capsys.readouterr() == ("", "")
