"""Cases side by side: how many, which of them alone, in which order, and what ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from smtpbench.conformance import SLOW, Case, Observation, Outcome
from smtpbench.conformance.bench import Bench, Crowded
from smtpbench.conformance.result import CaseResult
from smtpbench.conformance.schedule import Schedule, in_turns

WAIT = 5.0


async def never(_: object) -> Observation:
    return Observation("", "", Outcome.CONFORMS)


def a_case(key: str, *after: str, alone: bool = False, slow: bool = False) -> Case:
    needs = (SLOW,) if slow else ()
    return Case(key, key, never, ("T-1",), needs, (), after, 30.0, Path("x.py"), alone=alone)


@dataclass
class Record:
    """A bench that only notes who ran beside whom. `refuse`: cases turned away as often as stated."""

    notes: list[str] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    beside: dict[str, set[str]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    given_up: dict[str, str] = field(default_factory=dict)
    full: asyncio.Event = field(default_factory=asyncio.Event)  # four are under way

    async def run(self, case: Case, *, crowd: Callable[[], bool]) -> Any:
        self.running.add(case.id)
        for key in self.running:
            self.beside.setdefault(key, set()).update(self.running)
        if len(self.running) == 4:
            self.full.set()
        try:
            for _ in range(5):
                await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
            if crowd() and self.refuse.get(case.id, 0) > 0:
                self.refuse[case.id] -= 1
                raise Crowded("greeted with 421 too many")
            self.done.append(case.id)
            return case.id
        finally:
            self.running.discard(case.id)

    def give_up(self, case: Case, reason: str) -> Any:
        self.given_up[case.id] = reason
        return case.id


def schedule(record: Record, *cases: Case, **options: Any) -> Schedule:
    return Schedule(cast(Bench, record), cases, **options)


async def run(record: Record, *cases: Case, **options: Any) -> None:
    async with asyncio.timeout(WAIT):
        await schedule(record, *cases, **options).run()


CASES = [a_case(f"a{n}") for n in range(10)]


@pytest.mark.parametrize("jobs", [1, 3, 20])
async def test_as_many_at_a_time_as_wanted(jobs: int) -> None:
    record = Record()
    await run(record, *CASES, jobs=jobs)
    assert len(record.done) == len(CASES)
    assert max(len(keys) for keys in record.beside.values()) >= min(jobs, len(CASES))
    if jobs == 1:
        assert record.done == [case.id for case in CASES]
        assert all(keys == {key} for key, keys in record.beside.items())


async def test_alone_means_alone_and_slow_ones_come_last_together() -> None:
    cases = [a_case("slow1", slow=True), a_case("lone", alone=True), *CASES, a_case("slow2", slow=True)]
    record = Record()
    await run(record, *cases, jobs=2)
    assert record.beside["lone"] == {"lone"}
    assert record.beside["slow1"] == {"slow1", "slow2"}
    assert record.done[-3:] == ["lone", "slow1", "slow2"]
    assert [case.id for case in in_turns(cases)] == record.done


async def test_a_case_comes_after_those_it_names_whatever_their_turn() -> None:
    lone, slow = a_case("lone", alone=True), a_case("slow", slow=True)
    cases = [*CASES, lone, a_case("b", "lone"), slow, a_case("c", "slow"), a_case("d", "slow", alone=True)]
    record = Record()
    await run(record, *cases, jobs=20)
    place = {key: number for number, key in enumerate(record.done)}
    assert place["lone"] < place["b"]
    assert place["slow"] < place["c"]
    assert place["slow"] < place["d"]
    assert record.beside["d"] == {"d"}


async def test_results_are_handed_out_in_any_order() -> None:
    asked = schedule(Record(), *CASES, jobs=3)
    async with asyncio.timeout(WAIT):
        last = await asked.result(CASES[-1])
        first = await asked.result(CASES[0])
    assert (last, first) == cast(tuple[CaseResult, CaseResult], ("a9", "a0"))
    await asked.stop()


async def test_cases_that_are_turned_away_run_again_beside_fewer() -> None:
    record = Record(refuse=dict.fromkeys(("a1", "a2", "a3"), 1))
    await run(record, *CASES, jobs=8)
    assert sorted(record.done) == sorted(case.id for case in CASES)
    assert record.notes == ["turned away (greeted with 421 too many): from here on 4 at a time"]


async def test_a_target_that_takes_one_at_a_time_gets_one_at_a_time() -> None:
    record = Record(refuse=dict.fromkeys((case.id for case in CASES), 100))
    await run(record, *CASES, jobs=8)
    assert sorted(record.done) == sorted(case.id for case in CASES)
    assert record.notes[-1].endswith("from here on 1 at a time")
    assert len(record.notes) <= 3


async def test_when_the_time_is_over_the_rest_is_given_up() -> None:
    record = Record(hold=asyncio.Event())
    await run(record, *CASES, jobs=2, deadline=0.05)
    assert record.done == []
    assert set(record.given_up) == {case.id for case in CASES}
    assert set(record.given_up.values()) == {"the run's time was over: 0.05 s (--deadline)"}
    assert not record.running


async def test_a_run_that_is_cut_off_keeps_what_is_done() -> None:
    record = Record()
    schedule = Schedule(cast(Bench, record), CASES, jobs=2, deadline=WAIT)
    await asyncio.wait_for(schedule.result(CASES[0]), WAIT)
    record.hold = asyncio.Event()
    schedule.cut_off("ended")
    schedule.cut_off("ended again")
    await asyncio.wait_for(schedule.run(), WAIT)
    assert CASES[0].id in record.done
    assert set(record.given_up) == {case.id for case in CASES} - set(record.done)
    assert set(record.given_up.values()) == {"ended"}
    assert not record.running


async def test_stopping_early_leaves_nothing_running() -> None:
    record = Record(hold=asyncio.Event())
    before = asyncio.all_tasks()
    asked = schedule(record, *CASES, jobs=4)
    waiting = asyncio.create_task(asked.result(CASES[0]))
    async with asyncio.timeout(WAIT):
        await record.full.wait()
    await asked.stop()
    assert not record.running
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == before


async def test_an_error_of_ours_reaches_whoever_waits() -> None:
    class Broken(Record):
        async def run(self, case: Case, *, crowd: Callable[[], bool]) -> Any:
            raise ZeroDivisionError("ours")

    asked = schedule(Broken(), *CASES, jobs=2)
    for case in CASES:
        with pytest.raises(ZeroDivisionError):
            await asked.result(case)
    await asked.stop()
