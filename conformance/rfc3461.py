"""RFC 3461, DSN: parameters of MAIL and RCPT, and when a sender is notified of a delivery."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from smtpbench.conformance import (
    BOUNCING_RECIPIENT,
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    SECOND_RECIPIENT,
    Answer,
    Expectation,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    choice,
    codes,
    each_notice,
    each_report,
    expect,
    formless,
    instead_of_mail,
    instead_of_rcpt,
    mail_line,
    mailed,
    no_notice,
    notices_behind,
    notices_of,
    notified,
    put_off,
    rcpt_line,
    severity,
    some,
    that,
    untested,
)

DSN = EXTENSION("DSN")
ASKS = [DSN, RECIPIENT]
SEEN = [DSN, RECIPIENT, DELIVERED]
FAILS = [DSN, RECIPIENT, DELIVERED, BOUNCING_RECIPIENT]
ENVID = "{}+2Ba"  # the identifier of the message, and something to decode
LINE = 1036  # octets that a command line may have, CRLF included (§5.4)
_LONG = f"{'a' * 60}@{'b' * 50}.{'c' * 47}."
ORCPT_500 = f"ORCPT=rfc822;{''.join(f'+{ord(char):X}' for char in _LONG)}example"  # a well-formed address
KEYWORDS = ("SUCCESS", "FAILURE", "DELAY")
NOTIFY = ("NEVER", *(",".join(words) for n in (1, 2, 3) for words in combinations(KEYWORDS, n)))


def same_code(plain: Answer) -> Expectation[Answer]:
    """The reply code of `plain`, which had no parameter of DSN."""
    if not plain.code:
        raise Untested("no reply to the command without the parameters", str(plain))
    return that(
        f"{plain.code}, as without the parameters",
        lambda answer: answer.code == plain.code or {answer.code, plain.code} <= {250, 251},
    )


async def accepts(peer: Peer, values: Iterable[str]) -> Observation:
    """RCPT for the fixture is accepted with each of `values`, each in a transaction of its own."""
    answers = [await instead_of_rcpt(peer, rcpt_line(peer.recipient, value)) for value in values]
    return all_of(*(expect(answer, codes(250, 251), untested=put_off) for answer in answers))


async def rejects_in_rcpt(peer: Peer, values: Iterable[str], *missing: str) -> Observation:
    """RCPT for the fixture is answered 501 with each of `values`, and with the `missing` ones."""
    return all_of(
        *[wrong(await instead_of_rcpt(peer, rcpt_line(peer.recipient, value))) for value in values],
        *[valueless(await instead_of_rcpt(peer, rcpt_line(peer.recipient, value))) for value in missing],
    )


async def rejects_in_mail(peer: Peer, values: Iterable[str], *missing: str) -> Observation:
    """MAIL is answered 501 with each of `values`, and with the `missing` ones."""
    return all_of(
        *[wrong(await instead_of_mail(peer, mail_line(peer.sender, value))) for value in values],
        *[valueless(await instead_of_mail(peer, mail_line(peer.sender, value))) for value in missing],
    )


def wrong(answer: Answer) -> Observation:
    """The answer to a parameter whose value is wrong, or that comes twice."""
    return expect(answer, codes(501), near=severity(5), untested=put_off)


def valueless(answer: Answer) -> Observation:
    """The answer to a parameter without a value. The 501 of §5.1 is for values that are not valid, and a
    server may say as well that it knows no such parameter (RFC 5321 §4.1.1.11)."""
    return expect(answer, codes(501, 555), near=severity(5) | codes(250, 251), untested=put_off)


# The parameters


@case("3461-1", needs=ASKS, broken_by="notify-delay-refused")
async def every_notify_value_is_accepted(peer: Peer) -> Observation:
    """NEVER is accepted, and so are SUCCESS, FAILURE and DELAY alone and together."""
    return await accepts(peer, (f"NOTIFY={value}" for value in NOTIFY))


@case("3461-1", needs=[*ASKS, SECOND_RECIPIENT], broken_by="notify-never-for-all")
async def recipients_have_notify_values_of_their_own(peer: Peer) -> Observation:
    """After a recipient with NOTIFY=NEVER another is accepted with NOTIFY=SUCCESS, as it is without."""
    await peer.until_rcpt(NOTIFY="NEVER")
    answer = await peer.command(rcpt_line(peer.second_recipient, "NOTIFY=SUCCESS"))
    await peer.until_rcpt(peer.second_recipient)
    return expect(answer, codes(250, 251), untested=put_off)


@case("3461-2", needs=ASKS, broken_by="notify-never-with-others")
async def never_with_another_value_is_refused(peer: Peer) -> Observation:
    """NEVER beside another NOTIFY value, an unknown value and none at all are answered 501."""
    bad = ("NOTIFY=NEVER,SUCCESS", "NOTIFY=FAILURE,NEVER", "NOTIFY=SOMETIMES")
    return await rejects_in_rcpt(peer, bad, "NOTIFY=", "NOTIFY")


@case("3461-3", needs=ASKS, broken_by="notify-case-matters")
async def notify_in_any_case_and_order(peer: Peer) -> Observation:
    """NOTIFY values are accepted in lower and mixed case and in any order."""
    return await accepts(peer, ("NOTIFY=never", "notify=Delay,failure,sUCCESS", "NOTIFY=FAILURE,success"))


@case("3461-4", needs=ASKS, broken_by="orcpt-unchecked")
async def orcpt_that_is_no_typed_xtext(peer: Peer) -> Observation:
    """An ORCPT without an address type, or with an address that is no xtext, is answered 501."""
    bad = ("ORCPT=foo", "ORCPT=;a@example.com", "ORCPT=rfc822;a+GG", "ORCPT=rfc822;a+4")
    return await rejects_in_rcpt(peer, bad, "ORCPT=", "ORCPT")


@case("3461-5", needs=ASKS, broken_by="orcpt-limited-to-256")
async def orcpt_of_500_characters(peer: Peer) -> Observation:
    """An ORCPT parameter of 500 characters is accepted."""
    return await accepts(peer, [ORCPT_500])


@case("3461-6", needs=[DSN], broken_by="ret-unchecked")
async def unknown_ret_value(peer: Peer) -> Observation:
    """A RET that is not FULL or HDRS is answered 501."""
    return await rejects_in_mail(peer, ("RET=BODY", "RET=FULL,HDRS"), "RET=", "RET")


@case("3461-7", needs=[DSN], broken_by="envid-unchecked")
async def envid_that_is_no_xtext(peer: Peer) -> Observation:
    """An ENVID without a value, or with one that is no xtext, is answered 501."""
    return await rejects_in_mail(peer, ("ENVID=a+GG", "ENVID=a+4"), "ENVID=", "ENVID")


@case("3461-8", needs=[DSN], broken_by="mail-parameters-repeated")
async def two_of_one_parameter_of_mail(peer: Peer) -> Observation:
    """MAIL with two ENVID or two RET is answered 501."""
    return await rejects_in_mail(peer, ("ENVID=a ENVID=b", "RET=FULL RET=HDRS", "RET=FULL RET=FULL"))


@case("3461-9", needs=ASKS, broken_by="rcpt-parameters-repeated")
async def two_of_one_parameter_of_rcpt(peer: Peer) -> Observation:
    """RCPT with two NOTIFY or two ORCPT is answered 501."""
    orcpt = f"ORCPT=rfc822;{peer.recipient.replace('+', '+2B')}"
    return await rejects_in_rcpt(peer, ("NOTIFY=SUCCESS NOTIFY=FAILURE", f"{orcpt} {orcpt}"))


@case("3461-10", needs=[DSN], broken_by="envid-refused")
async def mail_gets_the_same_reply_with_parameters(peer: Peer) -> Observation:
    """MAIL gets the reply code that it gets without them with any valid ENVID and RET."""
    plain = await instead_of_mail(peer, mail_line(peer.sender))
    seen = []
    for parameters in ("RET=FULL ENVID=a", "RET=hdrs", f"ENVID={'x' * 97}+20", "ENVID=a+2Bb/(c)<d>:;@,"):
        seen.append(await instead_of_mail(peer, mail_line(peer.sender, parameters)))
    return all_of(*(expect(answer, same_code(plain), untested=put_off) for answer in seen))


@case("3461-11", needs=ASKS, broken_by="orcpt-must-be-the-recipient")
async def rcpt_gets_the_same_reply_with_parameters(peer: Peer) -> Observation:
    """RCPT gets the reply code that it gets without them with any valid NOTIFY and ORCPT."""
    await peer.until_mail()
    parameters = ("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;other@example.com", "ORCPT=rfc822;no+20address+2B")
    seen = []
    for address in filter(None, (peer.recipient, peer.fixtures.unknown_recipient)):
        plain = await peer.command(rcpt_line(address))
        answers = [await peer.command(rcpt_line(address, given)) for given in parameters]
        ours: Expectation[Answer] = untested(that("a temporary refusal", lambda answer: answer.severity == 4))
        seen += [expect(answer, same_code(plain) | ours) for answer in answers]
    return all_of(*seen)


@case("3461-25", needs=ASKS, broken_by="line-limit-512")
async def lines_may_be_longer(peer: Peer) -> Observation:
    """A RCPT line with parameters of their full length is not too long, and neither is one of 1036 octets.

    The second has a source route to make it so long. Whether either is accepted is asked elsewhere.
    """
    full = f"NOTIFY=SUCCESS,FAILURE,DELAY {ORCPT_500}"
    await peer.until_mail()
    missing = LINE - len(rcpt_line(f":{peer.recipient}", full)) - 2
    pairs = (
        (rcpt_line(peer.recipient), rcpt_line(peer.recipient, full)),
        (rcpt_line(f"{route(50)}:{peer.recipient}"), rcpt_line(f"{route(missing)}:{peer.recipient}", full)),
    )
    return all_of(*[await taken_as_the_short_one(peer, *pair) for pair in pairs])


async def taken_as_the_short_one(peer: Peer, short: bytes, long: bytes) -> Observation:
    """The reply to `long` is no 500, unless `short`, which differs in length alone, gets one too."""
    plain, answer = await peer.command(short), await peer.command(long)
    read: Expectation[Answer] = that(
        "no 500 that a shorter line does not get",
        lambda answer: answer.code != 0 and (answer.code != 500 or plain.code == 500),
    )
    return expect(answer, read)


def route(length: int) -> str:
    """A source route of `length` octets, at least 10."""
    hops = []
    while length > 72:
        hops.append("@" + "h" * 40 + ".example")
        length -= len(hops[-1]) + 1
    return ",".join([*hops, "@" + "h" * (length - 9) + ".example"])


# The notifications


@case("3461-17", needs=SEEN, broken_by=("success-not-reported", "success-reported-as-failed"))
async def success_is_reported_where_asked_for(peer: Peer) -> Observation:
    """Local delivery to a recipient with NOTIFY=SUCCESS gets the sender a “delivered” notification.

    Where the mailbox is behind another server or an alias, “relayed” and “expanded” are right (§5.2.2,
    §5.2.7.3), and from here they cannot be told from a local one.
    """
    asked = await mailed(peer, peer.recipient, envid=ENVID, notify="SUCCESS")
    other = choice(notified("relayed", "expanded")) | untested(formless)
    return expect(await notices_of(peer, asked), notified("delivered") | other)


@case("3461-18", needs=SEEN, broken_by="success-reported-unasked")
async def success_is_not_reported_unasked(peer: Peer) -> Observation:
    """Local delivery to a recipient without NOTIFY, or without its SUCCESS, gets the sender nothing."""
    never = await mailed(peer, peer.recipient, envid=ENVID, notify="NEVER")
    others = [
        await mailed(peer, peer.recipient, envid=ENVID, notify=notify) for notify in (None, "FAILURE,DELAY")
    ]
    control = await mailed(peer, peer.recipient, envid=ENVID, notify="SUCCESS")
    delayed = choice(notified("delayed"))  # §5.2.5: only NEVER rules it out
    return all_of(
        expect(await notices_behind(peer, never, control), no_notice),
        *[expect(await notices_behind(peer, each, control), no_notice | delayed) for each in others],
    )


@case("3461-19", needs=FAILS, broken_by="failure-not-reported")
async def failure_is_reported(peer: Peer) -> Observation:
    """A delivery that fails is reported as “failed” to the sender, with NOTIFY=FAILURE and without NOTIFY."""
    lost = [
        await mailed(peer, peer.bouncing_recipient, envid=ENVID, notify=notify)
        for notify in ("FAILURE", None)
    ]
    right = notified("failed") | untested(formless | notified("delayed", "failed"))
    return all_of(*[expect(await notices_of(peer, each), right) for each in lost])


@case("3461-19", needs=FAILS, broken_by="failure-reported-unasked")
async def failure_is_not_reported_unasked(peer: Peer) -> Observation:
    """A delivery that fails gets the sender nothing with NOTIFY=NEVER, or a NOTIFY without FAILURE.

    With SUCCESS an alias may be reported as expanded, and a mailbox behind another server as relayed.
    """
    never = await mailed(peer, peer.bouncing_recipient, envid=ENVID, notify="NEVER")
    success = await mailed(peer, peer.bouncing_recipient, envid=ENVID, notify="SUCCESS")
    control = await mailed(peer, peer.bouncing_recipient, envid=ENVID, notify="FAILURE")
    handed_on = choice(notified("relayed", "expanded")) | untested(formless)
    return all_of(
        expect(await notices_behind(peer, never, control), no_notice),
        expect(await notices_behind(peer, success, control), no_notice | handed_on),
    )


def from_the_sender(peer: Peer, content: bytes) -> bytes:
    """`content` with header fields that name an observed mailbox as its author."""
    return content.replace(b"From: <%s>" % peer.sender.encode(), b"From: <%s>" % peer.recipient.encode())


@case("3461-20", needs=SEEN, broken_by="null-sender-reported")
async def the_null_sender_gets_no_notification(peer: Peer) -> Observation:
    """A message from the null reverse-path brings no notification, not to its author either."""
    silent = await mailed(
        peer,
        peer.recipient,
        sender="",
        envid=ENVID,
        notify="SUCCESS",
        rewrite=lambda content: from_the_sender(peer, content),
    )
    control = await mailed(peer, peer.recipient, envid=ENVID, notify="SUCCESS")
    return expect(await notices_behind(peer, silent, control), no_notice)


@case("3461-21", needs=SEEN, broken_by=("report-has-a-sender", "report-to-postmaster"))
async def notifications_come_from_the_null_sender(peer: Peer) -> Observation:
    """A notification comes from the null reverse-path and is addressed to the sender of the message."""
    asked = await mailed(peer, peer.recipient, envid=ENVID, notify="SUCCESS")
    found = some(await notices_of(peer, asked))
    if any(notice.message.sender is None for notice in found.notices):
        raise Untested("the mailbox does not tell the reverse-path", str(found))
    null = each_notice("the null reverse-path", lambda notice: notice.message.sender == "")
    mailbox = peer.recipient.lower()
    addressed = each_report("its To", lambda report: mailbox in [address.lower() for address in report.to])
    return all_of(expect(found, null), expect(found, addressed | untested(formless)))
