"""Segments: where a dialogue is cut, and what counts as a difference."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from smtpbench.conformance import Answer, Ending, Peer
from smtpbench.conformance.bench import Bench
from smtpbench.conformance.conversation import Surroundings, TryAgain
from smtpbench.conformance.model import Catalogue
from smtpbench.conformance.observation import Observation, Outcome, Untested
from smtpbench.conformance.reference import reference
from smtpbench.conformance.segments import MAX_OCTETS_ALONE, TAG, Step, by_segments, cuts, edges
from smtpbench.conformance.survey import survey
from smtpbench.lab.workspace import Workspace
from tests.conformance.conftest import some_case


@pytest.mark.parametrize(
    ("octets", "offsets"),
    [
        (b"NOOP", []),
        (b"NOOP\r\n", [4, 5]),
        (b"a\r\nb\r\n", [1, 2, 3, 4, 5]),
        (b"a\r\n..b\r\n.\r\n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (b"\r\nx", [1, 2]),
        ("xéx".encode(), [1, 2, 3]),
    ],
)
def test_edges(octets: bytes, offsets: list[int]) -> None:
    assert edges(octets) == offsets


def test_cuts_of_lines_come_together_and_of_groups_alone() -> None:
    steps = [Step(b"NOOP\r\n"), Step(b"A\r\nB\r\n", 2), Step(b"QUIT\r\n", 0)]
    found = {cut.name: cut.at for cut in cuts(steps, {0: [2]})}
    assert found["every line cut before CR"] == {0: {4}, 2: {4}}
    assert found["every line cut between CR and LF"] == {0: {5}, 2: {5}}
    assert found["cut at NO | OP\\r\\n"] == {0: {2}}
    assert found["cut at A\\r | \\nB\\r\\n"] == {1: {2}}
    assert found["octet by octet"][1] == {1, 2, 3, 4, 5}
    assert len(found) == 9  # octets, two sides of CRLF, one more, five in the group


def test_of_a_long_step_only_the_end_goes_octet_by_octet() -> None:
    (cut, *_) = cuts([Step(b"x" * 2 * MAX_OCTETS_ALONE)])
    assert cut.at[0] == set(range(MAX_OCTETS_ALONE, 2 * MAX_OCTETS_ALONE))


async def observe(
    place: Workspace, catalogue: Catalogue, *faults: str, observed: bool = True, recipient: str = ""
) -> Observation:
    """A transaction by segments against the reference server with `faults`; the second attempt."""
    async with reference(place, *faults) as (target, observer):
        facts = await survey(target, observable=observed)
        bench = Bench(catalogue, facts, observer if observed else None)
        peer = Peer(bench._surroundings(some_case, None, last=True))

        def dialogue(tag: bytes) -> Sequence[Step]:
            message = peer.marked_body(b"..x\r\n", tag) + b".\r\n"
            lines = [
                b"MAIL FROM:<%s>" % peer.sender.encode(),
                b"RCPT TO:<%s>" % (recipient or peer.recipient).encode(),
            ]
            steps = [Step(line + b"\r\n") for line in (*lines, b"DATA")]
            return [*steps, Step(message), Step(b"QUIT\r\n", 0)]

        try:
            return await by_segments(peer, dialogue)
        finally:
            await peer.close()


async def test_a_server_that_reads_a_stream(place: Workspace, catalogue: Catalogue) -> None:
    seen = await observe(place, catalogue)
    assert seen.outcome is Outcome.CONFORMS
    assert "250 250 354 250 221, closed" in seen.observed


async def test_replies_that_depend_on_the_cut(place: Workspace, catalogue: Catalogue) -> None:
    seen = await observe(place, catalogue, "each-read-is-a-line")
    assert seen.outcome is Outcome.VIOLATES
    assert "every line cut before CR: 250 500, open" in seen.observed


async def test_content_that_depends_on_the_cut(place: Workspace, catalogue: Catalogue) -> None:
    seen = await observe(place, catalogue, "segment-begins-a-line")
    assert seen.outcome is Outcome.VIOLATES
    assert "delivered …" in seen.observed
    assert TAG.decode() not in seen.observed.partition("in place of")[0][-30:]
    unobserved = await observe(place, catalogue, "segment-begins-a-line", observed=False)
    assert unobserved.outcome is Outcome.CONFORMS


async def test_a_dialogue_that_is_refused_whole_is_untested(place: Workspace, catalogue: Catalogue) -> None:
    with pytest.raises(Untested, match="refused when it is sent whole"):
        await observe(place, catalogue, recipient="nobody@example.com")


async def test_a_silence_makes_the_case_run_again(place: Workspace, catalogue: Catalogue) -> None:
    async with reference(place, "end-of-data-in-one-segment") as (target, observer):
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        around: Surroundings = bench._surroundings(some_case, None, last=False)
        peer = Peer(around)
        with pytest.raises(TryAgain):
            await by_segments(peer, lambda _: [Step(b"NOOP\r\n", 2), Step(b"QUIT\r\n", 0)])
        await peer.close()


async def test_a_dialogue_that_broke_off_is_not_missed_among_the_messages(
    place: Workspace, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Peer.read
    asked: list[int] = []

    async def fall_silent_once(self: Peer, count: int = 1, *, timeout: float | None = None) -> Answer:
        """As it is, but that one reply to a MAIL of a cut dialogue does not come."""
        asked.append(count)
        answer = await read(self, count, timeout=timeout)
        return Answer(b"", (), Ending.SILENT, 0.5) if len(asked) == 7 else answer

    monkeypatch.setattr(Peer, "read", fall_silent_once)
    seen = await observe(place, catalogue)
    assert len(asked) > 5
    assert seen.outcome is Outcome.CONFORMS
