"""The state table: complete, and as RFC 5321 §4.1.4 has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.wire.state import TABLE, Event, State, Verb, next_state

ALWAYS = [Verb.NOOP, Verb.HELP, Verb.VRFY, Verb.EXPN, Verb.QUIT]
COMMAND_STATES = [state for state in State if state is not State.CONTENT]


def test_every_state_has_a_row():
    assert set(TABLE) == set(State)


@pytest.mark.parametrize("state", COMMAND_STATES)
def test_what_may_come_at_any_time_changes_nothing(state):
    assert [next_state(state, verb) for verb in ALWAYS] == [state] * len(ALWAYS)


@pytest.mark.parametrize("state", COMMAND_STATES)
@pytest.mark.parametrize("verb", [Verb.EHLO, Verb.HELO, Verb.LHLO])
def test_a_greeting_clears_the_transaction(state, verb):
    assert next_state(state, verb) is State.READY


@pytest.mark.parametrize("state", COMMAND_STATES)
def test_reset_ends_a_transaction_and_does_not_greet(state):
    assert next_state(state, Verb.RSET) is (State.START if state is State.START else State.READY)


@pytest.mark.parametrize("verb", list(Verb))
def test_content_is_not_commands(verb):
    assert next_state(State.CONTENT, verb) is None


def walk(*steps):
    state = State.START
    for step in steps:
        assert state is not None
        state = next_state(state, step)
    return state


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.RCPT, Verb.DATA], State.CONTENT),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.DATA, Event.END_OF_CONTENT], State.READY),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.BDAT, Verb.BDAT, Event.END_OF_CONTENT], State.READY),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.NOOP, Verb.VRFY, Verb.DATA], State.CONTENT),
        ([Verb.EHLO, Verb.AUTH, Verb.MAIL], State.MAIL),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.STARTTLS], State.START),
        ([Verb.MAIL], None),
        ([Verb.RCPT], None),
        ([Verb.AUTH], None),
        ([Verb.STARTTLS], None),
        ([Verb.EHLO, Verb.RCPT], None),
        ([Verb.EHLO, Verb.DATA], None),
        ([Verb.EHLO, Verb.BDAT], None),
        ([Verb.EHLO, Verb.MAIL, Verb.MAIL], None),
        ([Verb.EHLO, Verb.MAIL, Verb.DATA], None),
        ([Verb.EHLO, Verb.MAIL, Verb.AUTH], None),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.BDAT, Verb.DATA], None),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.BDAT, Verb.RCPT], None),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.RSET, Verb.DATA], None),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.EHLO, Verb.DATA], None),
        ([Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.DATA, Event.END_OF_CONTENT, Verb.RCPT], None),
    ],
)
def test_sessions(steps, state):
    assert walk(*steps) is state


@given(st.lists(st.sampled_from([*Verb, Event.END_OF_CONTENT])))
def test_content_is_reached_only_through_mail_and_rcpt(steps):
    state, done = State.START, []
    for step in steps:
        following = next_state(state, step)
        if following is not None:
            state = following
            done.append(step)
    if state in (State.CONTENT, State.CHUNKS):
        last_mail = len(done) - 1 - done[::-1].index(Verb.MAIL)
        assert Verb.RCPT in done[last_mail:]
