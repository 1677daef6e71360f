"""Parameters of MAIL and RCPT together: every pair of values, in any order and case, with a wrong one, twice.

What a value does alone is for other cases, so each is asked alone first: a legal one that is refused and an
illegal one that is accepted are left out here. Of a combination that disagrees, parameters are taken away
one by one as long as it still does; what remains is told, with its exact line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from allpairspy import AllPairs

from smtpbench.conformance.answer import Answer
from smtpbench.conformance.expectations import put_off
from smtpbench.conformance.observation import Observation, Outcome, Untested
from smtpbench.conformance.peer import Peer

MAX_REFUSALS = 4  # in one session; some servers slow down or leave after more
# … and lines: Exim leaves after ten commands that bring no message (RSET is one), and what OpenSMTPD makes
# of a NOTIFY depends on those before it in the transaction, which is another case's question.
MAX_LINES = {"MAIL": 6, "RCPT": 1}
OUT_OF_ORDER = 503
SHOWN = 3  # disagreements told


class Parameter(NamedTuple):
    """A keyword, and its value if it has one."""

    keyword: str
    value: str | None = None

    def __str__(self) -> str:
        return self.keyword if self.value is None else f"{self.keyword}={self.value}"


Line = tuple[Parameter, ...]


@dataclass(frozen=True)
class Kind:
    """A parameter: the extension that brings it, values that its grammar has, and some that it has not.

    `bound`: a MUST stands behind it, so that a disagreement about it alone is a violation.
    """

    keyword: str
    extension: str
    legal: tuple[str | None, ...]
    illegal: tuple[str | None, ...]
    bound: bool = True


MAIL = (
    Kind("SIZE", "SIZE", ("1000", "0"), ("1k", "-1")),  # RFC 1870 §4, §6
    Kind("BODY", "8BITMIME", ("7BIT", "8BITMIME"), ("9BIT", None), bound=False),  # RFC 6152 §2
    Kind("BODY", "BINARYMIME", ("BINARYMIME",), (), bound=False),  # RFC 3030 §3
    Kind("SMTPUTF8", "SMTPUTF8", (None,), ("1",), bound=False),  # RFC 6531 §3.4
    Kind("RET", "DSN", ("FULL", "HDRS"), ("BODY",)),  # RFC 3461 §4.3
    Kind("ENVID", "DSN", ("QQ314159", "a+2Bb"), ("a+2",)),  # RFC 3461 §4.4
    Kind("AUTH", "AUTH", ("<>", "e+2Dmc2@example.com"), ()),  # RFC 4954 §5
)
RCPT = (  # RFC 3461 §4.1, §4.2
    Kind("NOTIFY", "DSN", ("NEVER", "SUCCESS", "FAILURE,DELAY"), ("SOMETIMES", "NEVER,SUCCESS")),
    Kind("ORCPT", "DSN", ("rfc822;bob@example.com", "rfc822;a+2Bb@example.com"), ("rfc822",)),
)


@dataclass
class Command:
    """MAIL or RCPT lines of `peer` with parameters, asked as many to a session as servers bear."""

    peer: Peer
    verb: str
    kinds: tuple[Kind, ...]
    asked: int = 0
    _session: Peer | None = None
    _refusals: int = 0
    _lines: int = 0
    _known: dict[Line, Answer] = field(default_factory=dict)

    def octets(self, line: Iterable[Parameter]) -> bytes:
        """The command line with these parameters, without CRLF."""
        path = f"FROM:<{self.peer.sender}>" if self.verb == "MAIL" else f"TO:<{self.peer.recipient}>"
        return " ".join([f"{self.verb} {path}", *map(str, line)]).encode()

    async def ask(self, line: Line) -> Answer:
        """The reply; each line is asked once. Raises Untested for a 4yz, and for a demand for TLS or AUTH."""
        if line not in self._known:
            self._known[line] = await self._ask(line)
        return self._known[line]

    async def accepts(self, line: Line) -> bool:
        """Whether it is answered with 2yz."""
        return (await self.ask(line)).severity == 2

    async def _ask(self, line: Line) -> Answer:
        session = await self._current()
        answer = await session.command(self.octets(line))
        if answer.code in (0, OUT_OF_ORDER):  # perhaps for what came before it: ask a session without a past
            session = await self._next_session()
            answer = await session.command(self.octets(line))
        self.asked += 1
        self._lines += 1
        if put_off.judge(answer) is Outcome.CONFORMS:
            raise Untested("a temporary refusal, or one for policy", str(answer))
        if answer.severity == 2 and self.verb == "MAIL":
            await session.command(b"RSET")
        self._refusals += answer.severity != 2
        return answer

    async def _current(self) -> Peer:
        """The session to ask in: ready for the command, and neither asked nor refused too often."""
        full = self._refusals >= MAX_REFUSALS or self._lines >= MAX_LINES[self.verb]
        return await self._next_session() if self._session is None or full else self._session

    async def _next_session(self) -> Peer:
        if self._session is not None:
            await self._session.disconnect()
        self._session, self._refusals, self._lines = self.peer.new_session(), 0, 0
        await self._session.until_allowed()
        if self.verb == "RCPT":
            await self._session.until_mail()
        return self._session

    # what there is to combine

    async def offered(self) -> list[Kind]:
        """The kinds whose extension is offered; those of one keyword are one."""
        extensions = (await self._current()).extensions
        there: dict[str, Kind] = {}
        for kind in self.kinds:
            if kind.extension in extensions:
                known = there.get(kind.keyword)
                values = (known.legal if known else ()) + kind.legal
                illegal = (known.illegal if known else ()) + kind.illegal
                there[kind.keyword] = Kind(kind.keyword, kind.extension, values, illegal, kind.bound)
        return list(there.values())

    async def values(self) -> list[list[Parameter]]:
        """The legal values of each keyword that are accepted alone. Raises Untested for fewer than two."""
        if not await self.accepts(()):
            raise Untested(f"{self.verb} without parameters is refused", str(await self.ask(())))
        alone = [[Parameter(kind.keyword, value) for value in kind.legal] for kind in await self.offered()]
        accepted = [[item for item in group if await self.accepts((item,))] for group in alone]
        groups = [group for group in accepted if group]
        if len(groups) < 2:
            raise Untested(f"fewer than two parameters of {self.verb} are offered and accepted alone")
        return groups

    async def wrong(self) -> list[Parameter]:
        """The illegal values that are refused alone."""
        items = [Parameter(kind.keyword, value) for kind in await self.offered() for value in kind.illegal]
        return [item for item in items if not await self.accepts((item,))]

    # saying it

    async def shortest(self, line: Line, disagrees: Callable[[bool], bool], keep: Line = ()) -> Line:
        """`line` without the parameters that it disagrees without too; those of `keep` stay."""
        for item in line:
            less = tuple(other for other in line if other is not item)
            if item not in keep and disagrees(await self.accepts(less)):
                line = less
        return line

    async def told(self, line: Line) -> str:
        """The line and its reply."""
        return str(await self.ask(line))

    def conclude(self, expected: str, found: Mapping[Line, str], weak: frozenset[str]) -> Observation:
        """What was seen; a disagreement between parameters of `weak` alone breaks no MUST."""
        if not found:
            return Observation(expected, f"{self.asked} lines, all as expected", Outcome.CONFORMS)
        hard = [line for line in found if not {item.keyword.upper() for item in line} <= weak]
        told = "; ".join([found[line] for line in [*hard, *(set(found) - set(hard))]][:SHOWN])
        outcome = Outcome.VIOLATES if hard else Outcome.NEAR
        return Observation(expected, f"{len(found)} of {self.asked} lines: {told}", outcome)


def pairs(groups: Sequence[Sequence[Parameter]]) -> list[Line]:
    """Few lines in which every two values of different keywords come together, and each without another.

    SMTPUTF8 with BODY=7BIT is left out: RFC 6531 §3.6 speaks of the other two bodies only.
    """
    choices: list[list[Parameter | None]] = [[*group, None] for group in groups]
    rows = AllPairs(choices, filter_func=_is_sound)
    return list(dict.fromkeys(tuple(item for item in row if item is not None) for row in rows))


def _is_sound(row: Sequence[Parameter | None]) -> bool:
    return not {Parameter("SMTPUTF8"), Parameter("BODY", "7BIT")} <= set(row)


def full(groups: Sequence[Sequence[Parameter]]) -> Line:
    """One line with a value for each keyword, the last of those it has."""
    return tuple(group[-1] for group in groups)


# Questions -------------------------------------------------------------------------------------------


def _weak(kinds: Iterable[Kind]) -> frozenset[str]:
    return frozenset(kind.keyword for kind in kinds if not kind.bound)


async def _accepted(command: Command, lines: Iterable[Line], expected: str) -> Observation:
    """All of `lines` are accepted."""
    found = {}
    for line in lines:
        if not await command.accepts(line):
            short = await command.shortest(line, lambda accepted: not accepted)
            found[short] = await command.told(short)
    return command.conclude(expected, found, _weak(command.kinds))


async def every_pair(command: Command) -> Observation:
    """Every pair of legal values is accepted."""
    lines = pairs(await command.values())
    return await _accepted(command, lines, "every pair of values accepted, as each is alone")


async def any_order(command: Command) -> Observation:
    """A line with all parameters is accepted in every order in which one comes before another."""
    whole = full(await command.values())
    if not await command.accepts(whole):
        raise Untested("all parameters together are refused", await command.told(whole))
    rotated = [(*whole[at:], *whole[:at]) for at in range(1, len(whole))]
    lines = [*rotated, whole[::-1], *((*line[::-1],) for line in rotated)]
    found = {line: await command.told(line) for line in lines if not await command.accepts(line)}
    return command.conclude("accepted in every order", found, frozenset())


async def any_case(command: Command) -> Observation:
    """A line with all parameters is accepted with keywords, and values that are words, in any case."""
    whole = full(await command.values())
    if not await command.accepts(whole):
        raise Untested("all parameters together are refused", await command.told(whole))
    words = {"7BIT", "8BITMIME", "BINARYMIME", "FULL", "HDRS", "NEVER", "SUCCESS", "FAILURE,DELAY"}
    ways: tuple[Callable[[str], str], ...] = (str.lower, str.capitalize)
    keywords = [tuple(item._replace(keyword=way(item.keyword)) for item in whole) for way in ways]
    values = [
        tuple(item._replace(value=way(item.value)) if item.value in words else item for item in whole)
        for way in ways
    ]
    return await _accepted(command, [*keywords, *values], "accepted in any case, as it is in upper case")


async def one_wrong(command: Command) -> Observation:
    """A value that is refused alone is refused with legal ones before it, behind it and around it."""
    groups = await command.values()
    found = {}
    for item in await command.wrong():
        others = full([group for group in groups if group[0].keyword != item.keyword])
        half = len(others) // 2
        for line in ((item, *others), (*others, item), (*others[:half], item, *others[half:])):
            if await command.accepts(line):
                short = await command.shortest(line, bool, keep=(item,))
                found[short] = await command.told(short)
    return command.conclude("a 5yz reply, as to the wrong value alone", found, frozenset())


async def repeated(command: Command, weak: frozenset[str]) -> Observation:
    """A parameter that is refused when it comes twice is refused when others stand between."""
    groups = await command.values()
    found = {}
    for group in groups:
        twice = (group[0], group[0])
        if await command.accepts(twice):
            continue
        between = full([other for other in groups if other is not group])
        for line in ((group[0], *between, group[0]), (*twice, *between), (*between, *twice)):
            if await command.accepts(line):
                short = await command.shortest(line, bool, keep=twice)
                found[short] = await command.told(short)
    return command.conclude("a 5yz reply, as to the parameter twice alone", found, weak)
