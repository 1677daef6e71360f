"""Faults of the parameters that the less usual extensions bring to MAIL and RCPT."""

from __future__ import annotations

import re

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.wire.parse import Command, CommandError, Parameters
from smtpbench.wire.state import Verb


class _Rewrites(Receiver):
    """Reads another parameter than the one that was sent."""

    rewrites: tuple[tuple[bytes, bytes], ...]  # patterns, and what stands there instead

    def parse(self, line: bytes) -> Command | CommandError:
        for pattern, instead in self.rewrites:
            line = re.sub(pattern, instead, line)
        return super().parse(line)


class _Ignorant(Receiver):
    """Lists an extension and does not know its parameter."""

    unknown: str

    def known_parameters(self) -> frozenset[str]:
        return super().known_parameters() - {self.unknown}


# RFC 2852


@fault("deliverby-in-words", "MISC-5")
class DeliverbyInWords(Receiver):
    """The DELIVERBY keyword has its time in words."""

    def keyword_value(self, keyword: str) -> str:
        return " 1 minute" if keyword == "DELIVERBY" else super().keyword_value(keyword)


@fault("by-not-recognised", "MISC-6")
class ByNotRecognised(_Ignorant):
    """DELIVERBY is listed and BY is not known."""

    unknown = "BY"


@fault("by-takes-anything", "MISC-6")
class ByTakesAnything(_Rewrites):
    """A BY of any form is accepted."""

    rewrites = ((rb" BY=(?![+-]?\d{1,9};[NR]T?$)\S*$", b" BY=86400;N"),)


@fault("by-returns-at-once", "MISC-7")
class ByReturnsAtOnce(_Rewrites):
    """A BY that asks for the return of a message at once is accepted."""

    rewrites = ((rb" BY=-?\d{1,2};R$", b" BY=86400;R"),)


# RFC 3885


@fault("mtrk-not-recognised", "MISC-9")
class MtrkNotRecognised(_Ignorant):
    """MTRK is listed and its parameter is not known."""

    unknown = "MTRK"


@fault("mtrk-takes-anything", "MISC-9")
class MtrkTakesAnything(_Rewrites):
    """An MTRK of any form is accepted."""

    rewrites = ((rb" MTRK\b\S*", b" MTRK=a"),)


# RFC 4865


@fault("futurerelease-without-limits", "MISC-12")
class FuturereleaseWithoutLimits(Receiver):
    """The FUTURERELEASE keyword stands alone."""

    def keyword_value(self, keyword: str) -> str:
        return "" if keyword == "FUTURERELEASE" else super().keyword_value(keyword)


@fault("hold-without-limits", "MISC-13")
class HoldWithoutLimits(Receiver):
    """HOLDFOR and HOLDUNTIL may be past, and as far ahead as one likes."""

    def held_seconds(self, parameters: Parameters) -> float | None:
        seconds = super().held_seconds(parameters)
        return None if seconds is None else min(max(seconds, 1.0), float(self.config.max_hold))


@fault("hold-takes-both", "MISC-13")
class HoldTakesBoth(_Rewrites):
    """HOLDUNTIL is ignored where there is a HOLDFOR."""

    rewrites = ((rb"( HOLDFOR=\S+) HOLDUNTIL=\S+", rb"\1"),)


@fault("hold-ignored", "MISC-14")
class HoldIgnored(Receiver):
    """A message with HOLDFOR or HOLDUNTIL is delivered at once."""

    def hold(self, transaction: Transaction) -> float:
        return 0.0


# RFC 6710


@fault("two-priorities-accepted", "MISC-16")
class TwoPrioritiesAccepted(_Rewrites):
    """The last of several MT-PRIORITY parameters counts."""

    rewrites = ((rb" MT-PRIORITY=\S+(?= MT-PRIORITY=)", b""),)


@fault("priority-of-any-value", "MISC-17")
class PriorityOfAnyValue(_Rewrites):
    """An MT-PRIORITY that is no priority counts as 0."""

    rewrites = ((rb" MT-PRIORITY(?!=-?\d$| MT)\S*", b" MT-PRIORITY=0"),)


@fault("no-negative-priority", "MISC-17")
class NoNegativePriority(_Rewrites):
    """A negative MT-PRIORITY is a syntax error."""

    rewrites = ((rb" MT-PRIORITY=-\d$", b" MT-PRIORITY=low"),)


@fault("priority-for-everybody", "MISC-18")
class PriorityForEverybody(Receiver):
    """Any client gets the priority that it asks for."""

    def granted(self, asked: int) -> int:
        return asked


# RFC 7293


@fault("rrvs-knows-no-action", "MISC-20")
class RrvsKnowsNoAction(_Rewrites):
    """What follows the date in RRVS is a syntax error."""

    rewrites = ((rb" RRVS=\S+;[CR]$", b" RRVS=odd"),)


@fault("rrvs-takes-anything", "MISC-20")
class RrvsTakesAnything(_Rewrites):
    """An RRVS of any form is accepted."""

    rewrites = ((rb" RRVS(?!=\d+-\d\d-\d\dT\S+Z(;[CR])?$)\S*", b" RRVS=2025-01-01T00:00:00Z"),)


@fault("rrvs-refused-with-another-code", "MISC-21")
class RrvsRefusedWithAnotherCode(Receiver):
    """A mailbox that has changed hands is refused as if it did not exist."""

    def check_rcpt(self, command: Command, recipient: Recipient) -> Refusal | None:
        refusal = super().check_rcpt(command, recipient)
        changed = refusal is not None and refusal[1] == "5.7.17"
        return (550, "5.1.1", "No such mailbox here") if changed else refusal


@fault("rrvs-refuses-owners", "MISC-21")
class RrvsRefusesOwners(Receiver):
    """Every RRVS is answered as if the mailbox had changed hands."""

    def check_rcpt(self, command: Command, recipient: Recipient) -> Refusal | None:
        if command.parameters.get("RRVS") and b";" not in command.argument:
            return 550, "5.7.17", "Mailbox owner has changed"
        return super().check_rcpt(command, recipient)


# RFC 8689


@fault("requiretls-in-clear-only", "MISC-25")
class RequiretlsInClearOnly(Receiver):
    """REQUIRETLS is listed before TLS and not inside."""

    def offers(self, keyword: str) -> bool:
        return not self.tls_active if keyword == "REQUIRETLS" else super().offers(keyword)


@fault("requiretls-not-recognised", "MISC-26")
class RequiretlsNotRecognised(_Ignorant):
    """REQUIRETLS is listed and its parameter is not known."""

    unknown = "REQUIRETLS"


@fault("requiretls-with-a-value", "MISC-26")
class RequiretlsWithAValue(_Rewrites):
    """A value of REQUIRETLS is ignored."""

    rewrites = ((rb" REQUIRETLS=\S+", b" REQUIRETLS"),)


# RFC 7505


@fault("null-mx-refused-with-553", "MISC-24")
class NullMxRefusedWith553(Receiver):
    """An address whose domain takes no mail is refused as a mistake in the address."""

    def check_mail(self, command: Command) -> Refusal | None:
        refusal = super().check_mail(command)
        return (553, "5.1.8", "Bad domain") if self.has_null_mx(command.path) else refusal

    def check_rcpt(self, command: Command, recipient: Recipient) -> Refusal | None:
        refusal = super().check_rcpt(command, recipient)
        return (553, "5.1.2", "Bad domain") if self.has_null_mx(command.path) else refusal


# RFC 9422


@fault("limits-with-semicolons", "MISC-30")
class LimitsWithSemicolons(Receiver):
    """The limits are separated by semicolons."""

    def keyword_value(self, keyword: str) -> str:
        value = super().keyword_value(keyword)
        return " " + value.strip().replace(" ", ";") + ";" if keyword == "LIMITS" else value


@fault("mailmax-not-reached", "MISC-32")
class MailmaxNotReached(Receiver):
    """One transaction less than MAILMAX says is accepted."""

    def too_many_mails(self, most: int) -> bool:
        return self.mails >= most


@fault("mailmax-closes", "MISC-32", "5321-A-37")
class MailmaxCloses(Receiver):
    """The transaction after the last is answered with a close and no reply."""

    def perform(self, command: Command) -> None:
        most = self.config.max_transactions
        if command.verb is Verb.MAIL and most is not None and self.mails >= most:
            self.close()
        else:
            super().perform(command)


@fault("rcptmax-not-reached", "MISC-33")
class RcptmaxNotReached(Receiver):
    """More recipients are announced than accepted."""

    def keyword_value(self, keyword: str) -> str:
        if keyword == "LIMITS":
            return f" RCPTMAX={self.config.max_recipients + 10}"
        return super().keyword_value(keyword)
