"""RFC 5321 §3.3, §4.1.1.2, §4.1.4: the order of the commands of a transaction."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    SECOND_RECIPIENT,
    Answer,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    closed,
    codes,
    expect,
    mail_line,
    messages,
    near,
    put_off,
    rcpt_line,
    severity,
)

NO_TRANSACTION = codes(503) | near(severity(5))


def took(answer: Answer) -> None:
    """`answer` is a 250, or there is nothing to ask."""
    if answer.code != 250:
        raise Untested("the first transaction was not accepted", str(answer))


@case("5321-C-1", "5321-C-2", needs=[RECIPIENT], broken_by="rcpt-needs-no-mail")
async def rcpt_before_mail(peer: Peer) -> Observation:
    """RCPT with no MAIL before it is answered 503."""
    await peer.until_allowed()
    return expect(await peer.command(rcpt_line(peer.recipient)), NO_TRANSACTION, untested=put_off)


@case("5321-C-2", needs=[RECIPIENT], broken_by="early-rcpt-locks-session")
async def refused_rcpt_changes_no_state(peer: Peer) -> Observation:
    """After a RCPT that came too early MAIL, RCPT and DATA are accepted as if it had not come."""
    await peer.new_session().until_rcpt()
    await peer.until_allowed()
    if (await peer.command(rcpt_line(peer.recipient))).severity != 5:
        raise Untested("RCPT before MAIL was not refused")
    lines = (mail_line(peer.sender), rcpt_line(peer.recipient), b"DATA")
    answers = [await peer.command(line) for line in lines]
    fine = codes(250, 251, 354)
    return all_of(*(expect(answer, fine, untested=put_off | closed) for answer in answers))


@case(
    "5321-C-3",
    "5321-C-40",
    needs=[RECIPIENT],
    broken_by="bad-mail-starts-transaction",
    after=rcpt_before_mail,
)
async def refused_mail_starts_no_transaction(peer: Peer) -> Observation:
    """A MAIL that is refused for its argument leaves no transaction open, so RCPT is out of order."""
    await peer.until_allowed()
    refused = await peer.command(b"MAIL FROM:")
    if refused.severity != 5:
        raise Untested("MAIL without a path was not refused", str(refused))
    return expect(await peer.command(rcpt_line(peer.recipient)), NO_TRANSACTION, untested=put_off | closed)


@case("5321-C-4", needs=[RECIPIENT], broken_by="nested-mail-merges")
async def second_mail_joins_nothing(peer: Peer) -> Observation:
    """A MAIL inside a transaction is refused, or the recipients before it are forgotten."""
    await peer.until_rcpt()
    second = await peer.command(mail_line("second@example.org"))
    if second.severity != 2:
        return expect(second, codes(503), near=severity(5), untested=put_off)
    data = await peer.command(b"DATA")
    if data.code != 354:
        return expect(data, severity(5), untested=put_off)
    await peer.send(peer.marked_body(b"for nobody\r\n.\r\n"))
    return expect(await peer.read(), severity(5), untested=put_off)


@case(
    "5321-C-5",
    needs=[RECIPIENT, SECOND_RECIPIENT, DELIVERED],
    broken_by="nested-mail-merges",
    after="rfc5321.delivery.every-recipient-gets-the-message",
)
async def accepted_mail_clears_the_recipients(peer: Peer) -> Observation:
    """After a second MAIL that was accepted, the recipients given before it receive nothing."""
    await peer.until_rcpt()
    if (await peer.command(mail_line("second@example.org"))).severity != 2:
        raise Untested("a MAIL inside a transaction is refused")
    await peer.until_rcpt(peer.second_recipient)
    await peer.until_data()
    await peer.send(peer.marked_body(b"for one\r\n"))
    return expect(await peer.delivery(b".\r\n"), messages(1), untested=put_off)


@case(
    "5321-C-51",
    needs=[RECIPIENT],
    broken_by="transaction-kept-after-data",
    after=(rcpt_before_mail, "rfc5321.data.end-of-data-gets-one-reply"),
)
async def rcpt_after_the_end_of_data(peer: Peer) -> Observation:
    """After the end of data there is no transaction, so RCPT is out of order."""
    took(await peer.content_of(peer.marked_body(b"first\r\n")))
    return expect(await peer.command(rcpt_line(peer.recipient)), NO_TRANSACTION, untested=put_off)


@case("5321-C-50", needs=[RECIPIENT], broken_by="one-transaction-only", after=rcpt_after_the_end_of_data)
async def one_transaction_after_the_other(peer: Peer) -> Observation:
    """A session can hold several transactions."""
    took(await peer.content_of(peer.marked_body(b"first\r\n")))
    lines = (mail_line(peer.sender), rcpt_line(peer.recipient), b"DATA")
    answers = [await peer.command(line) for line in lines]
    return all_of(*(expect(answer, codes(250, 251, 354), untested=put_off) for answer in answers))
