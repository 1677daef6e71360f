"""RFC 2034, ENHANCEDSTATUSCODES: a second code in the text of replies."""

from __future__ import annotations

from smtpbench.conformance import (
    EXTENSION,
    RECIPIENT,
    Answer,
    Expectation,
    Observation,
    Peer,
    Reply,
    Untested,
    all_of,
    case,
    expect,
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
    return [answer for answer in answers if answer.replies]


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
