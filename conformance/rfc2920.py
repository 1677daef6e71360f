"""RFC 2920, PIPELINING: commands in groups."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    NO_EXTENSION,
    RECIPIENT,
    UNKNOWN_RECIPIENT,
    Answer,
    Expectation,
    Observation,
    Peer,
    Untested,
    all_of,
    any_reply,
    case,
    codes,
    expect,
    mail_line,
    nothing_delivered,
    put_off,
    rcpt_line,
    sequence,
    severity,
    silence,
    that,
)

PIPELINING = EXTENSION("PIPELINING")
AFTER = "rfc5321.data.end-of-data-gets-one-reply"
LARGE = 64 * 1024  # octets of a group that no buffer is likely to hold at once

ended_with_421: Expectation[Answer] = that(
    "421 and the connection closed",
    lambda answer: answer.closed and bool(answer.replies) and answer.replies[-1].code == 421,
)


class Counted(Answer):
    """Many replies, of which the report gives the number and the last."""

    @property
    def seen(self) -> str:
        """How many replies, and how it ended."""
        last = Answer(b"", self.replies[-1:], self.ending, self.waited)
        return f"{len(self.replies)} replies, the last of them {last}"


def known(answer: Answer) -> Answer:
    """`answer`; untested if one of its replies is a temporary refusal."""
    if any(reply.severity == 4 for reply in answer.replies):
        raise Untested("a temporary refusal", str(answer))
    return answer


@case("2920-10", needs=[PIPELINING], broken_by="pipelining-keyword-with-number")
async def keyword_has_no_parameter(peer: Peer) -> Observation:
    """The PIPELINING keyword stands alone."""
    values = (await peer.until_ready())["PIPELINING"]
    alone: Expectation[str] = that("PIPELINING", lambda seen: seen == "PIPELINING")
    return expect(" ".join(("PIPELINING", *values)), alone)


@case(
    "2920-1",
    needs=[PIPELINING, RECIPIENT, UNKNOWN_RECIPIENT],
    broken_by=("pipelined-replies-out-of-order", "pipelined-input-lost"),
)
async def replies_come_in_order(peer: Peer) -> Observation:
    """The replies to a group come in the order of its commands, a refused one among them."""
    await peer.until_mail()
    group = (rcpt_line(peer.recipient), rcpt_line(peer.unknown_recipient), b"DATA")
    answer = known(await peer.pipeline(*group))
    if len(answer.replies) > 1 and answer.replies[1].severity == 2:
        raise Untested("the unknown recipient was not refused", str(answer))
    return expect(answer, sequence(codes(250, 251), severity(5), severity(2, 3, 5)), untested=put_off)


@case(
    "2920-2", needs=[PIPELINING, UNKNOWN_RECIPIENT], broken_by=("data-needs-no-rcpt", "pipelined-input-lost")
)
async def data_without_a_recipient_is_refused(peer: Peer) -> Observation:
    """DATA behind a RCPT that was refused, in one group, is refused too."""
    await peer.until_mail()
    answer = known(await peer.pipeline(rcpt_line(peer.unknown_recipient), b"DATA"))
    if answer.severity == 2:
        raise Untested("the unknown recipient was not refused", str(answer))
    return expect(answer, sequence(severity(5), severity(5)))


@case(
    "2920-3",
    needs=[PIPELINING, UNKNOWN_RECIPIENT, DELIVERED],
    broken_by="message-for-nobody-is-delivered",
)
async def nothing_is_sent_for_no_recipient(peer: Peer) -> Observation:
    """An empty message after a DATA that was let in without a recipient goes to nobody."""
    domain = peer.sender.rpartition("@")[2]
    await peer.until_mail(f"{peer.marker.decode()}@{domain}")  # found by its Return-Path
    answer = await peer.pipeline(rcpt_line(peer.unknown_recipient), b"DATA")
    if answer.severity == 2 or answer.replies[-1].code != 354:
        raise Untested("DATA was not let in, or the recipient was", str(answer))
    await peer.command(b".")
    return expect(await peer.nothing_arrived(), nothing_delivered)


@case("2920-4", "2920-6", needs=[PIPELINING, RECIPIENT], broken_by="noop-not-answered")
async def replies_are_not_held_back(peer: Peer) -> Observation:
    """All replies to a group that ends with NOOP come without further input."""
    await peer.until_ready()
    answer = known(await peer.pipeline(mail_line(peer.sender), rcpt_line(peer.recipient), b"NOOP"))
    return expect(answer, sequence(any_reply, any_reply, any_reply))


@case(
    "2920-8",
    "2920-5",
    needs=[PIPELINING],
    broken_by="pipelined-input-lost",
)
async def nothing_behind_a_refused_command_is_lost(peer: Peer) -> Observation:
    """What follows a command that is not recognised, in the same segment, is answered."""
    await peer.until_ready()
    answer = await peer.pipeline(b"RSET", b"XNOSUCH", b"RSET", b"RSET")
    return expect(answer, sequence(any_reply, any_reply, any_reply, any_reply))


@case(
    "2920-9",
    needs=[PIPELINING, RECIPIENT],
    after=AFTER,
    broken_by=("one-transaction-only", "transaction-kept-after-data"),
)
async def content_begins_a_group(peer: Peer) -> Observation:
    """The end of a message and the MAIL and RCPT of the next can come in one segment."""
    await peer.until_data()
    group = (
        peer.marked_body(b"text\r\n")
        + b".\r\n"
        + mail_line(peer.sender)
        + b"\r\n"
        + rcpt_line(peer.recipient)
        + b"\r\n"
    )
    await peer.send(group)
    answer = known(await peer.read(3))
    if answer.severity == 5:
        raise Untested("the message was refused", str(answer))
    return expect(answer, sequence(codes(250), codes(250), codes(250, 251)))


@case("2920-14", needs=[PIPELINING, RECIPIENT], after=AFTER, broken_by="quit-without-reply")
async def quit_behind_the_end_of_data(peer: Peer) -> Observation:
    """QUIT in the segment of the end of data is answered after it."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"text\r\n") + b".\r\nQUIT\r\n")
    return expect(await peer.until_closed(), sequence(severity(2, 4, 5), any_reply))


@case(
    "2920-7",
    needs=[PIPELINING, RECIPIENT],
    broken_by="group-expects-data",
    after="rfc5321.noop.noop-is-answered-250",
)
async def nothing_is_assumed_of_what_comes_next(peer: Peer) -> Observation:
    """After a group of MAIL and RCPT any command may follow, and nothing is said before it comes."""
    await peer.until_allowed()
    group = known(await peer.pipeline(mail_line(peer.sender), rcpt_line(peer.recipient)))
    if [reply.severity for reply in group.replies] != [2, 2]:
        raise Untested("the transaction was not accepted", str(group))
    early = await peer.settle()
    return all_of(
        expect(early, silence),
        expect(await peer.command(b"RSET"), codes(250), untested=put_off),
        expect(await peer.command(b"NOOP"), severity(2), untested=put_off),
    )


@case("2920-11", needs=[NO_EXTENSION("PIPELINING"), RECIPIENT])
async def group_where_none_is_offered(peer: Peer) -> Observation:
    """Commands that come in a group although PIPELINING is not offered: answered in order, or not."""
    await peer.until_allowed()
    answer = await peer.pipeline(mail_line(peer.sender), rcpt_line(peer.recipient), b"RSET")
    in_order = sequence(any_reply, any_reply, any_reply)
    return expect(answer, in_order, choice=that("fewer replies, or a close", lambda answer: True))


@case(
    "2920-12",
    needs=[PIPELINING, EXTENSION("HELP")],
    broken_by="help-line-by-line-in-a-group",
    after="rfc5321.noop.noop-is-answered-250",
)
async def reply_of_several_lines_inside_a_group(peer: Peer) -> Observation:
    """HELP in a group has one reply, whose last line alone has no hyphen after the code."""
    await peer.until_ready()
    await peer.send(b"HELP\r\nNOOP\r\nRSET\r\n")
    answer = await peer.read(3)
    more = await peer.settle()
    whole = Answer(b"", answer.replies + more.replies, answer.ending)
    return expect(whole, sequence(any_reply, severity(2), severity(2)), untested=put_off)


@case("2920-13", needs=[PIPELINING, RECIPIENT], broken_by="group-cut-at-32k")
async def no_command_of_a_large_group_is_lost(peer: Peer) -> Observation:
    """Every command of a group of more than 64 KiB is answered, accepted or not."""
    await peer.until_mail()
    line = rcpt_line(peer.recipient)
    number = LARGE // (len(line) + 2) + 1
    answer = await peer.pipeline(*[line] * number)
    every: Expectation[Answer] = that(f"{number} replies", lambda answer: len(answer.replies) == number)
    seen = Counted(b"", answer.replies, answer.ending, answer.waited)
    return expect(seen, every, stricter=ended_with_421)
