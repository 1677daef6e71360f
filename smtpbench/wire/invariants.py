"""What must hold in every SMTP session, whatever it is about: `SessionWatch` looks on and tells breaches.

    watch = SessionWatch()                       # lmtp=True for LMTP
    watch.sent(octets)                           # each write of the client, before it goes out
    breaches = watch.received(reply)             # each reply, as ReplyParser gives it, in order
    watch.tls_begun()                            # after each handshake, implicit TLS too
    breaches = watch.closed(unfinished, idle=s)  # the server closed; or:
    breaches = watch.left(unfinished)            # we closed

Calls come in the order in which things happened to the client. Nothing here needs a clock, a socket or a
case: conformance lays verdicts over it, and a load generator can have it look at some of its sessions.

Each reply is judged by itself always. What was asked is followed only while the client behaves: a line
with a bare LF, octets behind a DATA that is not answered yet, an odd content or an overlong line end that
(`following` turns false), and so does the first breach of the order, because all later replies would be
read against the wrong command. So a watch may miss a breach, but it needs no case to be told apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from smtpbench.wire.asking import Asked, ClientStream
from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions, parse_extensions
from smtpbench.wire.enhanced import leading_code
from smtpbench.wire.legal import CONTENT, GREETING, KNOWN_CODES, RESPONSE, fits
from smtpbench.wire.replies import Anomaly, Reply, escape

SHOWN = 600  # octets of what a breach says: a line of legal length and a little more
IDLE = 4.0  # seconds; a server that closes after a longer silence may have had a timeout of its own
MAX_REFUSALS = 3  # a client refused more often than that may be taken for an attacker (§7.8)
_HELLO = frozenset({"EHLO", "LHLO", "HELO"})


class Rule(StrEnum):
    """One property of all sessions; the name says what holds."""

    LINE_ENDS = "replies end with CRLF"
    CODE_GRAMMAR = "reply codes have three digits in range"
    FIRST_DIGIT = "first digit is two to five"
    ONE_CODE = "lines of a reply have one code"
    PRINTABLE = "reply text is printable ASCII"
    HAS_TEXT = "replies have text"
    KNOWN_CODE = "reply codes are known"
    LINE_LENGTH = "reply lines fit 512 octets"
    ONE_REPLY = "no command has a second reply"
    PROMPTED = "nothing is said unprompted"
    CODE_FITS = "reply codes fit the command"
    ENHANCED_CLASS = "enhanced class is the first digit"
    ENHANCED_REGISTERED = "enhanced codes are registered"
    CLOSE = "no close without 221, 421 or timeout"


class Breach(NamedTuple):
    """A rule that did not hold, and what was seen instead, in words safe for a terminal."""

    rule: Rule
    what: str


def _has(*anomalies: Anomaly) -> Callable[[Reply], bool]:
    return lambda reply: not reply.anomalies.isdisjoint(anomalies)


_ALONE: tuple[tuple[Rule, Callable[[Reply], bool]], ...] = (
    (Rule.LINE_ENDS, _has(Anomaly.BARE_LF, Anomaly.BARE_CR)),
    (Rule.CODE_GRAMMAR, _has(Anomaly.BAD_CODE, Anomaly.BAD_SEPARATOR)),
    (Rule.FIRST_DIGIT, lambda reply: reply.severity not in (2, 3, 4, 5)),
    (Rule.ONE_CODE, _has(Anomaly.CODE_MISMATCH)),
    (Rule.PRINTABLE, _has(Anomaly.NON_ASCII, Anomaly.CONTROL_CHARACTER)),
    (Rule.HAS_TEXT, lambda reply: reply.code != 334 and not any(line.strip() for line in reply.lines)),
    (Rule.KNOWN_CODE, lambda reply: reply.severity in (2, 3, 4, 5) and reply.code not in KNOWN_CODES),
    (Rule.LINE_LENGTH, _has(Anomaly.OVERLONG_LINE, Anomaly.UNFINISHED)),
)


def alone(reply: Reply) -> list[Breach]:
    """The breaches that a reply shows by itself."""
    return [Breach(rule, str(reply)[:SHOWN]) for rule, broken in _ALONE if broken(reply)]


class SessionWatch:
    """Looks on at one session from the client's side; the module says how it is fed."""

    def __init__(self, *, lmtp: bool = False) -> None:
        self.following = True
        self._lmtp = lmtp
        self._stream = ClientStream()
        self._due: deque[Asked] = deque([Asked(GREETING, GREETING)])
        self._left = 1  # replies that the first of `_due` still has to come
        self._before = Asked("", "nothing")  # what was answered last
        self._extensions: Extensions = NO_EXTENSIONS
        self._recipients = 0
        self._utf8 = False  # the transaction began with SMTPUTF8
        self._refusals = 0
        self._may_part = True  # no command was answered yet, or a reply that may end the session was
        self._shaking = False  # STARTTLS was accepted: what comes now belongs to a handshake

    # what happened

    def sent(self, data: bytes) -> None:
        """The client writes `data`."""
        if not self.following:
            self._utf8 |= b"SMTPUTF8" in data.upper()
            return
        pipelining = "PIPELINING" in self._extensions
        early = bool(self._due) and not pipelining
        for asked in self._stream.feed(data):
            early |= bool(self._due) and not pipelining
            self._due.append(replace(asked, proper=False) if early else asked)
            if len(self._due) == 1:
                self._begin()
        self._stream.plain &= not early
        self.following &= not self._stream.lost

    def received(self, reply: Reply) -> list[Breach]:
        """A whole reply came, or what looks like one: an alert of TLS can have a line end in it."""
        if self._shaking:
            self.following = False
            return []
        breaches = alone(reply)
        if self._is_asked_utf8(reply):
            breaches = [breach for breach in breaches if breach.rule is not Rule.PRINTABLE]
        if self.following:
            breaches += self._in_turn(reply)
        return breaches

    def excuse_closing(self) -> None:
        """The client may have been refused often before; then a close is no wonder (§7.8)."""
        self._refusals = MAX_REFUSALS + 1

    def tls_begun(self) -> None:
        """The handshake is done: the session begins anew, without a greeting (RFC 3207 §4.2)."""
        self._stream.commands_follow()
        self._shaking = False
        self._extensions, self._recipients, self._may_part = NO_EXTENSIONS, 0, True

    def left(self, unfinished: bytes = b"") -> list[Breach]:
        """The client closes; `unfinished` is what came of a reply that is not complete."""
        breaches = self._stray(unfinished)
        self.following = False
        return breaches

    def closed(self, unfinished: bytes = b"", *, idle: float = 0.0) -> list[Breach]:
        """The server closed, `idle` seconds after the last octet of either side."""
        breaches = self._stray(unfinished)
        held = self._stream.partial or self._stream.held
        excused = self._may_part or self._refusals > MAX_REFUSALS or idle > IDLE or not self._stream.plain
        if self.following and not breaches and not held and not excused:
            where = f"instead of a reply to {self._due[0].shown}" if self._due else "unasked"
            breaches.append(Breach(Rule.CLOSE, f"closed {where}, after {self._before.shown}"))
        self.following = False
        return breaches

    # following

    def _is_asked_utf8(self, reply: Reply) -> bool:
        """Whether UTF-8 in `reply` was asked for by SMTPUTF8 (RFC 6531 §3.7.4), or echoes the client's own.

        Whether the echo is right is a question about UTF-8 (§3.7.4.2), and no longer about reply grammar.
        """
        asked = self._utf8 or bool(self._due and self._due[0].utf8)
        return asked and Anomaly.CONTROL_CHARACTER not in reply.anomalies and _is_utf8(reply.raw)

    def _begin(self) -> None:
        """The first of what is due: in LMTP the end of a message has a reply for each recipient."""
        asked = self._due[0]
        self._left = self._recipients if self._lmtp and (asked.what == CONTENT or asked.last) else 1
        if self._left == 0:  # a message for nobody: RFC 2033 §4.2 and §4.3 differ on that
            self.following = False

    def _in_turn(self, reply: Reply) -> list[Breach]:
        if reply.code == 421:  # may come at any time (§3.8), and ends the session
            self.following = False
            return self._enhanced(reply, "")
        if not self._due:
            return self._unprompted(reply)
        asked = self._due[0]
        breaches = self._enhanced(reply, asked.what)
        one_code = Anomaly.CODE_MISMATCH not in reply.anomalies  # else which of them is meant?
        judged = asked.proper and one_code and reply.code in KNOWN_CODES
        if judged and not fits(asked.what, reply.code):
            breaches.append(Breach(Rule.CODE_FITS, _answer(asked, reply)))
        self._answered(asked, reply)
        return breaches

    def _answered(self, asked: Asked, reply: Reply) -> None:
        self._left -= 1
        self._refusals += reply.severity in (4, 5)
        self._conclude(asked, reply)
        if self._left and asked.last and reply.severity == 5:
            self.following = False  # one reply for a BDAT that failed, or one of several for the recipients
        if self._left:
            return
        self._before = self._due.popleft()
        self._utf8 &= not (asked.last or asked.what == CONTENT)
        self._hold(asked, reply)
        if self._due:
            self._begin()

    def _conclude(self, asked: Asked, reply: Reply) -> None:
        """What a reply changes in the session."""
        done = reply.severity == 2
        if asked.what == GREETING:
            self._may_part = True
            self.following = reply.code == 220
            return
        refused_content = asked.what == CONTENT and not done
        self._may_part = refused_content or asked.what in ("QUIT", "AUTH", RESPONSE, "STARTTLS")
        if asked.what in _HELLO and done:
            self._extensions = parse_extensions(reply) if asked.what != "HELO" else self._extensions
        if done and asked.what in _HELLO | {"MAIL", "RSET"}:
            self._recipients, self._utf8 = 0, asked.utf8
        if reply.code == 353:
            self.following = False  # PRDR: replies for recipients follow, as many as were taken
        self._recipients += done and asked.what == "RCPT"
        if asked.what == "" and reply.severity in (2, 3):
            self.following = False  # a command that we do not know has done something

    def _hold(self, asked: Asked, reply: Reply) -> None:
        """How the client may go on after a command whose reply decides that."""
        if not self._stream.held or self._due:
            return
        if reply.code == 354 and asked.what == "DATA":
            self._stream.content_follows()
        elif reply.code == 334 and asked.what in ("AUTH", RESPONSE):
            self._stream.response_follows()
        elif asked.what == "STARTTLS" and reply.code == 220:
            self._shaking = True  # and held until the handshake is done
            return
        elif reply.severity in (4, 5) or asked.what not in ("DATA", "QUIT"):
            self._stream.commands_follow()

    # breaches of the order

    def _unprompted(self, reply: Reply) -> list[Breach]:
        """A reply to nothing. After it nothing is known: it may be late, early or double."""
        self.following = False
        if self._stream.in_content:
            return [Breach(Rule.PROMPTED, f"{reply} in the middle of the content"[:SHOWN])]
        if self._stream.partial:
            return []  # inside a line or a chunk of ours: whether that is early is a case's question
        return [Breach(Rule.ONE_REPLY, f"one more reply after {self._before.shown}: {reply}"[:SHOWN])]

    def _stray(self, unfinished: bytes) -> list[Breach]:
        if not unfinished or not self.following or self._due or self._stream.partial:
            return []
        return [
            Breach(Rule.PROMPTED, f"{escape(unfinished[:SHOWN])} after the reply to {self._before.shown}")
        ]

    def _enhanced(self, reply: Reply, asked: str) -> list[Breach]:
        """RFC 2034 §4, where it is offered; 3yz have no class, and EHLO and the greeting no code."""
        offered = "ENHANCEDSTATUSCODES" in self._extensions and asked not in _HELLO
        if not offered or reply.severity not in (2, 4, 5):
            return []
        found = [code for code in map(leading_code, reply.lines) if code is not None]
        broken = []
        if any(code.klass != reply.severity for code in found):
            broken.append(Rule.ENHANCED_CLASS)
        if not all(code.is_registered for code in found):
            broken.append(Rule.ENHANCED_REGISTERED)
        return [Breach(rule, str(reply)[:SHOWN]) for rule in broken]


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _answer(asked: Asked, reply: Reply) -> str:
    return f"{asked.shown} → {reply}"[:SHOWN]
