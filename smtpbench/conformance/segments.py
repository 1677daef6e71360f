"""One dialogue in many segmentations: where TCP cuts the octets changes neither a reply nor a message.

A dialogue is a list of steps, each one write and the replies that are awaited after it. `by_segments`
plays it whole first, then once for each cut, several sessions at a time, and compares the codes (in their
number and order) and what was delivered with what the whole one gave.

How a cut becomes a segment: asyncio switches Nagle's algorithm off (TCP_NODELAY), so a write to an idle
connection leaves at once, and after each piece we wait for `PAUSE` so that the peer can read it alone.
Whether it did cannot be known: a cut that arrives joined finds nothing, and accuses nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, takewhile

from smtpbench.conformance.answer import Ending
from smtpbench.conformance.deliveries import Message
from smtpbench.conformance.observation import Observation, Outcome, Untested
from smtpbench.conformance.peer import Peer
from smtpbench.wire.replies import escape

PAUSE = 0.001  # seconds between two pieces: ten times what loopback and a reader's wake-up take
CONCURRENT = 4  # sessions at a time: servers limit those of one client, and two cores are few
MAX_OCTETS_ALONE = 500  # the end of a step that goes octet by octet; the rest of it goes at once
CONTEXT = 10  # octets shown on each side of a cut
SHOWN = 4  # differences told; the others are of the same kind
TAG = b"X-Segments: "  # in every message of a dialogue, before the three digits that tell them apart


@dataclass(frozen=True)
class Step:
    """`octets` in one write, then `replies` are read."""

    octets: bytes
    replies: int = 1


@dataclass(frozen=True)
class Cut:
    """Offsets at which steps are cut, by the number of the step; none for a step that goes whole."""

    name: str
    at: Mapping[int, frozenset[int]]


@dataclass(frozen=True)
class Played:
    """What came back: the codes of all replies, and how the wait for more ended."""

    codes: tuple[int, ...]
    ended: str

    @property
    def put_off(self) -> bool:
        """Whether the last reply is a temporary refusal."""
        return bool(self.codes) and self.codes[-1] // 100 == 4

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.codes)) or 'no reply'}, {self.ended}"


Dialogue = Callable[[bytes], Sequence[Step]]  # from the tag's line, as a header field without CRLF
WHOLE = Cut("whole", {})
_SIDES = {"before CR": 0, "between CR and LF": 1, "behind LF": 2}


# Where to cut ----------------------------------------------------------------------------------------


def edges(octets: bytes) -> list[int]:
    """Offsets around every CRLF, behind dots that begin a line, and around octets above 127."""
    found: set[int] = set()
    for at in range(len(octets)):
        if octets.startswith(b"\r\n", at):
            found |= {at, at + 1, at + 2}
            dots = 0
            while octets.startswith(b".", at + 2 + dots):
                dots += 1
                found.add(at + 2 + dots)
        elif octets[at] > 127:
            found |= {at, at + 1}
    return sorted(found - {0, len(octets)})


def cuts(steps: Sequence[Step], more: Mapping[int, Iterable[int]] | None = None) -> list[Cut]:
    """Every cut but `WHOLE`: octet by octet, all lines at once on each side of CR and LF, each edge alone.

    A step of one line is cut together with the other ones, because it has one edge of each kind; an edge
    of a step of several lines is cut alone. `more` adds offsets to steps, by number.
    """
    lines = {number for number, step in enumerate(steps) if step.octets.count(b"\r\n") == 1}
    found = [Cut("octet by octet", {number: _all(step.octets) for number, step in enumerate(steps)})]
    for side, shift in _SIDES.items():
        at = {n: frozenset({steps[n].octets.index(b"\r\n") + shift} - {len(steps[n].octets)}) for n in lines}
        if any(at.values()):
            found.append(Cut(f"every line cut {side}", at))
    for number, step in enumerate(steps):
        offsets = set((more or {}).get(number, ())) | set(() if number in lines else edges(step.octets))
        found += [Cut(_shown(step.octets, at), {number: frozenset({at})}) for at in sorted(offsets)]
    return found


def _all(octets: bytes) -> frozenset[int]:
    return frozenset(range(max(1, len(octets) - MAX_OCTETS_ALONE), len(octets)))


def _shown(octets: bytes, at: int) -> str:
    return f"cut at {escape(octets[max(0, at - CONTEXT) : at])} | {escape(octets[at : at + CONTEXT])}"


# Playing ---------------------------------------------------------------------------------------------


async def by_segments(
    peer: Peer, dialogue: Dialogue, *, copies: int = 1, more: Mapping[int, Iterable[int]] | None = None
) -> Observation:
    """Play `dialogue` whole and in every cut; `copies` of its message are delivered each time.

    A difference counts if it shows a second time. Raises Untested if the whole dialogue is refused or its
    message does not arrive, or if a cut one is put off (4yz).
    """
    run = _Run(peer, dialogue, copies)
    await run.play_whole()
    chosen = cuts(run.steps(0), more)
    await _few_at_a_time([partial(run.play, cut) for cut in chosen])
    doubtful, run.different = run.different, []
    for cut, _ in doubtful:
        await run.play(cut)
    findings = [f"{cut.name}: {seen}" for cut, seen in run.different]
    if any(seen.put_off for _, seen in run.different):
        raise Untested("a temporary refusal", "; ".join(findings))
    findings += await run.changed()
    expected = f"whole or in any of {len(chosen)} cuts: {run.whole}, and the same message"
    if findings:
        told = f"{len(findings)} differ: {'; '.join(findings[:SHOWN])}"
        return Observation(expected, told, Outcome.VIOLATES)
    return Observation(expected, f"all {len(chosen)} cuts: {run.whole}", Outcome.CONFORMS)


class _Run:
    """The sessions of one dialogue; each has a tag of its own in its message."""

    def __init__(self, peer: Peer, dialogue: Dialogue, copies: int) -> None:
        self.whole = Played((), "")
        self.different: list[tuple[Cut, Played]] = []
        self._peer = peer
        self._dialogue = dialogue
        self._copies = copies
        self._cuts: list[Cut] = []  # by tag
        self._complete: list[int] = []  # tags of the dialogues that went as the whole one did

    def steps(self, tag: int) -> Sequence[Step]:
        """The dialogue with `tag` in its message."""
        return self._dialogue(TAG + b"%03d" % tag)

    async def play_whole(self) -> None:
        """What all others are compared with."""
        self.whole = await self._play(WHOLE)
        awaited = sum(step.replies for step in self.steps(0))
        if (
            not self._complete
            or len(self.whole.codes) < awaited
            or any(code >= 400 for code in self.whole.codes)
        ):
            raise Untested("the dialogue is refused when it is sent whole", str(self.whole))

    async def play(self, cut: Cut) -> None:
        """Play the dialogue with `cut`, and note it if its replies differ."""
        seen = await self._play(cut)
        if seen != self.whole:
            self.different.append((cut, seen))

    async def _play(self, cut: Cut) -> Played:
        """All replies to the close; after the first that differs there is nothing to go on with."""
        tag = len(self._cuts)
        self._cuts.append(cut)
        session = self._peer.new_session()
        await session.until_allowed()
        codes: list[int] = []
        for number, step in enumerate(self.steps(tag)):
            await _send(session, step.octets, sorted(cut.at.get(number, ())))
            answer = await session.read(step.replies)
            codes += [reply.code for reply in answer.replies]
            like = self.whole.codes[: len(codes)] or tuple(codes)
            if tuple(codes) != like or answer.ending is not Ending.OPEN or codes[-1:] > [399]:
                await session.disconnect()
                return Played(tuple(codes), answer.ending.value)
        rest = await session.until_closed()
        await session.disconnect()
        seen = Played((*codes, *(reply.code for reply in rest.replies)), rest.ending.value)
        if cut is WHOLE or seen == self.whole:
            self._complete.append(tag)
        return seen

    async def changed(self) -> list[str]:
        """Where the delivered messages differ from that of the whole dialogue; nothing without observer."""
        if not self._peer.observed:
            return []
        sent = self._complete  # one that broke off proves nothing, even if its cut went well the second time
        peer, wait = self._peer, self._peer.target.timeouts.delivery
        found = await peer.arrivals(peer.marker, len(sent) * self._copies, wait)
        by_tag = [_contents(found, tag) for tag in range(len(self._cuts))]
        if len(by_tag[0]) != self._copies:
            raise Untested(f"of the whole dialogue {len(by_tag[0])} messages arrived, not {self._copies}")
        return [
            f"{self._cuts[tag].name}: {_difference(by_tag[tag], by_tag[0])}"
            for tag in sent
            if by_tag[tag] != by_tag[0]
        ]


async def _send(session: Peer, octets: bytes, offsets: Sequence[int]) -> None:
    """`octets`, cut at `offsets`, each piece a write of its own and a pause before the next."""
    for begin, end in pairwise((0, *offsets, len(octets))):
        if begin:
            await asyncio.sleep(PAUSE)
        await session.send(octets[begin:end])


async def _few_at_a_time(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Await all `calls`, `CONCURRENT` at a time; then raise the first error of any."""
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(call: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await call()

    done = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    for error in done:
        if error is not None:
            raise error


def _contents(found: Iterable[Message], tag: int) -> list[bytes]:
    """The contents of the messages with `tag`, the tag blanked so that they compare."""
    mine = TAG + b"%03d" % tag
    return sorted(
        message.content.replace(mine, TAG + b"---") for message in found if message.content.count(mine)
    )


def _difference(seen: list[bytes], whole: list[bytes]) -> str:
    if len(seen) != len(whole):
        return f"{len(seen)} messages delivered, not {len(whole)}"
    one, other = next((one, other) for one, other in zip(seen, whole, strict=True) if one != other)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    at = sum(1 for _ in same)
    here = slice(max(0, at - CONTEXT), at + CONTEXT)
    return f"delivered …{escape(one[here])}… in place of …{escape(other[here])}…"
