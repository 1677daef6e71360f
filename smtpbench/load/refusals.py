"""What a refusal says it is about: a limit of the target, or something that the load should have done.

Servers do not agree on codes, so the words count as well. What is recognised here are the words of Postfix,
Exim, OpenSMTPD, Sendmail, Exchange, the large providers, and the enhanced codes of RFC 3463 and RFC 7505.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RULES: list[tuple[str, str, tuple[str, ...]]] = [
    ("tls-required", "TLS is required", (
        r"^538", r"starttls (command )?first", r"must.{0,20}starttls",
        r"\b(tls|encryption|secure connection)\b.{0,20}\brequired",
    )),
    ("auth-required", "AUTH is required", (
        r"^530", r"authenticat\w+ (is )?required", r"\bauth\w* (is )?(needed|required)", r"log ?in first",
        r"not authenticated",
    )),
    ("greylisting", "greylisting", (r"gr[ea]y ?-?list",)),
    ("connections", "a limit on connections", (
        r"too many (concurrent |simultaneous |open )?(smtp |tcp )?(connections|sessions)",
        r"(connection|concurrency)\w* (count |rate )?(limit|exceeded)", r"limit.{0,30}connections",
        r"connections.{0,20}(limit|exceeded)",
    )),
    ("recipients", "a limit on recipients", (
        r"too many recipients", r"recipient\w* limit", r"^45[12] 4\.5\.3", r"^5\d\d 5\.5\.3",
    )),
    ("message-rate", "a limit on the rate of one client", (
        r"rate[ -]?limit", r"too (much mail|many messages|many mails|fast)", r"throttl", r"slow down",
        r"\b(message|mail)s? (limit|rate)",
    )),
    ("errors", "a limit on errors", (r"too many (errors|unrecogni[sz]ed|bad|junk|invalid)",)),
    ("size", "a limit on the size of a message", (
        r"^552", r"^5\d\d 5\.3\.4", r"too (large|big)", r"exceeds.{0,30}(size|maximum|limit)",
    )),
    ("storage", "no room for mail", (
        r"^4\d\d 4\.3\.1", r"insufficient (system )?storage", r"disk (is )?full",
    )),
    ("client-policy", "a policy about one client, as a rule a limit", (r"^421 4\.7\.\d",)),
]  # fmt: skip
_CODE = r"(?:^|: )"  # a code begins a reply; our own words may go before it
_COMPILED = [
    (kind, meaning, re.compile("|".join(words).replace("^", _CODE), re.IGNORECASE))
    for kind, meaning, words in _RULES
]


def recognise(refusal: str) -> tuple[str, str] | None:
    """The kind of limit that ``CODE text`` speaks of, and what that means; None if it is no known one."""
    return next(((kind, meaning) for kind, meaning, words in _COMPILED if words.search(refusal)), None)


def notes_on(refusals: Iterable[str]) -> list[str]:
    """A note for each kind of limit that the refusals of a run speak of, with the words of the first."""
    found: dict[str, str] = {}
    for refusal in refusals:
        known = recognise(refusal)
        if known is not None:
            found.setdefault(known[1], refusal)
    return [
        f"refusals speak of {meaning}, so the figures may show that and not the server's capacity: {words}"
        for meaning, words in found.items()
    ]
