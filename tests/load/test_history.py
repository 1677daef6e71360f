from __future__ import annotations

import pytest

from smtpbench.load.collect import Collector
from smtpbench.load.history import LONGEST, History
from smtpbench.load.recorder import Recorder


def second(collector: Collector, *, accepted: int, mail_us: int, refused: int = 0) -> None:
    """One more second of a run."""
    recorder = Recorder()
    for _ in range(accepted):
        recorder.mail(mail_us)
    recorder.counters |= {"offered": accepted + refused, "accepted": accepted, "rejected_5xx": refused}
    batch = recorder.take_batch()
    batch.span_ns, batch.sessions_open = 1_000_000_000, 3
    collector.add("local", batch)


def test_each_point_is_of_its_own_second() -> None:
    collector, history = Collector(), History()
    for accepted, mail_us, refused in ((10, 1000, 0), (40, 5000, 2)):
        second(collector, accepted=accepted, mail_us=mail_us, refused=refused)
        history.sample(collector, collector.progress())
        history.sample(collector, collector.progress())  # nothing has happened since
    first, last = history.points
    assert (first["t_s"], last["t_s"]) == (1.0, 2.0)
    assert first["ms"] == {"mail": [1.0, 1.0, 1.0]}
    assert last["ms"]["mail"] == pytest.approx([5.0] * 3, rel=0.001)
    assert (last["per_s"]["accepted"], last["per_s"]["offered"], last["per_s"]["rejected_5xx"]) == (40, 42, 2)
    assert last["sessions"] == 3


def test_a_phase_that_did_not_happen_in_a_second_has_no_point_there() -> None:
    collector, history = Collector(), History()
    second(collector, accepted=1, mail_us=7)
    history.sample(collector, collector.progress())
    second(collector, accepted=0, mail_us=0)
    history.sample(collector, collector.progress())
    assert [list(point["ms"]) for point in history.points] == [["mail"], []]


def test_a_new_run_begins_anew() -> None:
    history = History()
    for mail_us in (1000, 2000):
        collector = Collector()
        second(collector, accepted=1, mail_us=mail_us)
        history.sample(collector, collector.progress())
    assert history.run == 1
    assert [point["ms"]["mail"][0] for point in history.points] == [2.0]


def test_it_does_not_grow_for_ever() -> None:
    collector, history = Collector(), History()
    second(collector, accepted=1, mail_us=1)
    figures = collector.progress()
    for t_s in range(LONGEST + 10):
        history.sample(collector, {**figures, "t_s": t_s + 1.0})
    assert len(history.points) == LONGEST
    assert history.points[0]["t_s"] == 11.0
