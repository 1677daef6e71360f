"""The oracle: which states explain a reply, and which replies none explains."""

from __future__ import annotations

import pytest

from smtpbench.conformance.oracle import Step, states_after
from smtpbench.wire.state import State

START, READY, MAIL, RCPT = State.START, State.READY, State.MAIL, State.RCPT


def after(state: State, step: Step, code: int) -> set[State]:
    return set(states_after(frozenset({state}), step, code))


@pytest.mark.parametrize(
    ("before", "step", "code", "expected"),
    [
        (START, Step.HELLO, 250, {READY}),
        (READY, Step.MAIL, 250, {MAIL}),
        (MAIL, Step.RCPT, 251, {RCPT}),
        (RCPT, Step.RCPT, 250, {RCPT}),
        (RCPT, Step.DATA, 250, {READY}),
        (RCPT, Step.RSET, 250, {READY}),
        (START, Step.RSET, 250, {START}),
        (RCPT, Step.HELLO, 250, {READY}),
        (MAIL, Step.NOOP, 250, {MAIL}),
        (MAIL, Step.UNKNOWN, 500, {MAIL}),
    ],
)
def test_legal_commands_move_as_the_table_says(
    before: State, step: Step, code: int, expected: set[State]
) -> None:
    assert after(before, step, code) == expected


@pytest.mark.parametrize("before", [START, READY])
def test_a_recipient_of_no_transaction_is_explained_by_nothing(before: State) -> None:
    assert after(before, Step.RCPT, 250) == set()
    assert after(before, Step.RCPT, 503) == {before}


@pytest.mark.parametrize(("before", "step"), [(READY, Step.MAIL), (MAIL, Step.RCPT), (RCPT, Step.DATA)])
def test_503_for_a_command_in_order_is_explained_by_nothing(before: State, step: Step) -> None:
    assert after(before, step, 503) == set()


@pytest.mark.parametrize("code", [450, 452, 550, 554])
def test_other_refusals_say_nothing_of_the_order(code: int) -> None:
    assert after(READY, Step.MAIL, code) == {READY}
    assert after(MAIL, Step.RCPT, code) == {MAIL}
    assert after(RCPT, Step.DATA, code) == {RCPT, READY}, "the whole transaction may be refused"


def test_what_the_rfc_leaves_open_is_followed() -> None:
    assert after(START, Step.MAIL, 250) == {MAIL}, "MAIL without EHLO"
    assert after(RCPT, Step.MAIL, 250) == {RCPT, MAIL}, "a second MAIL"
    assert after(RCPT, Step.MAIL, 503) == {RCPT}
    assert after(MAIL, Step.DATA, 554) == {MAIL}, "354, and a refusal at the end"
    assert after(READY, Step.DATA, 250) == {READY}
    assert after(READY, Step.BAD_MAIL, 250) == {MAIL, READY}, "a malformed MAIL that was taken"
    assert after(READY, Step.BAD_RCPT, 250) == {READY}


def test_a_reply_sorts_out_the_states_that_do_not_explain_it() -> None:
    both = states_after(frozenset({READY}), Step.BAD_MAIL, 250)
    assert states_after(both, Step.RCPT, 250) == {RCPT}
    assert states_after(both, Step.RCPT, 503) == {READY}
