"""A message on its way to another host, and the client's half of the one session that takes it there.

`Courier` is sans-IO: `conversation` yields what to send and is sent each reply, the greeting first. It
knows of one attempt; what is to be tried again, and who is told, is the relay's business.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from datetime import datetime

from smtpbench.server.reports import Action, Outcome
from smtpbench.server.store import Copy
from smtpbench.server.trace import header_of
from smtpbench.wire import commands
from smtpbench.wire.commands import CRLF
from smtpbench.wire.content import dot_stuff
from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions, parse_extensions
from smtpbench.wire.parse import Parameters
from smtpbench.wire.replies import Reply


@dataclass(frozen=True, slots=True)
class Outbound(Copy):
    """A copy for other hosts; `mail` and `rcpt` are the parameters it came with, `rcpt` by recipient."""

    mail: Parameters
    rcpt: tuple[Parameters, ...]
    arrival: datetime

    def only(self, addresses: frozenset[bytes]) -> Outbound:
        """The same message for those of its recipients that are in `addresses`."""
        kept = [item for item in zip(self.recipients, self.rcpt, strict=True) if item[0] in addresses]
        return replace(self, recipients=tuple(item[0] for item in kept), rcpt=tuple(item[1] for item in kept))

    def parameters_of(self, address: bytes) -> Parameters:
        """The RCPT parameters of one recipient."""
        return self.rcpt[self.recipients.index(address)]

    @property
    def requires_tls(self) -> bool:
        """RFC 8689: sent on in protected sessions only, unless it is a report itself (§4.2.1)."""
        return "REQUIRETLS" in self.mail and bool(self.sender)

    @property
    def is_binary(self) -> bool:
        """RFC 3030 §3: what cannot go through DATA."""
        return (self.mail.get("BODY") or "").upper() == "BINARYMIME"

    @property
    def needs_utf8(self) -> bool:
        """RFC 6531 §3.4: an address or a header field that only SMTPUTF8 can carry."""
        addresses = (self.sender, *self.recipients)
        return not all(item.isascii() for item in (*addresses, header_of(self.content)))


class Farewell(bytes):
    """Octets to whose reply nobody listens."""


class Encrypt:
    """A step that is no octets: begin TLS now."""


Steps = Generator[bytes | Encrypt, Reply | None, None]
Asking = Generator[bytes | Encrypt, Reply | None, Reply]


class Courier:
    """One attempt to hand `message` to a hop that greets us. `name` is what we call ourselves.

    Afterwards `outcomes` has what is settled (relayed or failed), by address; whoever is missing there is
    to be tried again, and `deferred` may say why.
    """

    def __init__(self, message: Outbound, *, name: str) -> None:
        self.message = message
        self.name = name
        self.extensions: Extensions = NO_EXTENSIONS
        self.tls_active = False
        self.hop = ""
        self.outcomes: dict[bytes, Outcome] = {}
        self.deferred: dict[bytes, str] = {}

    # the session

    def conversation(self) -> Steps:
        """All steps of the session."""
        greeting = yield from self.greet()
        if greeting.severity != 2:
            self.settle(greeting, self.message.recipients)
        elif (yield from self.introduce()):
            yield from self.encrypt()
            objection = self.objection()
            if objection:
                self.fail(*objection)
            else:
                yield from self.transaction()
        yield from self.quit()

    def greet(self) -> Asking:
        """Wait for the greeting (§4.3.1)."""
        return (yield from self.ask(b""))

    def ask(self, octets: bytes) -> Asking:
        """Send `octets`, get one reply."""
        reply = yield octets
        assert reply is not None
        return reply

    def introduce(self) -> Generator[bytes | Encrypt, Reply | None, bool]:
        """EHLO, or HELO to a hop that does not know EHLO (§3.2); whether one was accepted."""
        reply = yield from self.ask(b"EHLO " + self.name.encode() + CRLF)
        self.extensions = parse_extensions(reply)
        if self.falls_back(reply):
            reply = yield from self.ask(b"HELO " + self.name.encode() + CRLF)
        if reply.severity != 2:
            self.settle(reply, self.message.recipients)
            return False
        self.hop = (reply.lines[0].split() or [b""])[0].decode("ascii", "replace")
        return True

    def falls_back(self, refusal: Reply) -> bool:
        """Whether HELO is worth a try after this reply to EHLO."""
        return refusal.severity == 5

    def encrypt(self) -> Steps:
        """RFC 3207: TLS wherever it is offered."""
        if "STARTTLS" not in self.extensions:
            return
        if (yield from self.ask(b"STARTTLS" + CRLF)).code != 220:
            return
        yield Encrypt()
        self.tls_active = True
        yield from self.start_again()

    def start_again(self) -> Steps:
        """RFC 3207 §4.2: EHLO first, and nothing holds that was said before."""
        yield from self.introduce()

    def quit(self) -> Steps:
        """§4.1.1.10: no close without QUIT and its reply."""
        yield b"QUIT" + CRLF

    def objection(self) -> tuple[str, str] | None:
        """Why this hop cannot have the message, if so: RFC 3463 code and text."""
        message, offered = self.message, self.extensions
        if message.requires_tls and not self.tls_active:
            return "5.7.10", "Encryption needed"
        if message.requires_tls and "REQUIRETLS" not in offered:
            return "5.7.30", "REQUIRETLS support required"
        if message.needs_utf8 and "SMTPUTF8" not in offered:
            return "5.6.7", "The message needs SMTPUTF8, and the next host does not offer it"
        if message.is_binary and not {"BINARYMIME", "CHUNKING"} <= offered.keys():
            return "5.6.3", "The message needs BINARYMIME, and the next host does not offer it"
        if not message.content.isascii() and not message.is_binary and "8BITMIME" not in offered:
            return "5.6.3", "The message needs 8BITMIME, and the next host does not offer it"
        return None

    # the transaction

    def transaction(self) -> Steps:
        """MAIL, all RCPT, then the content for whom the hop accepts."""
        reply = yield from self.ask(self.mail_line() + CRLF)
        if reply.severity != 2:
            self.settle(reply, self.message.recipients)
            return
        accepted = []
        for address in self.message.recipients:
            reply = yield from self.ask(self.rcpt_line(address) + CRLF)
            if reply.severity == 2:
                accepted.append(address)
            else:
                self.settle(reply, (address,), transient=reply.code == 552)  # §4.5.3.1.10
        if accepted:
            yield from self.content(tuple(accepted))

    def content(self, accepted: tuple[bytes, ...]) -> Steps:
        """DATA, or one chunk for what DATA cannot carry; then it is known for all of `accepted`."""
        if self.message.is_binary:
            chunk = commands.bdat(len(self.message.content), last=True) + CRLF + self.message.content
            self.settle((yield from self.ask(chunk)), accepted)
            return
        reply = yield from self.ask(b"DATA" + CRLF)
        if reply.code == 354:
            reply = yield from self.ask(self.encoded())
        self.settle(reply, accepted)

    def encoded(self) -> bytes:
        """The content with its dots stuffed and the end of data (§4.5.2)."""
        return dot_stuff(self.message.content)

    def mail_line(self) -> bytes:
        """MAIL with the parameters that mean something to this hop."""
        words = self.mail_parameters()
        return commands.mail(self.message.sender.decode("utf-8"), words)

    def mail_parameters(self) -> dict[str, str | None]:
        """SIZE, BODY, SMTPUTF8 as the message needs them; the rest as it came, where it is offered."""
        words: dict[str, str | None] = {}
        if "SIZE" in self.extensions:
            words["SIZE"] = str(len(self.message.content))
        if self.message.is_binary:
            words["BODY"] = "BINARYMIME"
        elif "8BITMIME" in self.extensions and not self.message.content.isascii():
            words["BODY"] = "8BITMIME"
        if self.message.needs_utf8:
            words["SMTPUTF8"] = None
        if "REQUIRETLS" in self.message.mail and "REQUIRETLS" in self.extensions and self.tls_active:
            words["REQUIRETLS"] = None
        return words | self.dsn_parameters(self.message.mail, "RET", "ENVID")

    def rcpt_line(self, address: bytes) -> bytes:
        """RCPT with the recipient's parameters."""
        parameters = self.dsn_parameters(self.message.parameters_of(address), "NOTIFY", "ORCPT")
        return commands.rcpt(address.decode("utf-8"), parameters)

    def dsn_parameters(self, given: Parameters, *names: str) -> dict[str, str | None]:
        """RFC 3461 §5.2.1: as they came, to a hop that offers DSN; §5.2.2: to no other."""
        if "DSN" not in self.extensions:
            return {}
        return {name: given[name] for name in names if name in given}

    # what became of it

    def settle(self, reply: Reply, addresses: tuple[bytes, ...], *, transient: bool = False) -> None:
        """`reply` decides for `addresses`: 2yz relayed, 5yz failed, anything else is tried again."""
        text = "\n".join(line.decode("ascii", "replace") for line in reply.lines)
        diagnostic = f"{reply.code} {text}"
        action = self.action(reply, transient)
        for address in addresses:
            if action is None:
                self.deferred[address] = diagnostic
                continue
            status = str(reply.enhanced) if reply.enhanced else f"{reply.severity}.0.0"
            self.outcomes[address] = self._outcome(address, action, status, diagnostic)

    def action(self, reply: Reply, transient: bool) -> Action | None:
        """What a reply means for its recipients; None: to be tried again."""
        if reply.severity not in (2, 5) or transient:
            return None
        return Action.RELAYED if reply.severity == 2 else Action.FAILED

    def fail(self, status: str, text: str) -> None:
        """Nobody can have it here, and trying again would not help."""
        for address in self.message.recipients:
            self.outcomes[address] = self._outcome(address, Action.FAILED, status, f"554 {status} {text}")

    def _outcome(self, address: bytes, action: Action, status: str, diagnostic: str | None) -> Outcome:
        given = self.message.parameters_of(address)
        return Outcome(
            address, action, status, given.get("NOTIFY"), given.get("ORCPT"), diagnostic, self.hop or None
        )
