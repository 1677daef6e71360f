"""The messages of a retry campaign: how our hop treats each, and how each has to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from smtpbench.delivery.hop_script import DEFER, DROP, REFUSE, HopReply
from smtpbench.delivery.retry_hop import UNAVAILABLE, Plan, Step

GREETING, REFUSED = "greeting-421", "connection-refused"
NULL = "null-sender"  # its message has the null reverse-path
MIXED = "mixed"  # the recipients of these kinds are those of one message

GREYLIST = HopReply(code=450, enhanced="4.7.1", text="Greylisted")

ORDINARY = Plan()


class Ending(StrEnum):
    """How a message has to end."""

    DELIVERED = "delivered"
    BOUNCED = "bounced once"
    UNREPORTED = "no report"


@dataclass(frozen=True, slots=True)
class Kind:
    """One recipient. `answered`: our hop says with a 4yz that the failure is temporary (else a client SHOULD
    take it so, RFC 5321 §3.8)."""

    name: str
    does: str
    ending: Ending
    plan: Plan = ORDINARY
    answered: bool = True

    @property
    def message(self) -> str:
        """Which message it is a recipient of."""
        return MIXED if self.name.startswith(f"{MIXED}-") else self.name


def kinds(wait_s: float) -> list[Kind]:
    """All kinds, with times that leave room for retries within `wait_s`; the last two are the whole hop's."""
    late = HopReply(code=0, close=True, delay_s=wait_s / 18)
    return [
        _temporary("mail-4yz", "451 to MAIL, once", Step("mail", DEFER)),
        _temporary("rcpt-4yz", "451 to RCPT, twice", *[Step("rcpt", DEFER)] * 2),
        _temporary("data-4yz", "451 to DATA, once", Step("data", DEFER)),
        _temporary("end-4yz", "451 to the final dot, once", Step("end", DEFER)),
        _temporary("session-421", "421 to RCPT and the end of the session, once", Step("rcpt", UNAVAILABLE)),
        _lost("no-reply", f"no reply to RCPT for {late.delay_s:.3g} s, once", Step("rcpt", late)),
        _lost("drop-before-reply", "the connection closed instead of a reply to the final dot, once",
              Step("end", DROP)),
        Kind("drop-after-reply", "250 to the final dot, then the connection closed", Ending.DELIVERED,
             Plan((Step("end", HopReply(close=True)),), forever=True)),
        Kind("greylisted", f"450 to RCPT for {wait_s / 20:.3g} s", Ending.DELIVERED,
             Plan((Step("rcpt", GREYLIST),), for_s=wait_s / 20)),
        Kind("long-4yz", f"451 to RCPT for {wait_s / 6:.3g} s", Ending.DELIVERED,
             Plan((Step("rcpt", DEFER),), for_s=wait_s / 6)),
        _lost("flapping", "421 to MAIL, then the connection closed at DATA, then accepted",
              Step("mail", UNAVAILABLE), Step("data", DROP)),
        _permanent("rcpt-5yz", "550 to RCPT", Step("rcpt", REFUSE)),
        _permanent("data-5yz", "554 to DATA", Step("data", HopReply(code=554, enhanced="5.3.0", text="No"))),
        _permanent("end-5yz", "554 to the final dot",
                   Step("end", HopReply(code=554, enhanced="5.6.0", text="Not this"))),
        Kind(NULL, "550 to RCPT of a message from <>", Ending.UNREPORTED,
             Plan((Step("rcpt", REFUSE),), forever=True)),
        Kind("mixed-accepted", "250, beside the next two", Ending.DELIVERED),
        _temporary("mixed-deferred", "451 to RCPT, twice, in one message with these",
                   *[Step("rcpt", DEFER)] * 2),
        _permanent("mixed-refused", "550 to RCPT, in one message with these", Step("rcpt", REFUSE)),
        Kind(GREETING, "421 as the greeting", Ending.DELIVERED),
        Kind(REFUSED, f"connections refused for {wait_s / 18:.3g} s", Ending.DELIVERED, answered=False),
    ]  # fmt: skip


def messages(found: Sequence[Kind]) -> dict[str, list[Kind]]:
    """The kinds by the message that they are recipients of."""
    by_message: dict[str, list[Kind]] = {}
    for kind in found:
        by_message.setdefault(kind.message, []).append(kind)
    return by_message


def _temporary(name: str, does: str, *steps: Step) -> Kind:
    return Kind(name, does, Ending.DELIVERED, Plan(steps))


def _lost(name: str, does: str, *steps: Step) -> Kind:
    return Kind(name, does, Ending.DELIVERED, Plan(steps), answered=False)


def _permanent(name: str, does: str, step: Step) -> Kind:
    return Kind(name, does, Ending.BOUNCED, Plan((step,), forever=True))
