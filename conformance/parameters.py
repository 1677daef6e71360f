"""Parameters of MAIL and RCPT in company: pairs, order, case, a wrong value among others, a repetition."""

from __future__ import annotations

from smtpbench.conformance import EXTENSION, RECIPIENT, Observation, Peer, case, combinations

MAIL_ROWS = ("1870-11", "3461-10", "4954-21", "6152-1", "6531-17")
DSN = (EXTENSION("DSN"), RECIPIENT)
DEADLINE = 60.0


def mail(peer: Peer) -> combinations.Command:
    """MAIL with the parameters that are offered here."""
    return combinations.Command(peer, "MAIL", combinations.MAIL)


def rcpt(peer: Peer) -> combinations.Command:
    """RCPT with those of DSN."""
    return combinations.Command(peer, "RCPT", combinations.RCPT)


@case(*MAIL_ROWS, broken_by="ret-excludes-size", deadline=DEADLINE)
async def every_pair_in_mail(peer: Peer) -> Observation:
    """MAIL accepts every pair of legal values of the parameters on offer."""
    return await combinations.every_pair(mail(peer))


@case("3461-11", needs=DSN, broken_by="never-excludes-orcpt", deadline=DEADLINE)
async def every_pair_in_rcpt(peer: Peer) -> Observation:
    """RCPT accepts every pair of legal values of NOTIFY and ORCPT."""
    return await combinations.every_pair(rcpt(peer))


@case("5321-C-46", broken_by="parameters-in-one-order", deadline=DEADLINE)
async def any_order_in_mail(peer: Peer) -> Observation:
    """The parameters of MAIL can come in any order."""
    return await combinations.any_order(mail(peer))


@case("5321-C-46", needs=DSN, broken_by="parameters-in-one-order", deadline=DEADLINE)
async def any_order_in_rcpt(peer: Peer) -> Observation:
    """The parameters of RCPT can come in any order."""
    return await combinations.any_order(rcpt(peer))


@case("5321-A-7", broken_by=("keywords-case-sensitive", "values-case-sensitive"), deadline=DEADLINE)
async def any_case_in_mail(peer: Peer) -> Observation:
    """The keywords and the words among the values of MAIL mean the same in any case."""
    return await combinations.any_case(mail(peer))


@case(
    "5321-A-7",
    needs=DSN,
    broken_by=("keywords-case-sensitive", "values-case-sensitive"),
    deadline=DEADLINE,
)
async def any_case_in_rcpt(peer: Peer) -> Observation:
    """The keywords and the words among the values of RCPT mean the same in any case."""
    return await combinations.any_case(rcpt(peer))


@case(
    "1870-5",
    "6152-2",
    "6531-3",
    "3461-6",
    "3461-7",
    broken_by="only-the-last-parameter-is-checked",
    deadline=DEADLINE,
)
async def a_wrong_value_in_mail(peer: Peer) -> Observation:
    """A value that MAIL refuses alone is refused among legal ones, wherever it stands."""
    return await combinations.one_wrong(mail(peer))


@case(
    "3461-2",
    "3461-4",
    needs=DSN,
    broken_by="only-the-last-parameter-is-checked",
    deadline=DEADLINE,
)
async def a_wrong_value_in_rcpt(peer: Peer) -> Observation:
    """A value that RCPT refuses alone is refused beside a legal one, wherever it stands."""
    return await combinations.one_wrong(rcpt(peer))


@case("3461-8", "1870-4", "6152-3", broken_by="repetition-seen-in-neighbours", deadline=DEADLINE)
async def a_repetition_in_mail(peer: Peer) -> Observation:
    """A parameter that MAIL refuses twice is refused twice with others between.

    Only RET and ENVID have a MUST for it (RFC 3461 §4.3, §4.4); SIZE and BODY have prose.
    """
    return await combinations.repeated(mail(peer), frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH"}))


@case(
    "3461-9",
    needs=DSN,
    broken_by="repetition-seen-in-neighbours",
    deadline=DEADLINE,
)
async def a_repetition_in_rcpt(peer: Peer) -> Observation:
    """A parameter that RCPT refuses twice is refused twice with another between."""
    return await combinations.repeated(rcpt(peer), frozenset())
