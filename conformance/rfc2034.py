"""RFC 2034, ENHANCEDSTATUSCODES: a second code in the text of replies."""

from __future__ import annotations

from smtpbench.conformance import (
    EXTENSION,
    FOREIGN_RECIPIENT,
    RECIPIENT,
    UNKNOWN_RECIPIENT,
    Answer,
    Expectation,
    Observation,
    Peer,
    Reply,
    Untested,
    all_of,
    case,
    expect,
    instead_of_mail,
    reply_that,
    that,
)

ENHANCED = EXTENSION("ENHANCEDSTATUSCODES")


def is_coded(reply: Reply) -> bool:
    """Whether the text begins with an enhanced status code."""
    return reply.enhanced is not None


coded: Expectation[Answer] = reply_that("an enhanced status code in the text", is_coded)
not_coded: Expectation[Answer] = reply_that(
    "no enhanced status code", lambda reply: reply.severity != 3 or not is_coded(reply)
)
of_its_class: Expectation[Answer] = that(
    "the class of the reply code",
    lambda answer: answer.enhanced is None or answer.enhanced.klass == answer.severity,
)


async def usual_answers(peer: Peer) -> list[Answer]:
    """Answers of both classes to commands that need no mailbox."""
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    lines = (b"NOOP", b"RSET", b"RCPT TO:<nobody@example.net>", b"XNOSUCH", mail, b"RSET", b"VRFY postmaster")
    answers = [await peer.command(line) for line in lines]
    answered = [answer for answer in answers if answer.replies]
    if not answered:
        raise Untested("no command was answered", str(answers[0]))
    return answered


@case("2034-1", "2034-5", needs=[ENHANCED], broken_by="enhanced-codes-missing")
async def replies_have_enhanced_codes(peer: Peer) -> Observation:
    """Every 2yz, 4yz and 5yz reply after EHLO begins with a well-formed enhanced status code."""
    await peer.until_ready()
    return all_of(*(expect(answer, coded) for answer in await usual_answers(peer)))


@case("2034-3", needs=[ENHANCED], broken_by="enhanced-class-differs")
async def class_agrees_with_the_reply(peer: Peer) -> Observation:
    """The class of an enhanced status code is the first digit of its reply."""
    await peer.until_ready()
    return all_of(*(expect(answer, of_its_class) for answer in await usual_answers(peer)))


@case("2034-6", needs=[ENHANCED], broken_by="enhanced-codes-missing")
async def codes_after_helo(peer: Peer) -> Observation:
    """A client that said HELO gets enhanced status codes too."""
    helo = await peer.helo()
    if helo.code != 250:
        raise Untested("HELO was not accepted", str(helo))
    return expect(await peer.command(b"RSET"), coded)


@case("2034-2", needs=[ENHANCED, RECIPIENT], broken_by="data-354-with-enhanced-code")
async def no_code_in_a_354(peer: Peer) -> Observation:
    """The 354 to DATA has no enhanced status code."""
    await peer.until_rcpt()
    return expect(await peer.command(b"DATA"), not_coded)


@case("2034-7", needs=[ENHANCED], broken_by="hello-begins-with-a-code")
async def no_code_before_and_in_ehlo(peer: Peer) -> Observation:
    """The greeting and the replies to EHLO and HELO have no enhanced status code."""
    answers = [await peer.until_greeted(), await peer.ehlo(), await peer.helo()]
    plain: Expectation[Answer] = reply_that("no enhanced status code", lambda reply: not is_coded(reply))
    return all_of(*(expect(answer, plain) for answer in answers if answer.severity == 2))


@case("2034-4", needs=[ENHANCED], broken_by="enhanced-codes-missing")
async def one_code_for_all_lines(peer: Peer) -> Observation:
    """In a reply of several lines each begins with the same enhanced status code."""
    await peer.until_ready()
    answer = await peer.command(b"HELP")
    if len(answer.lines) < 2:
        raise Untested("no reply of several lines is known here", str(answer))
    codes = {line.split(b" ")[0] for line in answer.lines}
    same: Expectation[Answer] = that("one code for all lines", lambda answer: len(codes) == 1)
    return expect(answer, coded & same)


# What a code says of the trouble (RFC 3463 §3). X.0.0 says nothing, and X.7 that policy does not tell.

MEDIA = "enhanced-subject-is-always-media"
EVASIVE = ((0, None), (7, None))


def about(*right: tuple[int, int | None]) -> Expectation[Answer]:
    """The code has one of these subjects, with that detail unless it is None; or it is evasive."""
    shown = ", ".join(f"5.{subject}.{'*' if detail is None else detail}" for subject, detail in right)

    def fits(answer: Answer) -> bool:
        code = answer.enhanced
        return code is not None and any(
            code.subject == subject and detail in (None, code.detail) for subject, detail in right + EVASIVE
        )

    return that(f"{shown}, 5.0.* or 5.7.*", fits)


def refused_for_good(answer: Answer) -> Answer:
    """`answer`, if it is a 5yz with an enhanced code; else the question is not put."""
    if answer.severity != 5 or answer.enhanced is None:
        raise Untested("no refusal with an enhanced status code", str(answer))
    return answer


@case("2034-8", needs=[ENHANCED, RECIPIENT, UNKNOWN_RECIPIENT], broken_by=MEDIA)
async def subject_for_an_unknown_mailbox(peer: Peer) -> Observation:
    """The refusal of an unknown mailbox speaks of the address, the mailbox or the way there."""
    await peer.until_mail()
    answer = await peer.command(b"RCPT TO:<%s>" % peer.unknown_recipient.encode())
    await peer.until_rcpt()  # then it was the mailbox, and not the client or the sender
    return expect(refused_for_good(answer), about((1, None), (2, None), (4, None)))


@case("2034-8", needs=[ENHANCED, RECIPIENT, FOREIGN_RECIPIENT], broken_by=MEDIA)
async def subject_for_relaying(peer: Peer) -> Observation:
    """The refusal to relay speaks of policy, the address or the way there."""
    await peer.until_mail()
    answer = await peer.command(b"RCPT TO:<%s>" % peer.foreign_recipient.encode())
    await peer.until_rcpt()
    return expect(refused_for_good(answer), about((1, None), (4, None)))


@case("2034-8", needs=[ENHANCED], broken_by=MEDIA)
async def subject_for_protocol_errors(peer: Peer) -> Observation:
    """The refusal of an unknown command, and of one out of order, speaks of the protocol or the system."""
    await peer.until_allowed()
    answers = (await peer.command(b"XNOSUCH"), await peer.command(b"DATA"))
    return all_of(*(expect(refused_for_good(answer), about((5, None), (3, 3))) for answer in answers))


@case("2034-8", needs=[ENHANCED], broken_by=MEDIA)
async def subject_for_a_malformed_address(peer: Peer) -> Observation:
    """The refusal of a malformed reverse-path speaks of the address or of the protocol."""
    answer = await instead_of_mail(peer, b"MAIL FROM:<not an address>")
    return expect(refused_for_good(answer), about((1, None), (5, None)))


@case("2034-8", needs=[ENHANCED, EXTENSION("SIZE")], broken_by=MEDIA)
async def subject_for_a_message_too_large(peer: Peer) -> Observation:
    """The refusal of a declared size above the maximum speaks of the system's or the mailbox's limit."""
    await peer.until_allowed()
    limit = peer.extensions.size_limit
    if not limit:
        raise Untested("no fixed maximum is stated")
    answer = await peer.command(b"MAIL FROM:<%s> SIZE=%d" % (peer.sender.encode(), limit + 1))
    if answer.code != 552:
        raise Untested("not refused for its size", str(answer))
    return expect(refused_for_good(answer), about((2, None), (3, None)))
