"""Who may connect when, where so many connections at most are being set up at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from smtpbench.load.chat import available
from smtpbench.load.engine import CONNECTING_MAX
from smtpbench.load.gate import Gate
from smtpbench.load.visit import Visits
from tests.load.conftest import Running, Script, serving
from tests.load.engines import begun, ended

LIMIT_S = 30.0


def entering(gate: Gate, inside: list[str], name: str) -> Callable[[], None]:
    """How a session of this name begins."""

    def begin() -> None:
        gate.enter()
        inside.append(name)

    return begin


def full(gate: Gate, names: str) -> list[str]:
    """Who gets in of those who come one after the other; the others wait."""
    inside = list[str]()
    for name in names:
        begin = entering(gate, inside, name)
        if gate.is_open:
            begin()
        else:
            gate.wait(begin)
    return inside


def test_as_many_get_in_as_there_is_room_for_and_then_in_order() -> None:
    inside = full(gate := Gate(2), "abcd")
    assert inside == ["a", "b"]
    gate.leave()
    assert inside == ["a", "b", "c"]
    assert not gate.is_open
    gate.leave()
    gate.leave()
    assert inside == ["a", "b", "c", "d"]
    assert gate.is_open


def test_who_comes_later_does_not_pass_who_waits() -> None:
    inside = full(gate := Gate(1), "ab")
    gate.wait(entering(gate, inside, "c"))
    gate.leave()
    assert inside == ["a", "b"]
    gate.leave()
    assert inside == ["a", "b", "c"]


def test_who_waited_and_begins_nothing_takes_no_room() -> None:
    inside = full(gate := Gate(1), "a")
    gate.wait(lambda: None)
    gate.wait(entering(gate, inside, "b"))
    gate.leave()
    assert inside == ["a", "b"]


def test_connections_of_a_conductor_take_room_and_it_is_asked_to_tell_only_if_somebody_waits() -> None:
    conductor = SimpleNamespace(opening=1, awaited=True)
    gate = Gate(2)
    gate.count_in(conductor)
    assert not conductor.awaited
    inside = full(gate, "abc")
    assert inside == ["a"]
    assert conductor.awaited
    conductor.opening, conductor.awaited = 0, False
    gate.look()
    assert inside == ["a", "b"]
    assert conductor.awaited  # c
    gate.leave()
    assert inside == ["a", "b", "c"]
    assert not conductor.awaited


@pytest.mark.skipif(not available(), reason="_chat.c is not built: no C compiler")
async def test_more_users_than_the_gate_has_room_for_make_visits_as_fewer_do(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that had to wait is a visit as well, and none unfolds because another waits."""
    monkeypatch.setattr("smtpbench.load.engine.TICKS_A_BATCH", 10_000)  # no sweep
    visits, unfolded = list[bool](), list[object]()
    begin, unfold = Visits.begin, Visits.unfold
    monkeypatch.setattr(Visits, "begin", lambda *args: visits.append(begin(*args)) or visits[-1])
    monkeypatch.setattr(Visits, "unfold", lambda *args: unfolded.append(args) or unfold(*args))
    users = 2 * CONNECTING_MAX
    async with running() as (_, target):
        engine = begun(
            target, users=users, messages=10 * users, messages_per_session=1, pipelining=False, watch_share=0
        )
        result = await ended(engine, LIMIT_S)
    assert result.totals.accepted == 10 * users
    assert sum(visits) > 9 * users  # all but the first sessions, from which is known how the server begins
    assert not unfolded


@pytest.mark.usefixtures("conducts")
async def test_no_more_are_being_set_up_than_the_gate_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpbench.load.engine.CONNECTING_MAX", 3)
    opening = peak = 0

    def greet(nth: int) -> bytes:
        nonlocal opening, peak
        opening += 1
        peak = max(peak, opening)
        return b"220 test\r\n"

    def offer(nth: int) -> bytes:
        nonlocal opening
        opening -= 1
        return b"250 test\r\n"

    async with serving(Script(greeting=greet, ehlo=offer)) as (_, target):
        engine = begun(target, users=20, messages=400, messages_per_session=1, watch_share=0)
        result = await ended(engine, LIMIT_S)
    assert result.totals.accepted == 400
    assert 1 < peak <= 3


async def test_who_still_waits_when_all_is_sent_opens_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpbench.load.engine.CONNECTING_MAX", 1)
    async with serving(Script(ehlo=b"250 test\r\n")) as (_, target):
        engine = begun(target, users=50, messages=10, messages_per_session=1, watch_share=0)
        result = await ended(engine, LIMIT_S)
    assert (result.totals.accepted, result.totals.offered) == (10, 10)
    assert result.totals.sessions <= 12  # 10, and those that were let in while the last were under way
