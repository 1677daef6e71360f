"""Rules that hold in every session: judged over all sessions of a run, and reported once each.

What breaks a rule is for `smtpbench.wire.invariants` to say; here each has its requirement and its words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smtpbench.conformance.bench import Seen, SeenBreach, lines, rerun
from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Catalogue
from smtpbench.conformance.observation import Outcome
from smtpbench.conformance.result import CaseResult
from smtpbench.wire import invariants


@dataclass(frozen=True)
class Rule:
    """A property of every reply or, where `of_sessions`, of every session.

    `twice`: one breach may be the network's, so it takes two sessions to count.
    """

    id: str
    requirements: tuple[str, ...]
    watched: invariants.Rule
    title: str
    expected: str
    broken_by: tuple[str, ...] = ()
    of_sessions: bool = False
    twice: bool = False


RULES = (
    Rule(
        "passive.replies-end-with-crlf",
        ("5321-A-3",),
        invariants.Rule.LINE_ENDS,
        "Every line that the server sends ends with CRLF and holds no other CR or LF.",
        "no bare CR and no bare LF in any reply",
        ("reply-ends-with-lf", "reply-has-bare-cr"),
    ),
    Rule(
        "passive.reply-codes-have-three-digits-in-range",
        ("5321-A-21",),
        invariants.Rule.CODE_GRAMMAR,
        "Every reply begins with a code of three digits: 2 to 5, 0 to 5, any.",
        "codes from 200 to 559 whose second digit is 0 to 5, followed by SP or a hyphen",
        ("reply-second-digit-nine", "reply-first-digit-six"),
    ),
    Rule(
        "passive.first-digit-is-two-to-five",
        ("5321-A-22",),
        invariants.Rule.FIRST_DIGIT,
        "No reply code begins with a digit other than 2, 3, 4 or 5.",
        "a first digit of 2, 3, 4 or 5",
        ("reply-first-digit-six",),
    ),
    Rule(
        "passive.lines-of-a-reply-have-one-code",
        ("5321-A-23",),
        invariants.Rule.ONE_CODE,
        "All lines of a multi-line reply carry the same code.",
        "the same code on each line of a reply",
        ("ehlo-codes-differ", "greeting-codes-differ"),
    ),
    Rule(
        "passive.reply-text-is-printable-ascii",
        ("5321-A-24",),
        invariants.Rule.PRINTABLE,
        "Reply text consists of tabs, spaces and printable ASCII.",
        "no control character and no octet above 127 in any reply",
        ("reply-text-non-ascii", "reply-has-control-character"),
    ),
    Rule(
        "passive.replies-have-text",
        ("5321-A-25",),
        invariants.Rule.HAS_TEXT,
        "Every reply code is followed by text.",
        "text after the code of each reply",
        ("reply-without-text",),
    ),
    Rule(
        "passive.reply-codes-are-known",
        ("5321-A-25",),
        invariants.Rule.KNOWN_CODE,
        "Every reply code is one that RFC 5321 or an extension defines.",
        "reply codes of RFC 5321 §4.2.3 and its extensions",
        ("reply-code-unregistered", "reply-second-digit-nine"),
    ),
    Rule(
        "passive.reply-lines-fit-512-octets",
        ("5321-A-26",),
        invariants.Rule.LINE_LENGTH,
        "No reply line is longer than 512 octets, its CRLF included.",
        "reply lines of at most 512 octets",
        ("reply-line-overlong",),
    ),
    Rule(
        "passive.no-command-has-a-second-reply",
        ("5321-A-20",),
        invariants.Rule.ONE_REPLY,
        "No command has more replies than are due to it.",
        "one reply for each command, in LMTP one for each recipient after a message",
        ("two-replies-to-noop", "two-replies-after-data"),
        of_sessions=True,
    ),
    Rule(
        "passive.nothing-is-said-unprompted",
        ("5321-A-20",),
        invariants.Rule.PROMPTED,
        "The server says nothing, 421 excepted, in the middle of a content or between replies and commands.",
        "no octets that belong to no reply that is due",
        ("replies-before-the-end-of-data", "stray-octets-after-quit"),
        of_sessions=True,
    ),
    Rule(
        "passive.reply-codes-fit-the-command",
        ("5321-A-29",),
        invariants.Rule.CODE_FITS,
        "The code that answers a well-formed command is one that the RFCs have for that command.",
        "codes of RFC 5321 §4.3.2 and the extensions, the general ones and policy refusals included",
        ("noop-252", "quit-250", "data-250"),
    ),
    Rule(
        "passive.enhanced-class-is-the-first-digit",
        ("2034-3",),
        invariants.Rule.ENHANCED_CLASS,
        "Where enhanced status codes are offered, the class of each is the first digit of its reply.",
        "the class of the reply code in every line of a reply",
        ("enhanced-class-differs",),
    ),
    Rule(
        "passive.enhanced-codes-are-registered",
        ("2034-9",),
        invariants.Rule.ENHANCED_REGISTERED,
        "Where enhanced status codes are offered, each is one of IANA's registry.",
        "subjects and details of the registry (December 2024)",
        ("enhanced-code-unregistered",),
    ),
    Rule(
        "passive.connection-closes-only-with-221-or-421",
        ("5321-A-37",),
        invariants.Rule.CLOSE,
        "The server closes no session of well-formed commands except after QUIT, 421 or a timeout.",
        "no close without 221, 421 or a timeout, in two sessions or more",
        ("rset-closes",),
        of_sessions=True,
        twice=True,
    ),
)


def judge(rule: Rule, seen: Seen, catalogue: Catalogue, spec: str = "") -> CaseResult:
    """The result of `rule` over all sessions of the run; the first breach is its evidence.

    `spec` is how the user named the target: the case of that breach shows it again, with the rule.
    """
    breaches = [item for item in seen.breaches if item.witnessed.breach.rule is rule.watched]
    if rule.twice and len({item.session for item in breaches}) < 2:
        breaches = []
    row = catalogue.strongest(rule.requirements)
    outcome, observed = _outcome(rule, seen, breaches)
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
        reason=None if seen.replies else "no reply was seen",
        transcript=lines(breaches[0].witnessed.log) if breaches else [],
        repro=rerun(spec, breaches[0].case, rule.id) if breaches else rerun(spec, rule.id),
    )


def _outcome(rule: Rule, seen: Seen, breaches: list[SeenBreach]) -> tuple[Outcome, str]:
    of = f"{seen.sessions} sessions" if rule.of_sessions else f"{seen.replies} replies"
    if not seen.replies:
        return Outcome.UNTESTED, ""
    if not breaches:
        return Outcome.CONFORMS, f"all of {of}"
    first = breaches[0]
    number = len({item.session for item in breaches}) if rule.of_sessions else len(breaches)
    return Outcome.VIOLATES, f"{number} of {of}; the first in {first.case}: {first.witnessed.breach.what}"


def judge_all(
    seen: Seen,
    catalogue: Catalogue,
    *,
    spec: str = "",
    wanted: Callable[[Rule], bool] = lambda rule: True,
) -> list[CaseResult]:
    """One result for each rule whose requirements are in the catalogue and that is wanted."""
    known = [rule for rule in RULES if all(row in catalogue for row in rule.requirements)]
    return [judge(rule, seen, catalogue, spec) for rule in known if wanted(rule)]
