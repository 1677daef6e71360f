"""Conformance under load: `SessionWatch` looks on at sessions of a load run.

A watched message costs about four times what an ordinary one does, so an unwatched session must not pay for
it: an `Eye` puts itself between a session and its transport, and takes itself out again. As long as the cost
of all eyes stays within `BUDGET`, every session is watched from its first octet; beyond that, one
session after another for a few messages, from the middle. An eye hands on what came before it looks at it,
so what is watched is not slower by being watched.

This module knows the inside of a `Flow`: the hot path shall not carry what few sessions need.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from itertools import islice
from time import perf_counter_ns as clock
from typing import Any

from smtpbench.load.connection import Onlooker
from smtpbench.load.flow import Flow
from smtpbench.load.script import DATA, END_OF_DATA, QUIT, RSET, Transaction
from smtpbench.load.transport import SocketTransport
from smtpbench.wire.invariants import SessionWatch
from smtpbench.wire.replies import Reply, ReplyParser, escape
from smtpbench.witness import Witness, Witnessed

BUDGET = 0.01  # of the time in which the loop runs or rests, by our own clock; caches make it twice that
BURST_NS = 10_000_000  # that may be spent at once, after a while in which it was not
SET_UP_NS = 500_000  # what a session is thought to take until its first message; laid by when it begins
TRIES = 8  # sessions that are looked at for one that can be joined

_PLAIN_VERBS = (b"EHLO ", b"LHLO ", b"HELO ", b"STARTTLS", b"QUIT")
_REDACTED = b"[redacted]\r\n"
_GREETING = Reply(220, (b"",), b"220 \r\n")
_DONE = Reply(250, (b"ok",), b"250 ok\r\n")
_GO_ON = Reply(354, (b"go on",), b"354 go on\r\n")


class Watch:
    """Whom the eyes of one engine look at, and what they have seen since the last `take`.

    `share` is of sessions, each of them whole: 1 for all, 0 for none; None for as many as `BUDGET` allows.
    """

    def __init__(self, share: float | None = None) -> None:
        self._share = share
        self._part = 1.0 - share if share else 0.0  # the first session is one of the share
        self._purse = BURST_NS if share is None else 0
        self._filled = clock()
        self._eyes: set[Eye] = set()
        self._seen = _nothing()

    def meet(self, flow: Flow) -> None:
        """A session begins: watch it if it is its turn."""
        if (self._purse > 0) if self._share is None else self._share_has_come():
            self._add(Eye(flow, self, Witness(lmtp=flow._script.lmtp), prepaid_ns=SET_UP_NS))
            self._purse -= SET_UP_NS

    def is_next(self) -> bool:
        """Whether `meet` would watch a session that begins now."""
        return (self._purse > 0) if self._share is None else self._part + self._share >= 1

    def pass_by(self) -> None:
        """A session begins that cannot be watched."""
        if self._share is not None:
            self._part += self._share

    def look_around(self, flows: Collection[Flow], resting: Sequence[Flow], waited_ns: int = 0) -> None:
        """Called often: join one of `flows` if nobody is watched or much of the budget is left.

        `waited_ns` is how long the loop has waited for a core until now; there is no budget for that.
        """
        if self._share is not None:
            return
        self._fill(clock() - waited_ns)
        if not flows or not self.can_afford():
            return
        if self._eyes and self._purse < BURST_NS / 2:
            return
        begun = clock()
        for flow in (*_some(flows), *resting[-1:]):
            if flow.onlooker is None and (watch := joined(flow)) is not None:
                witness = Witness(watch)
                witness.note("joined in the middle of the session")
                self._add(Eye(flow, self, witness)).look()
                break
        self.spend(clock() - begun, 0)

    def take(self) -> dict[str, Any]:
        """What was seen since the last call: plain data, see `_nothing`."""
        seen, self._seen = self._seen, _nothing()
        return seen

    def can_afford(self) -> bool:
        """Whether there is something left of the budget."""
        return self._share is not None or self._purse > 0

    def _fill(self, ours_ns: int) -> None:
        """Put aside a part of the time that was the loop's since the last call."""
        self._purse = min(self._purse + max(int((ours_ns - self._filled) * BUDGET), 0), BURST_NS)
        self._filled = ours_ns

    def _share_has_come(self) -> bool:
        assert self._share is not None
        self._part += self._share
        self._part -= (turn := int(self._part))
        return bool(turn)

    def _add(self, eye: Eye) -> Eye:
        self._eyes.add(eye)
        self._seen["sessions"] += 1
        return eye

    # --- what eyes tell ---

    def spend(self, ns: int, prepaid_ns: int) -> None:
        """Looking on has cost so much, of which some was laid by before."""
        self._purse -= ns - prepaid_ns
        self._seen["cost_ns"] += ns

    def count(self, what: str, number: int = 1) -> None:
        """So many `messages` or `replies` were looked at."""
        self._seen[what] += number

    def report(self, witnessed: Witnessed) -> None:
        """A rule was broken: count it; of the first time keep all."""
        rule = witnessed.breach.rule.value
        found = self._seen["findings"].setdefault(
            rule,
            {
                "count": 0,
                "what": witnessed.breach.what,
                "log": [[round(entry.t_s, 6), entry.sender, escape(entry.data)] for entry in witnessed.log],
            },
        )
        found["count"] += 1

    def forget(self, eye: Eye) -> None:
        """`eye` has looked away."""
        self._eyes.discard(eye)


def _nothing() -> dict[str, Any]:
    """Nothing seen. `findings`: by rule, its `count`, and `what` and `log` of the first breach."""
    return {"sessions": 0, "messages": 0, "replies": 0, "cost_ns": 0, "findings": {}}


class Eye(Onlooker):
    """Looks on at one session, from between it and its transport."""

    def __init__(self, flow: Flow, watch: Watch, witness: Witness, *, prepaid_ns: int = 0) -> None:
        self._prepaid_ns = prepaid_ns
        self._flow, self._watch, self._witness = flow, watch, witness
        flow.onlooker = self
        self._parser = ReplyParser()
        self._transport: asyncio.Transport | None = None
        self._secret = False  # an AUTH exchange is under way
        self._message_seen = False  # one at least: what is laid by for a session is spent on its set-up
        self._written: list[tuple[bytes, bytes]] | None = None  # while the session reacts to what came

    def look(self) -> None:
        """Begin, or go on over a new transport, which is then TLS."""
        again, self._transport = self._transport is not None, self._flow.transport
        assert self._transport is not None
        self._transport.set_protocol(self)
        self._flow.write_with(self.write)
        if again:
            self._witness.tls_begun()

    def look_away(self) -> None:
        """The session goes on without us."""
        assert self._transport is not None
        self._transport.set_protocol(self._flow)
        self._flow.write_with(self._transport.write)
        self._end()

    def _end(self) -> None:
        self._watch.forget(self)
        self._flow.onlooker = None

    # --- from the transport ---

    def data_received(self, data: bytes) -> None:
        """Hand on, then look: first at what came, then at what the session wrote on that."""
        self._written = []
        try:
            self._flow.data_received(data)
        finally:
            begun, (written, self._written) = clock(), (self._written, None)
            replies = self._parser.feed(data)
            self._secret &= not replies or replies[-1].code == 334
            self._witness.received(data, replies)
            self._watch.count("replies", len(replies))
            for octets, shown in written:
                self._witness.sent(octets, shown)
            self._tell()
            self._spend(clock() - begun)
        if self._message_seen and not self._watch.can_afford() and self._flow._on is not None:
            self.look_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """The session is over; whose doing it was makes the difference."""
        ours = self._flow.broken
        self._flow.connection_lost(exc)
        (self._witness.left if ours else self._witness.closed)(self._parser.pending)
        self._tell()
        self._end()

    def eof_received(self) -> bool | None:
        """Hand on."""
        return self._flow.eof_received()

    def pause_writing(self) -> None:
        """Hand on."""
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        """Hand on."""
        self._flow.resume_writing()

    # --- from the session ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, and note it."""
        assert self._transport is not None
        self._transport.write(data)
        begun, octets = clock(), bytes(data)
        shown = self._shown(octets)
        if self._written is None:
            self._witness.sent(octets, shown)
        else:
            self._written.append((octets, shown))
        self._spend(clock() - begun)

    def _spend(self, ns: int) -> None:
        prepaid = min(ns, self._prepaid_ns)
        self._prepaid_ns -= prepaid
        self._watch.spend(ns, prepaid)

    def _tell(self) -> None:
        for witnessed in self._witness.breaches:
            self._watch.report(witnessed)
        self._witness.breaches.clear()

    def _shown(self, octets: bytes) -> bytes:
        """What a log may hold of `octets`: commands. No content, nothing of an AUTH exchange."""
        if self._flow._on is None:
            return self._shown_set_up(octets)
        message = self._flow._message
        if octets in (message.mail, message.group, DATA, RSET, QUIT, END_OF_DATA) or octets in message.rcpts:
            return octets
        self._watch.count("messages")
        self._message_seen = True
        head, tail = message.mail + b"".join(message.rcpts), b""
        if not octets.startswith(head):
            head = b""
            tail = self._flow._next_message.group if self._flow._next_due else b""
            tail = tail if octets.endswith(tail) else b""
        return b"%s[%d octets of content]\r\n%s" % (head, len(octets) - len(head) - len(tail), tail)

    def _shown_set_up(self, line: bytes) -> bytes:
        if line[:5].upper() == b"AUTH ":
            self._secret = True
            return b" ".join(line.split()[:2]) + b" " + _REDACTED
        return line if line.startswith(_PLAIN_VERBS) and not self._secret else _REDACTED


def _some(flows: Collection[Flow]) -> list[Flow]:
    """A few that are neighbours, anywhere among them, in any order: to copy thousands takes too long."""
    first = random.randrange(max(len(flows) - TRIES, 0) + 1)
    found = list(islice(flows, first, first + TRIES))
    random.shuffle(found)
    return found


def joined(flow: Flow) -> SessionWatch | None:
    """A watch that knows of a session in the middle what it would know from the start.

    That is possible where all that is not answered is known: before the reply to MAIL, to the content, or
    while nothing is under way. None otherwise. The dialogue it is told stands for the one that took place.
    """
    if isinstance(flow.transport, SocketTransport):
        flow.transport.recall()
    if flow.hello is None or flow.broken or flow._partial:
        return None
    asked = _unanswered(flow)
    if asked is None:
        return None
    watch = SessionWatch(lmtp=flow._script.lmtp)
    watch.received(_GREETING)
    watch.sent(b"LHLO us\r\n" if flow._script.lmtp else b"EHLO us\r\n")
    watch.received(flow.hello)
    if flow._on == flow._on_body:
        recipients = max(flow._accepted, 1)
        for line, reply in ((b"MAIL FROM:<>\r\n", _DONE), *[(b"RCPT TO:<a@b.test>\r\n", _DONE)] * recipients,
                            (DATA, _GO_ON)):  # fmt: skip
            watch.sent(line)
            watch.received(reply)
    watch.sent(asked)
    watch.excuse_closing()
    return watch


def _unanswered(flow: Flow) -> bytes | None:
    """What a session has asked that is not answered; None where that is not known."""
    if flow._on == flow._on_idle:
        return b""
    if flow._on == flow._on_mail:
        return _group(flow, flow._message) if flow.pipelining else flow._message.mail
    if flow._on == flow._on_body:
        return END_OF_DATA + (_group(flow, flow._next_message) if flow._next_due else b"")
    return None


def _group(flow: Flow, message: Transaction) -> bytes:
    """What stands for the group of `message`: as BDAT it has an empty chunk, which is answered alike."""
    if not flow.chunking or message.bdat_content is None:
        return message.group
    return message.mail + b"".join(message.rcpts) + (b"" if flow._script.lmtp else b"BDAT 0 LAST\r\n")
