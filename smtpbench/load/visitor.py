"""A session that looks at the target outside of a load: opened as the workload does, command by command."""

from __future__ import annotations

from smtpbench.errors import AuthFailed, SessionError
from smtpbench.load.manner import Manner
from smtpbench.load.script import DATA, RSET, Transaction
from smtpbench.load.setup import choose_endpoint, make_script
from smtpbench.session import Session
from smtpbench.target import Role, Target, Timeouts
from smtpbench.wire.replies import Reply

_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")  # the cheapest that TLS makes safe, first


class Turned(SessionError):
    """The target turned the session away before MAIL, with `reply` to `command` ("" is the connection)."""

    def __init__(self, command: str, reply: Reply) -> None:
        super().__init__(f"{command or 'greeting'}: {reply}")
        self.command, self.reply = command, reply


class Visitor:
    """Opens sessions in the manner of a workload: at its endpoint, with its TLS and its user."""

    def __init__(self, target: Target, manner: Manner, timeouts: Timeouts | None = None) -> None:
        self._target, self._manner = target, manner
        self._timeouts = timeouts or target.timeouts
        self._role, endpoint, self._tls = choose_endpoint(target, manner)
        self._endpoint = endpoint.model_copy(update={"tls": self._tls})
        self._script = make_script(target, manner)

    async def open(self) -> Session:
        """A session that may send mail. Raises Turned and what `Session` raises."""
        session = await self.connect()
        try:
            await self._introduce(session)
        except BaseException:
            session.abort()
            raise
        return session

    async def connect(self) -> Session:
        """A session that was greeted. Raises Turned and what `Session` raises."""
        session = await Session.open(self._endpoint, tls=self._target.tls, timeouts=self._timeouts)
        try:
            greeting = await session.greeting()
            if greeting.severity != 2:
                raise Turned("", greeting)
        except BaseException:
            session.abort()
            raise
        return session

    def next_transaction(self) -> Transaction:
        """The next message of the workload."""
        return self._script.next()

    async def deliver(self, session: Session, content: bytes | None = None) -> Reply | None:
        """Send the next message of the workload, or in its place `content`, dots stuffed and with the end of
        data; the reply, or the last one of several, if it was accepted. Raises what `Session` raises.
        """
        transaction, accepted = self.next_transaction(), 0
        if (await self.ask(session, transaction.mail)).severity == 2:
            replies = [await self.ask(session, line) for line in transaction.rcpts]
            accepted = sum(reply.severity == 2 for reply in replies)
        if not accepted or (await self.ask(session, DATA)).code != 354:
            await self.ask(session, RSET)
            return None
        await session.send(transaction.content(b"") if content is None else content)
        outcomes = [await session.read_reply() for _ in range(accepted if self._script.lmtp else 1)]
        return outcomes[-1] if all(reply.severity == 2 for reply in outcomes) else None

    async def ask(self, session: Session, line: bytes) -> Reply:
        """Send `line`, which has its CRLF, and read the reply."""
        await session.send(line)
        return await session.read_reply()

    async def _introduce(self, session: Session) -> None:
        verb = "LHLO" if self._role is Role.LMTP else "EHLO"
        await self._hello(session, verb)
        if self._tls == "starttls":
            _require("STARTTLS", await session.starttls())
            await self._hello(session, verb)
        await self._log_in(session)

    async def _hello(self, session: Session, verb: str) -> None:
        reply = await session.ehlo(self._target.client_name, verb)
        if verb == "EHLO" and reply.severity == 5:
            reply = await session.ehlo(self._target.client_name, "HELO")
        _require(verb, reply)

    async def _log_in(self, session: Session) -> None:
        login, offered = self._target.auth, session.extensions.auth_mechanisms
        if login is None or not self._manner.auth or (not offered and self._role is Role.MX):
            return
        order = _MECHANISMS if session.tls_active else tuple(reversed(_MECHANISMS))
        mechanism = next((name for name in order if name in offered), None)
        if mechanism is None:
            raise AuthFailed(f"AUTH: the server offers {' '.join(offered) or 'nothing'}")
        _require(f"AUTH {mechanism}", await session.auth(mechanism, login.username, login.password()))


def _require(command: str, reply: Reply) -> None:
    if reply.severity != 2:
        raise Turned(command, reply)
