"""The outbound half of the reference server: a queue, attempts, retries, reports.

Each accepted `Outbound` is carried by a task of its own: one attempt at once, then one every
`relay_retry` seconds for the recipients that were put off, until nobody is left or `relay_attempts` are
used up. The queue is in memory, and with `config.spool` on disk too, before anything is acknowledged.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from smtpbench.errors import SessionError
from smtpbench.server.config import ServerConfig
from smtpbench.server.outbound import Courier, Encrypt, Farewell, Outbound, Steps
from smtpbench.server.reports import Action, Original, Outcome, is_due, is_returnable, report
from smtpbench.server.spool import Spool
from smtpbench.server.store import RELAYED, Copy, Store
from smtpbench.server.trace import return_path
from smtpbench.session import Session
from smtpbench.target import Endpoint, Timeouts, Tls


class Relay:
    """Carries messages to the hops of `config.relays`; what it has to report goes to `store`, or on."""

    def __init__(self, config: ServerConfig, store: Store, courier: type[Courier] = Courier) -> None:
        self.config = config
        self.store = store
        self.courier = courier
        self.tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.spool = None if config.spool is None else self.open_spool(config.spool)

    def open_spool(self, folder: Path) -> Spool:
        """Where messages are kept until they are settled."""
        return Spool(folder)

    def resume(self) -> None:
        """Go on with what a process before this one has accepted."""
        for name, message in self.spool.load() if self.spool else ():
            self._begin(message, name)

    def accept(self, message: Outbound) -> bool:
        """Take responsibility for `message`. May be called from any thread; blocks if there is a spool."""
        try:
            name = self.spool.keep(message) if self.spool else ""
        except OSError:
            return False
        self._loop.call_soon_threadsafe(self._begin, message, name)
        return True

    def _begin(self, message: Outbound, name: str) -> None:
        task = self._loop.create_task(self._settle(message, name))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _settle(self, message: Outbound, name: str) -> None:
        await self.carry(message)
        if self.spool:
            self.spool.forget(name)

    async def stop(self) -> None:
        """End all attempts. What is in memory alone is given up."""
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    # the life of a message

    async def carry(self, message: Outbound) -> None:
        """Attempt after attempt, until it is settled for every recipient."""
        for attempt in range(1, self.config.relay_attempts + 1):
            courier = await self.attempt(message)
            await self.tell(message, self.owed(courier))
            message = message.only(self.left(courier))
            if not message.recipients:
                return
            if attempt < self.config.relay_attempts:
                await self.pause()
        await self.tell(message, [self.given_up(message, address) for address in message.recipients])

    async def pause(self) -> None:
        """The time from one attempt to the next (§4.5.4.1)."""
        await asyncio.sleep(self.config.relay_retry)

    def left(self, courier: Courier) -> frozenset[bytes]:
        """Who is to be tried again."""
        return frozenset(courier.message.recipients) - courier.outcomes.keys()

    def given_up(self, message: Outbound, address: bytes) -> Outcome:
        """The outcome for a recipient whom no attempt has reached (RFC 3463 §3.5: delivery time expired)."""
        given = message.parameters_of(address)
        return Outcome(address, Action.FAILED, "4.4.7", given.get("NOTIFY"), given.get("ORCPT"))

    async def attempt(self, message: Outbound) -> Courier:
        """One session with the hop; a connection that fails leaves everything to be tried again."""
        courier = self.courier(message, name=self.config.name)
        hop = self.config.relay_of(message.recipients[0].rpartition(b"@")[2].decode("utf-8"))
        assert hop is not None
        host, port = hop
        tls = Tls(
            ca=self.config.relay_ca,
            verify=self.verifies(message),
            server_name=self.config.relay_name if self.verifies(message) else None,
        )
        timeouts = Timeouts(connect=30.0, reply=self.config.relay_timeout)
        try:
            session = await Session.open(Endpoint(host=host, port=port), tls=tls, timeouts=timeouts)
            try:
                await self._converse(session, courier.conversation())
            finally:
                await session.close()
        except (SessionError, OSError) as error:  # a reset in the middle of a close is an OSError
            for address in self.left(courier):
                courier.deferred[address] = str(error)
        return courier

    def verifies(self, message: Outbound) -> bool:
        """RFC 8689 §4.2.1: whether the hop's certificate must be one that we can check."""
        return message.requires_tls

    @staticmethod
    async def _converse(session: Session, steps: Steps) -> None:
        reply = None
        try:
            step = next(steps)
            while True:
                if isinstance(step, Encrypt):
                    await session.begin_tls()
                    step = steps.send(None)
                    continue
                if step:
                    await session.send(step)
                if isinstance(step, Farewell):
                    return
                reply = await session.read_reply()
                step = steps.send(reply)
        except StopIteration:
            return

    # who is told

    def owed(self, courier: Courier) -> list[Outcome]:
        """The outcomes that the sender is to hear of from us (RFC 3461 §5.2.1, §5.2.2).

        A hop that offers DSN has the parameters, so that its own reports say what became of what it took.
        """
        return [
            outcome
            for outcome in courier.outcomes.values()
            if is_due(outcome.notify, outcome.action)
            and not (outcome.action is Action.RELAYED and "DSN" in courier.extensions)
        ]

    async def tell(self, message: Outbound, outcomes: Sequence[Outcome]) -> None:
        """Report `outcomes` to the reverse-path of `message`, from the null reverse-path."""
        if not outcomes or not is_returnable(message.sender):
            return
        now = datetime.now(UTC)
        ident = secrets.token_hex(12)
        content = report(self.original(message), outcomes, mta=self.config.name, now=now, ident=ident)
        await self.send_report(message, content, now)

    def original(self, message: Outbound) -> Original:
        """What the report is about; RFC 8689 §5: a REQUIRETLS message comes back with its header only."""
        ret = "HDRS" if "REQUIRETLS" in message.mail else message.mail.get("RET")
        return Original(message.sender, message.content, message.arrival, message.mail.get("ENVID"), ret)

    def report_sender(self, message: Outbound) -> bytes:
        """RFC 3461 §6.1: the null reverse-path."""
        return b""

    async def send_report(self, message: Outbound, content: bytes, now: datetime) -> None:
        """Into a mailbox of ours, to a hop, or, where neither is known, among what was sent elsewhere."""
        sender, address = self.report_sender(message), message.sender
        local, _, domain = address.rpartition(b"@")
        where = domain.decode("utf-8", "replace").lower()
        if self.config.relay_of(where) is not None:
            mail = {"REQUIRETLS": None} if "REQUIRETLS" in message.mail else {}
            self.accept(Outbound(RELAYED, sender, (address,), content, mail, ({"NOTIFY": "NEVER"},), now))
            return
        name = local.decode("utf-8", "replace").lower().partition("+")[0]
        here = where in self.config.domains and name in self.config.mailboxes
        head = return_path(sender) if here else b""
        copy = Copy(name if here else RELAYED, sender, (address,), head + content)
        if self.store.blocking:
            await asyncio.to_thread(self.store.deliver, [copy])
        else:
            self.store.deliver([copy])
