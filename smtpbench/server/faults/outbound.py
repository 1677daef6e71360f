"""Faults of the relay: what it sends to its next hop, whom it tries again, whom it tells.

Those of one session are mixins of `Courier`, those of the queue of `Relay`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from smtpbench.server.commands import Transaction
from smtpbench.server.faults.registry import fault
from smtpbench.server.outbound import Asking, Courier, Encrypt, Farewell, Outbound, Steps
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.relay import Relay
from smtpbench.server.reports import Action, Original, Outcome
from smtpbench.server.trace import header_of
from smtpbench.wire.commands import CRLF
from smtpbench.wire.content import dot_stuff
from smtpbench.wire.ehlo import NO_EXTENSIONS
from smtpbench.wire.parse import Parameters
from smtpbench.wire.replies import Reply

# Content


def _encodes(name: str, summary: str, encode: Callable[[bytes], bytes], *rows: str) -> None:
    """Register a fault that sends `encode(content)` after DATA."""

    class Encodes(Courier):
        def encoded(self) -> bytes:
            return encode(self.message.content)

    Encodes.__doc__ = summary
    fault(name, *rows)(Encodes)


def _lone_dots_stuffed(content: bytes) -> bytes:
    return re.sub(rb"(\r\n)\.(?=\r\n)", rb"\1..", content) + b".\r\n"


_encodes("relay-stuffs-no-dots", "No dot is doubled.", lambda c: c + b".\r\n", "5321-E-1")
_encodes(
    "relay-stuffs-lone-dots-only", "Only a dot that is alone is doubled.", _lone_dots_stuffed, "5321-E-1"
)


def _empty_lines_with_lf(content: bytes) -> bytes:
    head, between, body = content.partition(b"\r\n\r\n")
    return dot_stuff(head + between + body.replace(b"\r\n\r\n", b"\r\n\n"))


_encodes(
    "relay-ends-lines-with-lf",
    "Empty lines of the body end with LF.",
    _empty_lines_with_lf,
    "5321-E-2",
    "5321-E-14",
)
_encodes(
    "relay-wraps-lines",
    "Lines of more than 500 octets are wrapped.",
    lambda c: dot_stuff(re.sub(rb"([^\r\n]{500})(?=[^\r\n])", rb"\1\r\n", c)),
    "5321-E-14",
)


@fault("relay-passes-bare-line-ends", "5321-E-2")
class PassesBareLineEnds(Receiver):
    """Content with a lone CR or LF is taken for a next hop, and sent on."""

    def unfit(self, transaction: Transaction, content: bytes) -> Refusal | None:
        return None


def _objects_not_to(name: str, summary: str, words: str, *rows: str) -> None:
    """Register a fault that sends what the courier objects to in `words`, a pattern."""

    class SendsAnyway(Courier):
        def objection(self) -> tuple[str, str] | None:
            found = super().objection()
            return None if found is not None and re.search(words, found[1]) else found

    SendsAnyway.__doc__ = summary
    fault(name, *rows)(SendsAnyway)


_objects_not_to(
    "relay-sends-8bit-anyway", "8-bit content goes to a hop without 8BITMIME.", "8BITMIME", "6152-7"
)
_objects_not_to(
    "relay-sends-utf8-anyway", "UTF-8 headers go to a hop without SMTPUTF8.", "SMTPUTF8", "6531-15", "6531-20"
)
_objects_not_to(
    "relay-ignores-requiretls", "REQUIRETLS keeps nothing back.", "REQUIRETLS|Encryption", "MISC-28"
)


# The session


@fault("relay-knows-no-helo", "5321-E-3")
class KnowsNoHelo(Courier):
    """A refused EHLO is the end."""

    def falls_back(self, refusal: Reply) -> bool:
        return False


@fault("relay-says-a-bad-name", "5321-E-15")
class SaysABadName(Courier):
    """EHLO has a name that is no domain."""

    def introduce(self) -> Generator[bytes | Encrypt, Reply | None, bool]:
        self.name = "bad_name!"
        return (yield from super().introduce())


@fault("relay-writes-a-space-after-the-colon", "5321-E-17")
class WritesASpaceAfterTheColon(Courier):
    """MAIL FROM: has a space before its path."""

    def mail_line(self) -> bytes:
        return super().mail_line().replace(b"FROM:<", b"FROM: <", 1)


@fault("relay-omits-brackets", "5321-E-17")
class OmitsBrackets(Courier):
    """RCPT TO: has an address without brackets."""

    def rcpt_line(self, address: bytes) -> bytes:
        return super().rcpt_line(address).replace(b"<", b"", 1).replace(b">", b"", 1)


@fault("relay-pipelines-unasked", "5321-E-6")
class PipelinesUnasked(Courier):
    """A NOOP goes out together with MAIL, offered or not."""

    def mail_line(self) -> bytes:
        return b"NOOP\r\n" + super().mail_line()

    def transaction(self) -> Steps:
        steps = super().transaction()
        reply: Reply | None = None
        first = True
        while True:
            try:
                step = next(steps) if first else steps.send(reply)
            except StopIteration:
                return
            reply = yield step
            if first:
                reply = yield b""  # the reply to MAIL, after that to NOOP
            first = False


@fault("relay-does-not-wait-for-the-greeting", "5321-E-7")
class DoesNotWaitForTheGreeting(Courier):
    """A NOOP goes out before the greeting has come."""

    def greet(self) -> Asking:
        greeting = yield from self.ask(b"NOOP\r\n")
        yield from self.ask(b"")
        return greeting


@fault("relay-says-no-quit", "5321-E-8")
class SaysNoQuit(Courier):
    """The connection is closed without QUIT."""

    def quit(self) -> Steps:
        yield Farewell(b"")


@fault("relay-says-no-ehlo-inside-tls", "3207-25")
class SaysNoEhloInsideTls(Courier):
    """The first command inside TLS is HELO."""

    def start_again(self) -> Steps:
        yield from self.ask(b"HELO " + self.name.encode() + CRLF)
        self.extensions = NO_EXTENSIONS


@fault("relay-remembers-extensions-from-before-tls", "3207-24")
class RemembersExtensions(Courier):
    """The extensions of the EHLO in clear hold inside TLS, too."""

    def start_again(self) -> Steps:
        known = self.extensions
        yield from super().start_again()
        self.extensions = known


# The envelope


@fault("relay-lowers-local-parts", "5321-E-16")
class LowersLocalParts(Courier):
    """Addresses are sent in small letters."""

    def rcpt_line(self, address: bytes) -> bytes:
        return super().rcpt_line(address).replace(address, address.lower(), 1)


@fault("relay-sends-a-copy-each", "5321-E-11")
class SendsACopyEach(Courier):
    """Each recipient has a transaction of its own."""

    def transaction(self) -> Steps:
        whole = self.message
        for address in whole.recipients:
            self.message = whole.only(frozenset({address}))
            yield from super().transaction()
        self.message = whole


@fault("relay-drops-dsn", "3461-12", "3461-14")
class DropsDsn(Courier):
    """The parameters of DSN are not sent on."""

    def dsn_parameters(self, given: Parameters, *names: str) -> dict[str, str | None]:
        return {}


@fault("relay-sends-dsn-anyway", "3461-15", "5321-E-5")
class SendsDsnAnyway(Courier):
    """The parameters of DSN go to every hop."""

    def dsn_parameters(self, given: Parameters, *names: str) -> dict[str, str | None]:
        return {name: given[name] for name in names if name in given}


@fault("relay-sends-orcpt-anyway", "3461-15", "5321-E-5")
class SendsOrcptAnyway(Courier):
    """RCPT has ORCPT whatever the hop offers."""

    def rcpt_line(self, address: bytes) -> bytes:
        line = super().rcpt_line(address)
        return line if b"ORCPT" in line else line + b" ORCPT=rfc822;" + address


@fault("relay-adds-notify", "3461-13")
class AddsNotify(Courier):
    """RCPT gains NOTIFY=FAILURE where it had none."""

    def rcpt_line(self, address: bytes) -> bytes:
        line = super().rcpt_line(address)
        return line if b"NOTIFY" in line or "DSN" not in self.extensions else line + b" NOTIFY=FAILURE"


@fault("relay-adds-ret", "3461-13")
class AddsRet(Courier):
    """MAIL gains RET=HDRS where it had none."""

    def mail_parameters(self) -> dict[str, str | None]:
        words = super().mail_parameters()
        if "DSN" in self.extensions:
            words.setdefault("RET", "HDRS")
        return words


@fault("relay-lowers-orcpt", "3461-14")
class LowersOrcpt(Courier):
    """The value of ORCPT is sent in small letters."""

    def dsn_parameters(self, given: Parameters, *names: str) -> dict[str, str | None]:
        found = super().dsn_parameters(given, *names)
        return {name: (value or "").lower() if name == "ORCPT" else value for name, value in found.items()}


@fault("relay-omits-requiretls", "MISC-28")
class OmitsRequireTls(Courier):
    """REQUIRETLS is not sent on."""

    def mail_parameters(self) -> dict[str, str | None]:
        words = super().mail_parameters()
        words.pop("REQUIRETLS", None)
        return words


# The queue


@fault("relay-takes-552-for-permanent", "5321-E-12")
class Takes552ForPermanent(Courier):
    """552 to RCPT fails the recipient at once."""

    def action(self, reply: Reply, transient: bool) -> Action | None:
        return super().action(reply, False)


@fault("relay-fails-deferred", "5321-E-10")
class FailsDeferred(Courier):
    """A 4yz reply fails the recipient at once."""

    def action(self, reply: Reply, transient: bool) -> Action | None:
        return Action.FAILED if reply.severity == 4 else super().action(reply, transient)


@fault("relay-forgets-deferred", "5321-E-10")
class ForgetsDeferred(Relay):
    """Who was put off is never tried again."""

    def left(self, courier: Courier) -> frozenset[bytes]:
        return frozenset()


@fault("relay-takes-a-drop-for-success", "5321-E-10", "5321-D-29")
class TakesADropForSuccess(Relay):
    """A message is off the queue when the connection broke."""

    def left(self, courier: Courier) -> frozenset[bytes]:
        kept = super().left(courier)
        answered = re.compile(r"\d{3} ")  # a broken connection leaves no reply, but an address and a reason
        return frozenset(address for address in kept if answered.match(courier.deferred.get(address, "")))


@fault("relay-resends-to-all", "5321-E-20")
class ResendsToAll(Relay):
    """Another attempt for one is made for all who were not refused."""

    def left(self, courier: Courier) -> frozenset[bytes]:
        again = super().left(courier)
        served = {key for key, outcome in courier.outcomes.items() if outcome.action is Action.RELAYED}
        return again | served if again else again


@fault("relay-repeats-refused", "5321-E-21")
class RepeatsRefused(Relay):
    """Another attempt for one is made for those, too, who were refused for good."""

    def left(self, courier: Courier) -> frozenset[bytes]:
        again = super().left(courier)
        failed = {key for key, outcome in courier.outcomes.items() if outcome.action is Action.FAILED}
        return again | failed if again else again


# The reports


@fault("relay-reports-nothing", "5321-E-13", "5321-D-47")
class ReportsNothing(Relay):
    """The sender is told of no failure."""

    async def tell(self, message: Outbound, outcomes: Sequence[Outcome]) -> None:
        await super().tell(message, [item for item in outcomes if item.action is not Action.FAILED])


@fault("relay-reports-twice", "5321-E-13")
class ReportsTwice(Relay):
    """The sender is told everything twice."""

    async def tell(self, message: Outbound, outcomes: Sequence[Outcome]) -> None:
        await super().tell(message, outcomes)
        await super().tell(message, outcomes)


@fault("relay-reports-to-the-from-field", "5321-D-48")
class ReportsToTheFromField(Relay):
    """Where the reverse-path is null, the report goes to the address in From."""

    async def tell(self, message: Outbound, outcomes: Sequence[Outcome]) -> None:
        found = re.search(rb"(?mi)^From:.*<([^<>]+)>", header_of(message.content))
        if not message.sender and found is not None:
            message = replace(message, sender=found[1])
        await super().tell(message, outcomes)


@fault("relay-reports-from-somebody", "5321-E-18")
class ReportsFromSomebody(Relay):
    """A report has the postmaster as its reverse-path."""

    def report_sender(self, message: Outbound) -> bytes:
        return b"postmaster@" + self.config.domains[0].encode()


@fault("relay-is-silent-about-relaying", "3461-16")
class IsSilentAboutRelaying(Relay):
    """Success at a hop without DSN is not reported."""

    def owed(self, courier: Courier) -> list[Outcome]:
        return [outcome for outcome in super().owed(courier) if outcome.action is not Action.RELAYED]


@fault("relay-returns-requiretls-in-full", "MISC-29")
class ReturnsRequireTlsInFull(Relay):
    """RET=FULL holds for a message with REQUIRETLS."""

    def original(self, message: Outbound) -> Original:
        return replace(super().original(message), ret=message.mail.get("RET"))
