"""A sink that follows a script: one session, one connection, and the hop that goes down and comes up.

Every session goes the receiver's long way here. A sink without a script knows nothing of this file.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from smtpbench.server.commands import Refusal, Transaction
from smtpbench.server.config import ServerConfig
from smtpbench.server.receiver import ACCEPTED
from smtpbench.server.scripted import ACCEPT, Scripted, ScriptedReply
from smtpbench.server.server import Connection
from smtpbench.server.sink import Consumer, HoldingConnection, Sink
from smtpbench.server.sink_receiver import SinkReceiver
from smtpbench.server.sink_rules import Facts, Rules, Verdict, changes
from smtpbench.server.sink_script import Moment, SinkScript
from smtpbench.wire.parse import Command

SLOW_BUFFER = 4_096  # octets the system takes for a client that is read from slowly; it doubles this


class ScriptedSink(Sink):
    """A sink that does as `script` says."""

    def __init__(
        self, script: SinkScript, config: ServerConfig | None = None, *, consumer: Consumer | None = None
    ) -> None:
        super().__init__(config, consumer=consumer)
        self.config = replace(self.config, extensions=self.config.extensions - set(script.without))
        self.new_receiver = partial(ScriptedReceiver, sink=self)
        self._script = script
        self._began = self._rules_began = 0.0
        self.rules = Rules(script, lambda: asyncio.get_running_loop().time() - self._rules_began)
        self._outages: asyncio.Task[None] | None = None

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    async def start(self) -> None:
        """Listen; from here on time counts. Raises UsageError where the address cannot be bound."""
        self._began = self._rules_began = asyncio.get_running_loop().time()
        await super().start()
        self._outages = asyncio.create_task(self._come_and_go())

    def restart_rules(self) -> None:
        """The times of rules count from here on; those of outages do not."""
        self._rules_began = asyncio.get_running_loop().time()

    async def stop(self) -> None:
        """Stop listening."""
        if self._outages is not None:
            self._outages.cancel()
            await asyncio.wait([self._outages])
        await super().stop()

    def new_connection(self) -> Connection:
        """What serves the next client."""
        return ScriptedConnection(self)

    def note(self, what: str) -> None:
        """The script has done this."""
        self.counts.scripted[what] = self.counts.scripted.get(what, 0) + 1

    async def _come_and_go(self) -> None:
        for when, up in changes(self._script):
            await asyncio.sleep(when - self._elapsed())
            if up:
                try:
                    await self.listen(self.port)
                except Exception as error:  # noqa: BLE001 - nobody waits for this task
                    self.fail(error)
                    return
            else:
                self.note("down")
                self.refuse()


class ScriptedReceiver(Scripted, SinkReceiver):
    """A session in which rules have their say at each command."""

    def __init__(
        self, config: ServerConfig, *, sink: ScriptedSink, client: str = "127.0.0.1", tls: bool = False
    ) -> None:
        super().__init__(config, intake=sink, client=client, tls=tls)
        self._sink = sink
        self._address = client
        self.read_rate: int | None = None

    def feed(self, data: bytes) -> bytes:
        """What to send in answer to `data`: always the long way."""
        self._short = False
        return super().feed(data)

    # what the rules say

    def _decide(self, moment: Moment, *recipients: bytes, sender: bytes | None = None) -> Verdict | None:
        if sender is None:
            sender = self.transaction.sender.mailbox if self.transaction is not None else b""
        verdict = self._sink.rules.decide(moment, Facts(self._address, sender, recipients))
        if verdict is not None:
            self._sink.note(_in_words(moment, verdict))
        return verdict

    def _recipients(self) -> tuple[bytes, ...]:
        return (
            tuple(one.address for one in self.transaction.recipients) if self.transaction is not None else ()
        )

    def _follow(self, verdict: Verdict | None, usual: Callable[[], None]) -> None:
        self.answer(verdict.reply if verdict is not None else ACCEPT, usual)

    # commands

    def greeting(self) -> bytes:
        """The 220, or what the script has in its place."""
        usual = super().greeting()
        verdict = self._decide("connect")
        if verdict is not None:
            self.read_rate = verdict.rule.read_rate
        self._follow(verdict, lambda: self.output.append(usual))
        return self.take_output()

    def do_ehlo(self, command: Command) -> None:
        """EHLO and LHLO, perhaps with fewer extensions."""
        verdict = self._decide("ehlo")
        if verdict is not None:
            offered = self.config.extensions - set(verdict.rule.without)
            self.config = replace(self.config, extensions=offered)
        self._follow(verdict, partial(super().do_ehlo, command))

    def do_helo(self, command: Command) -> None:
        """HELO."""
        self._follow(self._decide("ehlo"), partial(super().do_helo, command))

    def do_mail(self, command: Command) -> None:
        """MAIL."""
        assert command.path is not None
        self._follow(self._decide("mail", sender=command.path.mailbox), partial(super().do_mail, command))

    def do_rcpt(self, command: Command) -> None:
        """RCPT."""
        assert command.path is not None
        verdict = self._decide("rcpt", self.address_of(command.path))
        self._follow(verdict, partial(super().do_rcpt, command))

    def do_data(self, command: Command) -> None:
        """DATA."""
        self._follow(self._decide("data", *self._recipients()), partial(super().do_data, command))

    def do_quit(self, command: Command) -> None:
        """QUIT."""
        self._follow(self._decide("quit"), partial(super().do_quit, command))

    # the end of the message

    def finish(self, transaction: Transaction, content: bytes) -> None:
        """One verdict on a message; in LMTP one for each recipient (RFC 2033 §4.2)."""
        if transaction.size > self.config.max_size:
            super().finish(transaction, content)
            return
        if self.lmtp:
            verdicts = [self._decide("body", address) for address in self._recipients()]
        else:
            verdicts = [self._decide("body", *self._recipients())] * len(transaction.recipients)
        delay = max(verdict.reply.delay_s if verdict is not None else 0.0 for verdict in verdicts)
        self.after(delay, partial(self._close_transaction, transaction, content, verdicts))

    def _close_transaction(
        self, transaction: Transaction, content: bytes, verdicts: Sequence[Verdict | None]
    ) -> None:
        replies = [verdict.reply if verdict is not None else ACCEPT for verdict in verdicts]
        dropped = any(not reply.code for reply in replies)
        kept = [
            recipient
            for recipient, reply, verdict in zip(transaction.recipients, replies, verdicts, strict=True)
            if (reply.positive and not dropped) or (verdict is not None and verdict.rule.taken)
        ]
        if kept:
            self.take(replace(transaction, recipients=kept), content)
        if dropped:
            self.end_transaction()
        else:
            self.conclude([_refusal(reply) for reply in replies])
        if any(reply.close for reply in replies):
            self.close()


def _refusal(reply: ScriptedReply) -> Refusal:
    return ACCEPTED if reply.positive else (reply.code, reply.enhanced, reply.text)


def _in_words(moment: Moment, verdict: Verdict) -> str:
    """What a rule did, as the counts name it."""
    rule, reply = verdict.rule, verdict.reply
    if rule.drop == "before":
        return f"{moment} dropped before the reply"
    if not reply.positive:
        return f"{moment} {reply.code}"
    if rule.drop == "after":
        return f"{moment} dropped after the reply"
    if rule.without:
        return f"{moment} without {' '.join(rule.without)}"
    return f"{moment} delayed" if rule.delays else f"{moment} read slowly"


class ScriptedConnection(HoldingConnection):
    """A connection that may be read from slowly."""

    _resting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, and its address may matter."""
        Connection.connection_made(self, transport)
        if self._read_rate():
            connected = transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)

    def data_received(self, data: bytes) -> None:
        """Octets of the client; if it is read from slowly, they count when they should have come."""
        rate = self._read_rate()
        if not rate:
            super().data_received(data)
            return
        self._resting = self._loop.call_later(len(data) / rate, self._rested, data)
        self._regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._resting is not None:
            self._resting.cancel()
        super().connection_lost(exc)

    def _read_rate(self) -> int | None:
        return self._receiver.read_rate if isinstance(self._receiver, ScriptedReceiver) else None

    def _rested(self, data: bytes) -> None:
        self._resting = None
        super().data_received(data)
        self._regulate()

    def _regulate(self) -> None:
        if self._resting is None:
            super()._regulate()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
