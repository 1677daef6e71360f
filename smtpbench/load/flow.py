"""The hot path: transactions that run inside `data_received`.

A transaction is a chain of small methods: each takes the reply code it waits for, notes the time,
writes the next octets from strings rendered beforehand, and names its successor.

With PIPELINING (RFC 2920) the commands of a transaction go out as one group, and the message content
leads the group of the next transaction: ``content . MAIL RCPT DATA`` is one write. Every phase is timed
from the write that carried its octets to its reply, so the phases of a group overlap.

With CHUNKING (RFC 3030) a message that has a `bdat_content` goes as one ``BDAT n LAST``, which with
PIPELINING ends the group of its commands; `body` is the reply to it, and there is no phase `data`.

Without it, the transaction is given to the transport as a whole, as a chat (chat.py): its replies come all
at once, each with its own time, in the same order to the same methods, whose writes are taken as done.

A session that behaves otherwise is a subclass that overrides a step: `_send_commands`, `_send_content`,
one of the `_on_…`, `_accept` or `_count`. If what it does has to happen when a reply comes, and not a
little later, it is not `conductible`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, ClassVar, Protocol

from smtpbench.load.chat import AHEAD, AHEAD_OCTETS, PROGRESS, Series
from smtpbench.load.connection import Connection
from smtpbench.load.recorder import Recorder
from smtpbench.load.script import DATA, END_OF_DATA, RSET, Script, Transaction
from smtpbench.load.supply import NOW
from smtpbench.load.transport import SocketTransport

if TYPE_CHECKING:
    from smtpbench.load.visit import Visit

Ahead = tuple[int, Transaction, bytes]  # when it was due, the message, its content
Converse = Callable[[bytes, bytes, tuple[bytes, ...], int], None]


class Source(Protocol):
    """Where sessions get their messages from."""

    @property
    def stopped(self) -> bool:
        """Whether no message shall begin any more."""

    def take(self) -> int:
        """When the next message was due (`clock` ns), or 0 if there is none to send now."""

    def take_ahead(self, most: int) -> int:
        """Take so many messages, `most` at most, that begin later; they are due `NOW`."""

    def give_back(self, due: int) -> None:
        """Return one that was taken but never sent."""


_turns = count()  # sessions that begin together do not come to the ends of their chats together


class Flow(Connection):
    """One session, from TCP to QUIT. `run` sends messages for as long as the source has some.

    `over` is for the owner, to call when the session shall end. `left` is how many messages this
    session may still carry (negative: no limit).
    """

    __slots__ = (
        "_accepted", "_ahead", "_converse", "_due", "_failure", "_full", "_held", "_message", "_most_ahead",
        "_next_due", "_next_message", "_planned", "_position", "_prepared", "_resting", "_script", "_sent",
        "_source", "_started", "_timed_from_plan", "chunking", "left", "over", "pipelining",
    )  # fmt: skip

    conductible: ClassVar[bool] = True  # its transactions may be chats

    def __init__(
        self, script: Script, recorder: Recorder, source: Source, *, timed_from_plan: bool = False
    ) -> None:
        super().__init__(recorder)
        self._converse: Converse | None = None  # see `SocketTransport.converse`
        self._prepared: bytes | None = None  # the content of the message under way, made already
        self._ahead: list[Ahead] = []  # messages that are taken and made, and follow it in a chat
        self._most_ahead = 0  # how many of them, at most
        self._planned: Ahead | None = None  # see `plan`
        self._script = script
        self._source = source
        self._timed_from_plan = timed_from_plan
        self.over: Callable[[], None] = _nothing
        self._resting: Callable[[Flow], None] | None = None
        self.pipelining = False
        self.chunking = False
        self.left = -1  # never reaches 0: no limit
        self._sent = 0  # when what is being answered was written
        self._started = 0
        self._due = 0
        self._next_due = 0  # of the message whose commands went out behind the content, else 0
        self._failure = 0
        self._position = 0
        self._accepted = 0
        self._full = False  # the server does not read as fast as it answers
        self._held: Callable[[], None] | None = None  # what to do when it has

    # --- the session ---

    def run(self, resting: Callable[[Flow], None]) -> None:
        """Send messages from now on; `resting` is called whenever there is none to send, or no way to."""
        self._resting = resting
        self._on = self._on_idle
        self.next()

    def next(self, now: int = 0) -> None:
        """Begin the next message, at `now` (`clock` ns), if the source has one and this session may."""
        if self._planned is not None and not self.broken:
            self._begin_planned()
        elif self._full and not self.broken:
            self._on, self._held = self._on_idle, self.next
        elif self._ahead and not self.broken and (self.replayed_at or not self._source.stopped):
            due, self._message, self._prepared = self._ahead.pop(0)
            self._begin(due, now or clock())
            if self.replayed_at or not self._may_chat:
                self._write(self._message.mail)
            else:
                self._chat(self._message, self._prepared)
        elif not self.broken and self.left and not self._ahead and (due := self._source.take()):
            self.left -= 1
            next_message = self._script.next
            self._message = next_message()
            self._begin(due, now or clock())
            self._send_commands()
        else:
            self._give_back_ahead(len(self._ahead))
            self._rest()

    # --- chats ---

    def conduct(self) -> None:
        """The session is open: its transactions may be chats if the transport has any."""
        transport = self.transport
        if self.conductible and not self._script.lmtp and isinstance(transport, SocketTransport):
            self.conducted = not self.pipelining and transport.conducts()
            self._converse = transport.converse if self.conducted else None
            self._most_ahead = next(_turns) % AHEAD

    def plan(self, visit: Visit) -> None:
        """Go on with a visit: its message is taken and made, and a chat of all of the session is going on."""
        self._planned = (visit.due, visit.message, visit.content)
        self.opening = visit.opening

    def unplan(self) -> None:
        """The chat has not come to the message: give it back."""
        if self._planned is not None:
            (due, _, _), self._planned = self._planned, None
            self._source.give_back(due)

    def replay(self, replies: Sequence[int], what: int) -> bytes:
        """See `Conducted`."""
        last = super().replay(replies, what)
        if what != PROGRESS:
            self.unplan()
        return last

    def went_smoothly(self, series: Series, at: int) -> None:
        """See `Conducted`: all transactions of a chat, without their steps."""
        messages = len(series[-1]) // 8
        self._heard = at
        self._rec.take_in(series)
        self._rec.counters["accepted"] += messages
        if self._timed_from_plan:
            note = self._rec.intended
            note((at - self._due) // 1000)
        del self._ahead[: messages - 1]
        self._proceed(at)

    def curtail(self) -> None:
        """Begin no message that was taken ahead: the source gets them back."""
        transport = self.transport
        spared = transport.curtail() if isinstance(transport, SocketTransport) else None
        self._give_back_ahead(len(self._ahead) if spared is None else spared)

    def _give_back_ahead(self, count: int) -> None:
        for _ in range(count):
            due, _, _ = self._ahead.pop()
            self._source.give_back(due)

    def _chat(self, message: Transaction, content: bytes) -> None:
        """Begin a chat of `message` and those that are taken ahead; take some if there are none."""
        if not self._ahead and self._script.alike and len(content) <= AHEAD_OCTETS:
            self._take_ahead(self._most_ahead)
            self._most_ahead = AHEAD - 1
        contents = (content, *[one for _, _, one in self._ahead]) if self._ahead else (content,)
        assert self._converse is not None
        self._converse(message.mail, message.group, contents, self._sent)

    @property
    def _may_chat(self) -> bool:
        return self._converse is not None and self.onlooker is None

    def _take_ahead(self, most: int) -> None:
        """Messages that differ from the one under way in content only: a chat has one set of commands."""
        following = self._script.next
        count = self._source.take_ahead(most if self.left < 0 else min(most, self.left))
        self.left -= count
        self._ahead = [
            (NOW, message, message.content(b"")) for message in (following() for _ in range(count))
        ]

    def _begin_planned(self) -> None:
        assert self._planned is not None
        (due, self._message, self._prepared), self._planned = self._planned, None
        self.left = 0
        self._begin(due, self.replayed_at)
        self._write(self._message.mail)

    def finish(self) -> None:
        """Back to replies one by one, to say QUIT."""
        self._on = None

    @property
    def under_way(self) -> int:
        """How many messages this session has taken that have no outcome yet."""
        between = self._on in (None, self._on_idle, self._on_rset)
        return (not between) + (self._next_due != 0) + (self._planned is not None) + len(self._ahead)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a message that was under way; wake whoever waits."""
        self.broken = True
        if self._on is not None:
            self._abandon("dropped")
        super().connection_lost(exc)

    def expire(self, before: int) -> None:
        """Give up if the server has owed a reply since earlier than `before` (`clock` ns)."""
        if self.conducted:
            self.catch_up()
        owed = self._on not in (None, self._on_idle) or self._held is not None
        if not owed or max(self._sent, self._heard) > before:
            return
        self._abandon("timeouts")
        self.abort()

    def pause_writing(self) -> None:
        """Much of what was written waits: a server that answers what it has not read gets no more."""
        self._full = True

    def resume_writing(self) -> None:
        """The server has read it: go on."""
        self._full, held, self._held = False, self._held, None
        if held is not None:
            held()

    def _note(self, octets: bytes) -> None:
        """Keep the words of the first refusal; what a server says unasked refuses no message."""
        if self._on != self._on_idle:
            super()._note(octets)

    def _rest(self) -> None:
        self._on, resting = self._on_idle, self._resting
        if resting is not None:
            resting(self)

    def _begin(self, due: int, sent: int) -> None:
        self._due = due
        self._failure = self._position = self._accepted = 0
        self._started = self._sent = sent
        self._on = self._on_mail

    # --- what is sent ---

    def _send_commands(self) -> None:
        write, message, self._prepared = self._write, self._message, None
        if self.pipelining:
            write(self._group(message))
        elif not self._may_chat or (self.chunking and message.bdat_content is not None):
            write(message.mail)
        else:
            self._prepared = content = message.content(b"")
            self._chat(message, content)

    def _group(self, message: Transaction) -> bytes:
        """The commands of `message` as one write; where it goes as BDAT, all of it."""
        if not self.chunking or message.bdat_content is None:
            return message.group
        return self._bdat_group(message, message.bdat_content)

    def _bdat_group(self, message: Transaction, content: Callable[[bytes], bytes]) -> bytes:
        commands = (message.mail, *message.rcpts)
        return b"".join(commands if self._script.lmtp else (*commands, content(b"")))

    def _send_bdat(self, content: Callable[[bytes], bytes], now: int) -> None:
        """Every recipient is answered: send the message, unless it went out with the commands.

        A group of LMTP has no content: what it is answered depends on the recipients (RFC 2033 §4.3).
        """
        if self._accepted:
            self._failure = 0
        if self.pipelining and not self._script.lmtp:
            self._on = self._on_bdat
        elif self._accepted:
            self._sent = now
            self._on = self._on_bdat
            self._write(content(b""))
        else:
            self._refused(now)

    def _send_content(self) -> None:
        """The content; behind it, with PIPELINING, the commands of the next message."""
        write, content, after = self._write, self._message.content, b""
        if self._prepared is not None:
            prepared, self._prepared = self._prepared, None
            write(prepared)
            return
        if self.pipelining and self.left and (due := self._source.take()):
            self.left -= 1
            self._next_due = due
            self._next_message = self._script.next()
            after = self._group(self._next_message)
        write(content(after))

    # --- what is answered ---

    def _on_idle(self, code: int, now: int) -> None:
        """Unprompted: a server that is tired of waiting says 421 and closes (RFC 5321 §3.8)."""
        self.broken = True
        if self._resting is not None:
            self._resting(self)

    def _on_mail(self, code: int, now: int) -> None:
        note = self._rec.mail
        note((now - self._sent) // 1000)
        if code >= 300:
            self._failure = code
            if not self.pipelining:
                self._refused(now)
                return
        self._on = self._on_rcpt
        if not self.pipelining:
            self._sent, write = now, self._write
            write(self._message.rcpts[0])

    def _on_rcpt(self, code: int, now: int) -> None:
        note = self._rec.rcpt
        note((now - self._sent) // 1000)
        if code < 300:
            self._accepted += 1
        else:
            self._refuse_recipient(code)
        self._position += 1
        rcpts = self._message.rcpts
        if self._position < len(rcpts):
            if not self.pipelining:
                self._sent = now
                self._write(rcpts[self._position])
        elif self.chunking and self._message.bdat_content is not None:
            self._send_bdat(self._message.bdat_content, now)
        elif self.pipelining:
            self._on = self._on_data
        elif self._accepted:
            self._sent, write = now, self._write
            self._on = self._on_data
            write(DATA)
        else:
            self._refused(now)

    def _refuse_recipient(self, code: int) -> None:
        self._failure = self._failure or code

    def _on_data(self, code: int, now: int) -> None:
        note = self._rec.data
        note((now - self._sent) // 1000)
        if code != 354:
            self._failure = self._failure or code
            self._refused(now)
            return
        self._sent = now
        self._on = self._on_body
        if not self._accepted:  # RFC 2920 §3.1: no recipient, yet 354; only an empty message ends it
            self._write(END_OF_DATA)
            return
        self._failure = 0
        if self._full:
            self._on, self._held = self._on_nothing, self._go_on
        else:
            self._send_content()

    def _go_on(self) -> None:
        """The server has read what it had answered: the content, now."""
        self._on, self._sent = self._on_body, clock()
        self._send_content()

    def _on_nothing(self, code: int, now: int) -> None:
        """An answer to a content that was not sent yet."""
        self._failure = code if code >= 400 else 0
        self._abandon("dropped")
        self.abort()

    def _on_body(self, code: int, now: int) -> None:
        if code >= 300 and not self._failure:
            self._failure = code
        if self._script.lmtp and self._accepted > 1:
            self._accepted -= 1
            return
        note = self._rec.body
        note((now - self._sent) // 1000)
        if self._failure:
            self._refused(now)
        else:
            self._accept(now)
            self._proceed(now)

    def _on_bdat(self, code: int, now: int) -> None:
        """As `_on_body`, but a refusal leaves something to clear: only RSET may follow it (RFC 3030 §2)."""
        self._on_body(code, now)

    # --- what became of it ---

    def _accept(self, now: int) -> None:
        rec, note = self._rec, self._rec.transaction
        rec.counters["accepted"] += 1
        note((now - self._started) // 1000)
        if self._timed_from_plan:
            note = rec.intended
            note((now - self._due) // 1000)

    def _count(self, outcome: str, now: int) -> None:
        """The message under way failed as `outcome`, a counter of the recorder."""
        self._rec.fail(outcome, now - self._started, now - self._due if self._timed_from_plan else None)

    def _proceed(self, now: int) -> None:
        """The next transaction: already written behind the content, or begun now."""
        if due := self._next_due:
            self._next_due = 0
            self._message = self._next_message
            self._begin(due, self._sent)  # it went out with the content
        else:
            self.next(now)

    def _refused(self, now: int) -> None:
        """The message failed with `_failure`; clear the transaction and go on, unless the server closes."""
        self._count(self._refusal(), now)
        if self._failure == 421:
            self._give_back_next()
            self.broken = True
            self._rest()
        elif self._next_due or self._on == self._on_body or self._on == self._on_mail:
            self._proceed(now)  # nothing is left to clear: the content ended it, or MAIL never began it
        else:
            self._sent = now
            self._on = self._on_rset
            self._write(RSET)

    def _on_rset(self, code: int, now: int) -> None:
        self.next(now)

    def _abandon(self, outcome: str) -> None:
        """The connection failed: count the message under way as `outcome`, keep the one not begun."""
        self.broken, self._held = True, None
        if self._on not in (self._on_idle, self._on_rset):
            self._count(outcome if not self._failure else self._refusal(), clock())
        self._give_back_next()
        self._rest()

    def _refusal(self) -> str:
        return "rejected_4xx" if self._failure // 100 == 4 else "rejected_5xx"

    def _give_back_next(self) -> None:
        self._give_back_ahead(len(self._ahead))
        if self._next_due:
            self._source.give_back(self._next_due)
            self._next_due = 0


def _nothing() -> None:
    """Nobody owns the session yet."""
