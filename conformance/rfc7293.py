"""RFC 7293, RRVS: mail only for who has owned the mailbox since a given moment.

Its rows are not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

from datetime import UTC, datetime

from smtpbench.conformance import (
    EXTENSION,
    RECIPIENT,
    Answer,
    Expectation,
    Observation,
    Peer,
    all_of,
    any_reply,
    case,
    choice,
    codes,
    expect,
    near,
    not_understood,
    rcpt_with,
    severity,
    that,
    untested,
)

NEEDS = (EXTENSION("RRVS"), RECIPIENT)
BEFORE_ANY = "1990-01-01T00:00:00Z"  # before the extension, the domain and nearly every mailbox
CHANGED = (5, 7, 17)

accepted = codes(250, 251)
changed: Expectation[Answer] = that(
    "550 with 5.7.17", lambda answer: answer.code == 550 and answer.enhanced == CHANGED
)


def now() -> str:
    """This moment: whoever owns the mailbox has owned it since then."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@case("MISC-20", needs=NEEDS, broken_by="rrvs-knows-no-action")
async def rrvs_is_taken_in_its_forms(peer: Peer) -> Observation:
    """RRVS with a date and time, alone and with C or R after a semicolon, is understood."""
    answers = [await rcpt_with(peer, f"RRVS={now()}{action}") for action in ("", ";C", ";R")]
    expected = accepted | near(not_understood) | untested(severity(4, 5))
    return all_of(*(expect(answer, expected) for answer in answers))


@case("MISC-20", needs=NEEDS, broken_by="rrvs-takes-anything")
async def rrvs_of_another_form_is_refused(peer: Peer) -> Observation:
    """RRVS without a value, with no date, with half of one or with another letter is refused."""
    words = ("RRVS", "RRVS=yesterday", "RRVS=2014-04-03", f"RRVS={now()};X")
    return all_of(*[expect(await rcpt_with(peer, word), severity(4, 5), near=any_reply) for word in words])


@case("MISC-21", needs=NEEDS, broken_by=("rrvs-refused-with-another-code", "rrvs-refuses-owners"))
async def a_mailbox_that_changed_hands(peer: Peer) -> Observation:
    """RRVS from before the mailbox had its owner is refused with 550 and 5.7.17, RRVS of today is not.

    A server that does not know since when, or has known its users since 1990, accepts both.
    """
    then = await rcpt_with(peer, f"RRVS={BEFORE_ANY}")
    today = await rcpt_with(peer, f"RRVS={now()}")
    return all_of(
        expect(then, changed | choice(accepted) | untested(severity(4)) | near(severity(5))),
        expect(today, accepted | near(changed) | untested(severity(4, 5))),
    )
