"""Limits that servers set for a client: no fault, but a load that meets one measures the limit.

    Server(config, receiver=limited(Limits(connections=5, messages=100)))

Counts are kept for each client address, for all connections of one `limited` together.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from smtpbench.errors import UsageError
from smtpbench.server.config import ServerConfig
from smtpbench.server.dialogue import Wait
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.store import Copy
from smtpbench.wire.parse import Command

PERIOD_S = 60.0  # of the rates, as Postfix's anvil has it


@dataclass(frozen=True, slots=True)
class Limits:
    """0 is no limit. The rates are in a minute: `connection_rate`, `messages` (MAIL commands), `recipients`.

    `connections` at once; `session_messages` (MAIL commands) in a session, `message_recipients` in a
    message; `resets` (RSET commands, as Exim has it for all that is no mail) in a session. A sender that is
    new is put off for `greylist` seconds. After `tarpit` errors in a session, every reply takes another
    0.2 s longer than the one before.
    """

    connections: int = 0
    connection_rate: int = 0
    messages: int = 0
    recipients: int = 0
    session_messages: int = 0
    message_recipients: int = 0
    resets: int = 0
    greylist: int = 0
    tarpit: int = 0


TARPIT_STEP_S = 0.2
LIMIT_NAMES = tuple(field.name.replace("_", "-") for field in fields(Limits))


def parse_limits(texts: list[str]) -> Limits:
    """Limits as ``name=number``. Raises UsageError."""
    given: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in LIMIT_NAMES or not (number.isascii() and number.isdecimal()):
            raise UsageError(f"--limit {text}: expected NAME=N with one of {', '.join(LIMIT_NAMES)}")
        given[name.replace("-", "_")] = int(number)
    return Limits(**given)


class _Ledger:
    """What all connections of one server did in the present minute, by client."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._since = clock, clock()
        self.open: Counter[str] = Counter()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.first_seen: dict[tuple[str, bytes], float] = {}

    def over(self, what: str, client: str, limit: int) -> bool:
        """Count one more of `what`; whether it is beyond `limit`."""
        if self._clock() - self._since >= PERIOD_S:
            self._since = self._clock()
            self._counts.clear()
        self._counts[what, client] += 1
        return bool(limit) and self._counts[what, client] > limit

    def is_new(self, client: str, sender: bytes, seconds: float) -> bool:
        """Whether `client` first wrote as `sender` less than `seconds` ago."""
        now = self._clock()
        return now - self.first_seen.setdefault((client, sender), now) < seconds


class _Limited(Receiver):
    """The reference server with limits."""

    limits = Limits()
    ledger: _Ledger

    def __init__(self, config: ServerConfig, **session: Any) -> None:
        super().__init__(config, **session)
        self.client_address: str = session.get("client", "127.0.0.1")
        self._messages = self._errors = self._resets = 0
        self._held: bytes | None = None
        self.ledger.open[self.client_address] += 1

    def greeting(self) -> bytes:
        limits, client = self.limits, self.client_address
        if limits.connections and self.ledger.open[client] > limits.connections:
            return self._turn_away(f"Error: too many connections from {client}")
        if self.ledger.over("connections", client, limits.connection_rate):
            return self._turn_away(f"Error: connection rate limit exceeded for {client}")
        return super().greeting()

    def _turn_away(self, text: str) -> bytes:
        self.close()
        return self.format_reply(421, [f"4.7.0 {self.config.name} {text}"])

    def disconnected(self) -> tuple[Copy, ...]:
        self.ledger.open[self.client_address] -= 1
        return super().disconnected()

    def do_mail(self, command: Command) -> None:
        self._messages += 1
        if self.limits.session_messages and self._messages > self.limits.session_messages:
            self.reply(421, "4.7.0", f"{self.config.name} Too many messages in this session")
            self.close()
            return
        super().do_mail(command)

    def do_rset(self, command: Command) -> None:
        self._resets += 1
        if self.limits.resets and self._resets > self.limits.resets:
            self.reply(554, "5.7.0", "Too many nonmail commands")
            self.close()
            return
        super().do_rset(command)

    def check_sender(self, command: Command) -> Refusal | None:
        if self.ledger.over("messages", self.client_address, self.limits.messages):
            return 450, "4.7.1", f"Error: too much mail from {self.client_address}"
        return super().check_sender(command)

    def do_rcpt(self, command: Command) -> None:
        assert self.transaction is not None
        limits, client = self.limits, self.client_address
        if limits.greylist and self.ledger.is_new(client, self.transaction.sender.mailbox, limits.greylist):
            self.reply(450, "4.2.0", "Greylisted, please try again later")
        elif self.ledger.over("recipients", client, limits.recipients):
            self.reply(450, "4.7.1", f"Error: too many recipients from {client}")
        elif limits.message_recipients and len(self.transaction.recipients) >= limits.message_recipients:
            self.reply(452, "4.5.3", "Error: too many recipients")
        else:
            super().do_rcpt(command)

    # a tarpit

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        self._errors += code >= 400
        super().reply(code, enhanced, *text)

    def on_line(self, line: bytes) -> None:
        beyond = self._errors - self.limits.tarpit
        if self.limits.tarpit and beyond >= 0 and self._held is None:
            self._held, self.action = line, Wait(TARPIT_STEP_S * (beyond + 1))
        else:
            self._held = None
            super().on_line(line)

    def waited(self) -> bytes:
        self.action = None
        if self._held is not None:
            self.on_line(self._held)
        return self.run()


def limited(
    limits: Limits, base: type[Receiver] = Receiver, clock: Callable[[], float] = time.monotonic
) -> Callable[..., Receiver]:
    """What makes the receivers of a server with `limits`; `base` is what they are without."""
    bases = (_Limited,) if base is Receiver else (_Limited, base)
    return type("Limited", bases, {"limits": limits, "ledger": _Ledger(clock)})
