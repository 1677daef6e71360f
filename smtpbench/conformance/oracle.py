"""What a receiver can be in after a reply: the state table (RFC 5321 §4.1.4) read from the client's side.

A client sees replies, not states, and the RFC leaves a receiver some choices (MAIL before EHLO, a second
MAIL, DATA without a recipient). So the oracle keeps every state that explains what was seen. A reply that
no state explains is a disagreement: the receiver lost track of its session, or let through what cannot be
processed. What else may be wrong with a reply is the question of other cases.
"""

from __future__ import annotations

from enum import Enum

from smtpbench.wire.state import State, Verb, next_state

OUT_OF_ORDER = 503
_TRANSACTION = frozenset({Verb.MAIL, Verb.RCPT, Verb.DATA})
States = frozenset[State]


class Step(Enum):
    """What a dialogue is made of: a verb (None: an unknown one), and whether its line is well formed."""

    verb: Verb | None
    well_formed: bool

    def __init__(self, verb: Verb | None, well_formed: bool) -> None:
        self.verb = verb
        self.well_formed = well_formed

    HELLO = (Verb.EHLO, True)
    HELO = (Verb.HELO, True)
    MAIL = (Verb.MAIL, True)
    RCPT = (Verb.RCPT, True)
    DATA = (Verb.DATA, True)
    RSET = (Verb.RSET, True)
    NOOP = (Verb.NOOP, True)
    VRFY = (Verb.VRFY, True)
    UNKNOWN = (None, True)
    BAD_MAIL = (Verb.MAIL, False)
    BAD_RCPT = (Verb.RCPT, False)


def states_after(states: States, step: Step, code: int) -> States:
    """The states that can hold after `step` was answered with `code`; none if no state explains it.

    The code of DATA is the one after the content where that was asked for with 354.
    """
    return frozenset(after for before in states for after in _after(before, step, code))


def _after(state: State, step: Step, code: int) -> set[State]:
    if step.verb is None:
        return {state}
    legal = next_state(state, step.verb)
    if code >= 400:
        return _refused(state, step, legal, code)
    if legal is not None:
        # A lenient server may have taken a malformed line for the command or for nothing at all.
        return {State.READY if step is Step.DATA else legal} | (set() if step.well_formed else {state})
    return _accepted_out_of_order(state, step)


def _refused(state: State, step: Step, legal: State | None, code: int) -> set[State]:
    in_order = legal is not None and step.well_formed and step.verb in _TRANSACTION
    if in_order and code == OUT_OF_ORDER:
        return set()  # §4.1.4: in this state the command is not out of order
    if step is Step.DATA:
        return (
            {state, State.READY} if state is State.RCPT else {state}
        )  # the whole transaction may be refused
    return {state}  # §4.1.4: the same state as before


def _accepted_out_of_order(state: State, step: Step) -> set[State]:
    match step.verb:
        case Verb.MAIL:  # no EHLO, or a transaction is open: the new one may take the place of the old
            return {state, State.MAIL} if state is not State.START else {State.MAIL}
        case Verb.DATA:  # §3.3: the server MAY refuse it; nothing is open afterwards
            return {State.START if state is State.START else State.READY}
        case Verb.RCPT if not step.well_formed:
            return {state}
        case _:  # RCPT: there is nothing it could belong to (§4.1.4)
            return set()
