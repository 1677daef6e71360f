from __future__ import annotations

import pytest

from smtpbench import __version__
from smtpbench.errors import Inconclusive, UsageError
from smtpbench.load.collect import Collector
from smtpbench.load.distribution import complete, introduced_name, introduction, refusal, refused_by
from smtpbench.load.recorder import Batch, Recorder
from smtpbench.load.result import LoadResult
from smtpbench.load.roster import Roster


def batch(*, offered: int, accepted: int, seconds: float = 1.0) -> Batch:
    recorder = Recorder()
    recorder.counters |= {"offered": offered, "accepted": accepted}
    made = recorder.take_batch()
    made.span_ns = int(seconds * 1e9)
    return made


def test_parts_are_dealt_in_order_and_a_new_run_deals_anew() -> None:
    roster = Roster()
    roster.refuse("old", "refused", "another version")
    roster.deal(["a", "b"])
    roster.join("c")
    assert {worker_id: worker.part for worker_id, worker in roster.items()} == {
        "old": None, "a": 0, "b": 1, "c": 2,
    }  # fmt: skip
    assert (roster.parts, roster.working) == (3, ["a", "b", "c"])
    roster.deal(["c"])
    assert (roster.parts, roster["c"].part, roster["a"].part) == (1, 0, None)
    assert roster["old"].state == "refused"


def test_a_worker_is_lost_once_and_may_come_back() -> None:
    roster = Roster()
    roster.deal(["a"])
    assert roster.lose("a", "silent")
    assert not roster.lose("a", "silent")
    assert roster.working == []
    assert roster.heard("a")
    assert not roster.heard("a")
    assert (roster["a"].state, roster["a"].reason) == ("working", "")
    roster.ended("a", early=False)
    assert not roster.lose("a", "gone after the run")
    assert roster["a"].state == "finished"


def test_two_workers_of_one_name_are_told_apart() -> None:
    roster = Roster()
    roster.introduce("id-111111", "box:7")
    roster.introduce("id-222222", "box:7")
    roster.introduce("id-222222", "box:7")
    assert [worker.name for _, worker in roster.items()] == ["box:7", "box:7 (222222)"]


@pytest.mark.parametrize("said", [None, "x", {}, {"smtpbench": "0.0.1"}, {"smtpbench": 7}])
def test_only_the_same_version_gets_work(said: object) -> None:
    reason = refusal(said)
    assert reason is not None
    assert __version__ in reason
    assert "\n" not in reason
    assert introduced_name(said, "id") == "id"


def test_our_own_introduction_is_enough() -> None:
    assert refusal(introduction()) is None
    assert introduced_name(introduction(), "id") != "id"
    assert len(introduced_name({"name": "x" * 10_000}, "id")) == 100


def test_what_a_refused_worker_ends_with() -> None:
    late = refused_by("h", 1, {"state": "late", "reason": "it came late"})
    old = refused_by("h", 1, {"state": "refused", "reason": "it runs smtpbench 0"})
    assert isinstance(late, Inconclusive)
    assert isinstance(old, UsageError)
    assert str(late) == "no work from the master at h:1 for this worker: it came late"


def completed(roster: Roster, collector: Collector, *, is_open: bool) -> LoadResult:
    result = collector.result()
    result.invalid_reasons = []
    complete(result, roster, collector, is_open=is_open)
    return result


def three_of_which_one_is_lost() -> tuple[Roster, Collector]:
    roster, collector = Roster(), Collector()
    for name in "abc":
        roster.introduce(name, f"box:{name}")
    roster.deal("abc")
    for _ in range(4):
        for name in "ac":
            collector.add(name, batch(offered=100, accepted=90))
    collector.add("b", batch(offered=100, accepted=80))
    roster.lose("b", "it went away without a word")
    for name in "ac":
        roster.ended(name, early=False)
    return roster, collector


def test_the_missing_share_of_an_open_load_is_stated() -> None:
    result = completed(*three_of_which_one_is_lost(), is_open=True)
    assert [(one.name, one.state, one.offered, one.accepted) for one in result.generator.workers] == [
        ("box:a", "finished", 400, 360), ("box:b", "lost", 100, 80), ("box:c", "finished", 400, 360),
    ]  # fmt: skip
    assert result.generator.workers[1].not_offered == 300
    assert result.invalid_reasons == [
        "worker box:b was lost after 1.0 s (it went away without a word): "
        "300 arrivals were not offered, 25.0% of the plan"
    ]
    assert not result.valid


def test_the_missing_share_of_users_is_stated() -> None:
    result = completed(*three_of_which_one_is_lost(), is_open=False)
    assert "its share, 1 of 3, of the users is missing from then on" in result.invalid_reasons[0]
    assert result.generator.workers[1].not_offered == 0


def test_a_worker_that_did_no_work_is_a_warning_and_no_more() -> None:
    roster, collector = Roster(), Collector()
    roster.deal(["a"])
    collector.add("a", batch(offered=1, accepted=1))
    roster.ended("a", early=False)
    roster.refuse("b", "late", "it came late")
    result = completed(roster, collector, is_open=True)
    assert result.valid
    assert result.notes == ["worker b did no work: it came late"]


def test_a_worker_that_reported_nothing_makes_the_run_invalid() -> None:
    roster, collector = Roster(), Collector()
    roster.deal(["a", "b"])
    collector.add("a", batch(offered=1, accepted=1))
    assert completed(roster, collector, is_open=True).invalid_reasons == ["worker b reported nothing"]


def test_a_run_of_one_process_has_no_workers() -> None:
    roster, collector = Roster(), Collector()
    roster.deal(["local"])
    collector.add("local", batch(offered=1, accepted=1))
    assert completed(roster, collector, is_open=True).generator.workers == []


def test_the_audit_names_the_processes_as_the_workers_are_named() -> None:
    result = completed(*three_of_which_one_is_lost(), is_open=True)
    assert [use.name for use in result.generator.processes] == ["box:a", "box:c", "box:b"]
