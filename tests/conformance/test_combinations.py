"""Parameters in company: what is combined, and that of a disagreement only its cause is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product

import pytest

from smtpbench.conformance import Peer, combinations
from smtpbench.conformance.bench import Bench
from smtpbench.conformance.combinations import Command, Kind, Parameter, pairs
from smtpbench.conformance.model import Catalogue
from smtpbench.conformance.observation import Observation, Outcome, Untested
from smtpbench.conformance.reference import reference
from smtpbench.conformance.survey import survey
from smtpbench.lab.workspace import Workspace
from tests.conformance.conftest import some_case

SIZES = [Parameter("SIZE", value) for value in ("0", "1", "2")]
BODIES = [Parameter("BODY", value) for value in ("7BIT", "8BITMIME")]
UTF8 = [Parameter("SMTPUTF8")]
GROUPS = [SIZES, BODIES, UTF8, [Parameter("RET", "FULL"), Parameter("RET", "HDRS")]]
Question = Callable[[Command], Awaitable[Observation]]


def test_every_two_values_come_together() -> None:
    lines = pairs(GROUPS)
    for first, second in ((a, b) for i, a in enumerate(GROUPS) for b in GROUPS[i + 1 :]):
        for one, other in product(first, second):
            together = any({one, other} <= set(line) for line in lines)
            assert together is not ({one, other} == {UTF8[0], BODIES[0]})  # RFC 6531 speaks not of 7BIT
    assert len(lines) < 4 * 3 * 2 * 3  # all of them


def test_a_parameter_as_it_is_sent() -> None:
    assert str(Parameter("SMTPUTF8")) == "SMTPUTF8"
    assert str(Parameter("SIZE", "1")) == "SIZE=1"
    assert str(Parameter("ENVID", "")) == "ENVID="


@asynccontextmanager
async def asking(
    place: Workspace, catalogue: Catalogue, *faults: str, verb: str = "MAIL", kinds: tuple[Kind, ...] = ()
) -> AsyncIterator[Command]:
    """MAIL or RCPT of the reference server with `faults`."""
    async with reference(place, *faults) as (target, observer):
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        peer = Peer(bench._surroundings(some_case, None, last=True))
        try:
            yield Command(peer, verb, kinds or getattr(combinations, verb))
        finally:
            await peer.close()


QUESTIONS: dict[Question, str] = {
    combinations.every_pair: "ret-excludes-size",
    combinations.any_order: "parameters-in-one-order",
    combinations.any_case: "values-case-sensitive",
    combinations.one_wrong: "only-the-last-parameter-is-checked",
}


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_strict_server_agrees(
    place: Workspace, catalogue: Catalogue, verb: str, question: Question
) -> None:
    async with asking(place, catalogue, verb=verb) as command:
        seen = await question(command)
        assert seen.outcome is Outcome.CONFORMS
        assert seen.observed == f"{command.asked} lines, all as expected"
        assert command.asked > 6


@pytest.mark.parametrize(("question", "fault"), QUESTIONS.items())
async def test_a_fault_is_told(
    place: Workspace, catalogue: Catalogue, question: Question, fault: str
) -> None:
    async with asking(place, catalogue, fault) as command:
        assert (await question(command)).outcome in (Outcome.VIOLATES, Outcome.NEAR)


async def test_only_the_cause_is_told(place: Workspace, catalogue: Catalogue) -> None:
    async with asking(place, catalogue, "ret-excludes-size") as command:
        seen = await combinations.every_pair(command)
    first = seen.observed.partition(": ")[2].partition("; ")[0]
    assert first == "MAIL FROM:<sender@example.org> SIZE=1000 RET=FULL → 501 5.5.4 RET or SIZE, not both"
    async with asking(place, catalogue, "repetition-seen-in-neighbours") as command:
        twice = await combinations.repeated(command, frozenset())
    first = twice.observed.partition(": ")[2].partition("; ")[0]
    assert first.count("=") == 3  # one parameter twice, and one between


async def test_a_disagreement_without_a_must_is_near(place: Workspace, catalogue: Catalogue) -> None:
    weak = tuple(kind for kind in combinations.MAIL if not kind.bound)
    async with asking(place, catalogue, "values-case-sensitive", kinds=weak) as command:
        assert (await combinations.any_case(command)).outcome is Outcome.NEAR


async def test_what_is_refused_alone_is_left_out(place: Workspace, catalogue: Catalogue) -> None:
    async with asking(place, catalogue, "size-parameter-refused") as command:
        assert all(group[0].keyword != "SIZE" for group in await command.values())
    one = (Kind("SIZE", "SIZE", ("1",), ("x",)),)
    async with asking(place, catalogue, kinds=one) as command:
        assert await command.wrong() == [Parameter("SIZE", "x")]
        with pytest.raises(Untested, match="fewer than two parameters"):
            await combinations.every_pair(command)


async def test_a_few_lines_to_a_session(place: Workspace, catalogue: Catalogue) -> None:
    right = (Kind("SIZE", "SIZE", tuple("123456789"), ()),)
    async with asking(place, catalogue, kinds=right) as command:
        assert all([await command.accepts((Parameter("SIZE", value),)) for value in "123456789"])
        assert len(command.peer._around.witnesses) == 2  # nine lines, six to a session


async def test_a_few_refusals_to_a_session(place: Workspace, catalogue: Catalogue) -> None:
    wrong = (Kind("SIZE", "SIZE", ("1",), tuple("abcdefghij")),)
    async with asking(place, catalogue, kinds=wrong) as command:
        assert len(await command.wrong()) == 10
        assert len(command.peer._around.witnesses) == 3  # ten refusals, four to a session


@pytest.mark.parametrize("fault", ["rset-not-recognised", "rset-keeps-transaction", "rset-closes"])
async def test_a_rset_that_fails_is_not_held_against_parameters(
    place: Workspace, catalogue: Catalogue, fault: str
) -> None:
    async with asking(place, catalogue, fault) as command:
        assert (await combinations.every_pair(command)).outcome is Outcome.CONFORMS
