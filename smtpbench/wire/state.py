"""Which command may come when: the receiver's state as a table (RFC 5321 §4.1.4).

A pair that is not in the table is a bad sequence of commands, 503. What the table says of a pair is the
state after the command has succeeded; a command that is refused changes nothing. The file may not know
what a command means, nor why it might be refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Verb(StrEnum):
    """The commands of RFC 5321, and those of the extensions that the receiver offers."""

    EHLO = "EHLO"
    HELO = "HELO"
    LHLO = "LHLO"  # RFC 2033
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"  # RFC 3030
    RSET = "RSET"
    NOOP = "NOOP"
    HELP = "HELP"
    VRFY = "VRFY"
    EXPN = "EXPN"
    QUIT = "QUIT"
    STARTTLS = "STARTTLS"  # RFC 3207
    AUTH = "AUTH"  # RFC 4954
    ETRN = "ETRN"  # RFC 1985
    BURL = "BURL"  # RFC 4468
    XCLIENT = "XCLIENT"  # Postfix, and those that follow it
    XFORWARD = "XFORWARD"


class Event(StrEnum):
    """What moves the state and is not a command."""

    END_OF_CONTENT = "end of content"


class State(StrEnum):
    """Where a session is."""

    START = "start"  # no EHLO, HELO or LHLO accepted yet
    READY = "ready"  # no transaction
    MAIL = "mail"  # a reverse-path, no recipient
    RCPT = "rcpt"  # at least one recipient accepted
    CONTENT = "content"  # after 354: lines are content, not commands
    CHUNKS = "chunks"  # at least one BDAT or BURL, none of them the last


_HELLO: Mapping[Verb | Event, State] = {
    Verb.EHLO: State.READY,
    Verb.HELO: State.READY,
    Verb.LHLO: State.READY,
}
_ANYWHERE = (Verb.NOOP, Verb.HELP, Verb.VRFY, Verb.EXPN, Verb.QUIT)


def _row(state: State, **changes: State) -> Mapping[Verb | Event, State]:
    """One state's row: the commands legal everywhere, then those that only this state allows."""
    row: dict[Verb | Event, State] = dict.fromkeys(_ANYWHERE, state)
    row.update(_HELLO)
    row[Verb.RSET] = State.START if state is State.START else State.READY
    row.update({Verb[name]: target for name, target in changes.items()})
    return MappingProxyType(row)


_TLS = State.START  # RFC 3207 §4.2: what was known before the handshake is forgotten
_BETWEEN = {  # RFC 1985 §5 and its kin: no transaction, and none begun
    "AUTH": State.READY,
    "ETRN": State.READY,
    "XCLIENT": State.START,
    "XFORWARD": State.READY,
}

TABLE: Mapping[State, Mapping[Verb | Event, State]] = MappingProxyType(
    {
        State.START: _row(State.START),
        State.READY: _row(State.READY, MAIL=State.MAIL, STARTTLS=_TLS, **_BETWEEN),
        State.MAIL: _row(State.MAIL, RCPT=State.RCPT, STARTTLS=_TLS),
        State.RCPT: _row(
            State.RCPT,
            RCPT=State.RCPT,
            DATA=State.CONTENT,
            BDAT=State.CHUNKS,
            BURL=State.CHUNKS,
            STARTTLS=_TLS,
        ),
        State.CONTENT: MappingProxyType({Event.END_OF_CONTENT: State.READY}),
        State.CHUNKS: MappingProxyType(
            dict(_row(State.CHUNKS, BDAT=State.CHUNKS, BURL=State.CHUNKS, STARTTLS=_TLS))
            | {Event.END_OF_CONTENT: State.READY}
        ),
    }
)


def next_state(state: State, what: Verb | Event) -> State | None:
    """The state after `what` has succeeded in `state`; None where it may not come (503)."""
    return TABLE[state].get(what)
