"""Rules that hold for every reply: judged over all replies of a run, and reported once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smtpbench.conformance.bench import SeenReply, rerun
from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Catalogue
from smtpbench.conformance.observation import Outcome
from smtpbench.conformance.result import CaseResult, TranscriptLine
from smtpbench.wire.replies import Anomaly, Reply, escape

SHOWN = 600  # octets of the first offending reply: one line of the legal length and a little more

# RFC 5321 §4.2.3, and the codes that its extensions add: 235, 334, 432, 454, 530, 534, 535, 538 (RFC 4954,
# 3207), 453, 458, 459 (1985), 521, 556 (7504), 523-525 (5248's table), 555 is in 5321 itself.
_DONE = {211, 214, 220, 221, 235, 250, 251, 252, 253}
_GO_ON = {334, 353, 354}  # 353: PRDR
_LATER = {421, 422, 430, 432, 450, 451, 452, 453, 454, 455, 458, 459}
_SYNTAX = {500, 501, 502, 503, 504, 521, 523, 524, 525, 530, 533, 534, 535, 538}
_NEVER = {550, 551, 552, 553, 554, 555, 556, 557}
KNOWN_CODES = frozenset(_DONE | _GO_ON | _LATER | _SYNTAX | _NEVER)


@dataclass(frozen=True)
class Rule:
    """A property of every single reply. `breach` tells a reply that lacks it."""

    id: str
    requirements: tuple[str, ...]
    title: str
    expected: str
    breach: Callable[[Reply], bool]
    broken_by: tuple[str, ...] = ()


def _has(*anomalies: Anomaly) -> Callable[[Reply], bool]:
    return lambda reply: not reply.anomalies.isdisjoint(anomalies)


RULES = (
    Rule(
        "passive.replies-end-with-crlf",
        ("5321-A-3",),
        "Every line that the server sends ends with CRLF and holds no other CR or LF.",
        "no bare CR and no bare LF in any reply",
        _has(Anomaly.BARE_LF, Anomaly.BARE_CR),
        ("reply-ends-with-lf", "reply-has-bare-cr"),
    ),
    Rule(
        "passive.reply-codes-have-three-digits-in-range",
        ("5321-A-21",),
        "Every reply begins with a code of three digits: 2 to 5, 0 to 5, any.",
        "codes from 200 to 559 whose second digit is 0 to 5, followed by SP or a hyphen",
        _has(Anomaly.BAD_CODE, Anomaly.BAD_SEPARATOR),
        ("reply-second-digit-nine", "reply-first-digit-six"),
    ),
    Rule(
        "passive.first-digit-is-two-to-five",
        ("5321-A-22",),
        "No reply code begins with a digit other than 2, 3, 4 or 5.",
        "a first digit of 2, 3, 4 or 5",
        lambda reply: reply.severity not in (2, 3, 4, 5),
        ("reply-first-digit-six",),
    ),
    Rule(
        "passive.lines-of-a-reply-have-one-code",
        ("5321-A-23",),
        "All lines of a multi-line reply carry the same code.",
        "the same code on each line of a reply",
        _has(Anomaly.CODE_MISMATCH),
        ("ehlo-codes-differ", "greeting-codes-differ"),
    ),
    Rule(
        "passive.reply-text-is-printable-ascii",
        ("5321-A-24",),
        "Reply text consists of tabs, spaces and printable ASCII.",
        "no control character and no octet above 127 in any reply",
        _has(Anomaly.NON_ASCII, Anomaly.CONTROL_CHARACTER),
        ("reply-text-non-ascii", "reply-has-control-character"),
    ),
    Rule(
        "passive.replies-have-text",
        ("5321-A-25",),
        "Every reply code is followed by text.",
        "text after the code of each reply",
        lambda reply: reply.code != 334 and not any(line.strip() for line in reply.lines),
        ("reply-without-text",),
    ),
    Rule(
        "passive.reply-codes-are-known",
        ("5321-A-25",),
        "Every reply code is one that RFC 5321 or an extension defines.",
        "reply codes of RFC 5321 §4.2.3 and its extensions",
        lambda reply: reply.severity in (2, 3, 4, 5) and reply.code not in KNOWN_CODES,
        ("reply-code-unregistered", "reply-second-digit-nine"),
    ),
    Rule(
        "passive.reply-lines-fit-512-octets",
        ("5321-A-26",),
        "No reply line is longer than 512 octets, its CRLF included.",
        "reply lines of at most 512 octets",
        _has(Anomaly.OVERLONG_LINE, Anomaly.UNFINISHED),
        ("reply-line-overlong",),
    ),
)


def judge(rule: Rule, seen: Sequence[SeenReply], catalogue: Catalogue, spec: str = "") -> CaseResult:
    """The result of `rule` over all replies of the run; the first breach is its evidence.

    `spec` is how the user named the target: the case of that breach shows it again, with the rule.
    """
    breaches = [item for item in seen if rule.breach(item.reply)]
    row = catalogue.strongest(rule.requirements)
    if not seen:
        outcome, observed = Outcome.UNTESTED, ""
    elif breaches:
        outcome = Outcome.VIOLATES
        first = breaches[0]
        observed = f"{len(breaches)} of {len(seen)} replies; the first in {first.case}: {first.reply}"[:SHOWN]
    else:
        outcome, observed = Outcome.CONFORMS, f"all of {len(seen)} replies"
    return CaseResult(
        id=rule.id,
        requirements=list(rule.requirements),
        rfc=row.rfc,
        section=row.section,
        level=row.level.value,
        verdict=grade(row.level, outcome),
        title=rule.title,
        expected=rule.expected,
        observed=observed,
        reason=None if seen else "no reply was seen",
        transcript=[
            TranscriptLine(t_s=0.0, **{"from": "server"}, bytes=escape(item.reply.raw[:SHOWN]))
            for item in breaches[:1]
        ],
        repro=rerun(spec, breaches[0].case, rule.id) if breaches else rerun(spec, rule.id),
    )


def judge_all(
    seen: Sequence[SeenReply],
    catalogue: Catalogue,
    *,
    spec: str = "",
    wanted: Callable[[Rule], bool] = lambda rule: True,
) -> list[CaseResult]:
    """One result for each rule whose requirements are in the catalogue and that is wanted."""
    known = [rule for rule in RULES if all(row in catalogue for row in rule.requirements)]
    return [judge(rule, seen, catalogue, spec) for rule in known if wanted(rule)]
