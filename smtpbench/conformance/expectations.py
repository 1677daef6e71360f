"""Expectations: sets of outcomes that conform, which describe themselves and judge what was seen.

    expect(answer, codes(501), near=severity(5))
    expect(answer, codes(250) | near(codes(501)) | choice(closed_with_421))

An expectation is a list of alternatives, each with the outcome it stands for (CONFORMS unless wrapped
in `near`, `stricter` or `choice`). The first alternative that matches decides; none: VIOLATES.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from smtpbench.conformance.answer import Answer, Ending
from smtpbench.conformance.observation import Observation, Outcome
from smtpbench.wire.replies import Reply

S_contra = TypeVar("S_contra", contravariant=True)
S = TypeVar("S")

_WORDS = {
    Outcome.CONFORMS: "",
    Outcome.CHOICE: "open to choice: ",
    Outcome.STRICTER: "stricter, and fine: ",
    Outcome.NEAR: "tolerated: ",
    Outcome.UNTESTED: "says nothing about it: ",
}


@dataclass(frozen=True)
class Alternative(Generic[S_contra]):
    """One acceptable thing to see, in words and as a predicate."""

    outcome: Outcome
    text: str
    matches: Callable[[S_contra], bool]


@dataclass(frozen=True)
class Expectation(Generic[S_contra]):
    """Alternatives in the order in which they are tried. Join two with ``|``, demand both with ``&``."""

    alternatives: tuple[Alternative[S_contra], ...]

    def __or__(self, other: Expectation[S_contra]) -> Expectation[S_contra]:
        return Expectation(self.alternatives + other.alternatives)

    def __and__(self, other: Expectation[S_contra]) -> Expectation[S_contra]:
        return Expectation(
            tuple(
                Alternative(max(a.outcome, b.outcome), f"{a.text} and {b.text}", _both(a.matches, b.matches))
                for a in self.alternatives
                for b in other.alternatives
            )
        )

    def judge(self, seen: S_contra) -> Outcome:
        """The outcome of the first alternative that `seen` matches, else VIOLATES."""
        return next((a.outcome for a in self.alternatives if a.matches(seen)), Outcome.VIOLATES)

    def graded(self, outcome: Outcome) -> Expectation[S_contra]:
        """The same alternatives, all standing for `outcome`."""
        return Expectation(tuple(Alternative(outcome, a.text, a.matches) for a in self.alternatives))

    def __str__(self) -> str:
        groups = []
        for outcome, lead in _WORDS.items():
            texts = dict.fromkeys(a.text for a in self.alternatives if a.outcome is outcome)
            if texts:
                groups.append(lead + " or ".join(texts))
        return "; ".join(groups)


def _both(first: Callable[[Any], bool], second: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda seen: first(seen) and second(seen)


def that(text: str, matches: Callable[[S], bool]) -> Expectation[S]:
    """An expectation of your own: `text` completes "expected …", `matches` looks at what was seen."""
    return Expectation((Alternative(Outcome.CONFORMS, text, matches),))


def near(expectation: Expectation[S]) -> Expectation[S]:
    """Not what the text says, but the right class, or tolerated in the field: non-strict."""
    return expectation.graded(Outcome.NEAR)


def stricter(expectation: Expectation[S]) -> Expectation[S]:
    """Stricter than the RFC on purpose: hardened."""
    return expectation.graded(Outcome.STRICTER)


def choice(expectation: Expectation[S]) -> Expectation[S]:
    """The RFC leaves this open: info, with the branch that was taken."""
    return expectation.graded(Outcome.CHOICE)


def untested(expectation: Expectation[S]) -> Expectation[S]:
    """An answer to another question, such as a temporary refusal: untested."""
    return expectation.graded(Outcome.UNTESTED)


_near, _stricter, _choice, _untested = near, stricter, choice, untested


def expect(
    seen: S,
    conforms: Expectation[S],
    *,
    near: Expectation[S] | None = None,
    stricter: Expectation[S] | None = None,
    choice: Expectation[S] | None = None,
    untested: Expectation[S] | None = None,
) -> Observation:
    """Judge `seen`: `conforms` first, then `untested`, `stricter`, `choice`, `near`; else it violates."""
    whole = conforms
    extras = ((untested, _untested), (stricter, _stricter), (choice, _choice), (near, _near))
    for extra, wrap in extras:
        if extra is not None:
            whole = whole | wrap(extra)
    outcome = whole.judge(seen)
    reason = f"the answer says nothing about it: {seen}" if outcome is Outcome.UNTESTED else None
    return Observation(str(whole), str(seen), outcome, reason)


# One reply ----------------------------------------------------------------------------------------


def codes(*expected: int) -> Expectation[Answer]:
    """The (first) reply has one of these codes."""
    return that(" or ".join(map(str, expected)), lambda answer: answer.code in expected)


def severity(*digits: int) -> Expectation[Answer]:
    """The (first) reply's code begins with one of these digits."""
    return that(" or ".join(f"{digit}yz" for digit in digits), lambda answer: answer.severity in digits)


def not_codes(*unwanted: int) -> Expectation[Answer]:
    """There is a reply, and its code is none of these."""
    text = f"any reply but {' or '.join(map(str, unwanted))}"
    return that(text, lambda answer: answer.code != 0 and answer.code not in unwanted)


def not_severity(*digits: int) -> Expectation[Answer]:
    """There is a reply, and its code begins with none of these digits."""
    text = f"any reply but {' or '.join(f'{digit}yz' for digit in digits)}"
    return that(text, lambda answer: answer.code != 0 and answer.severity not in digits)


def text_matches(pattern: bytes, what: str) -> Expectation[Answer]:
    """The first line of the reply's text matches `pattern` from its start; `what` says it in words."""
    compiled = re.compile(pattern)
    return that(what, lambda answer: bool(answer.lines) and compiled.match(answer.lines[0]) is not None)


def reply_that(what: str, matches: Callable[[Reply], bool]) -> Expectation[Answer]:
    """There is a reply and `matches` holds for it; `what` says it in words."""
    return that(what, lambda answer: answer.reply is not None and matches(answer.reply))


put_off: Expectation[Answer] = that(
    "a temporary refusal, or a demand for TLS or AUTH",
    lambda answer: answer.severity == 4 or answer.code in (530, 538),
)
not_understood: Expectation[Answer] = codes(500, 501, 502, 504, 555)  # for the syntax, not the wish
any_reply: Expectation[Answer] = that("a reply", lambda answer: bool(answer.replies))
silence: Expectation[Answer] = that(
    "no reply", lambda answer: not answer.replies and answer.ending is not Ending.CLOSED
)
closed: Expectation[Answer] = that("the connection closed", lambda answer: answer.closed)
closed_with_421: Expectation[Answer] = that(
    "421 and the connection closed, with nothing delivered",
    lambda answer: (
        answer.closed and bool(answer.replies) and answer.replies[-1].code == 421 and not answer.arrived
    ),
)
closed_with_refusal: Expectation[Answer] = that(
    "a 4yz or 5yz reply and the connection closed, with nothing delivered",
    lambda answer: (
        answer.closed
        and bool(answer.replies)
        and answer.replies[-1].severity in (4, 5)
        and not answer.arrived
    ),
)


# Several replies ----------------------------------------------------------------------------------


def single(expectation: Expectation[Answer]) -> Expectation[Answer]:
    """Exactly one reply, and `expectation` holds for it. For answers of `Peer.probe`."""
    one: Expectation[Answer] = that("exactly one reply", lambda answer: len(answer.replies) == 1)
    return one & expectation


def sequence(*expectations: Expectation[Answer]) -> Expectation[Answer]:
    """Exactly as many replies as expectations, each conforming to its own, in order."""
    text = ", then ".join(str(expectation) for expectation in expectations)

    def matches(answer: Answer) -> bool:
        return len(answer.replies) == len(expectations) and all(
            expectation.judge(Answer(b"", (reply,))) is Outcome.CONFORMS
            for expectation, reply in zip(expectations, answer.replies, strict=True)
        )

    return that(text, matches)
