"""MAIL and RCPT lines of a case's own making, each in a session where a proper one is accepted too."""

from __future__ import annotations

from smtpbench.conformance.answer import Answer
from smtpbench.conformance.peer import Peer

_REFUSALS = (4, 5)


def mail_line(sender: str, parameters: str = "") -> bytes:
    """``MAIL FROM:<sender>``, and `parameters` as they stand, be they right or wrong."""
    return f"MAIL FROM:<{sender}> {parameters}".rstrip().encode()


def rcpt_line(recipient: str, parameters: str = "") -> bytes:
    """``RCPT TO:<recipient>``, and `parameters` as they stand."""
    return f"RCPT TO:<{recipient}> {parameters}".rstrip().encode()


async def instead_of_mail(peer: Peer, line: bytes) -> Answer:
    """The reply to `line` where a MAIL may come, in a session of its own.

    Raises Untested if `line` is refused and a MAIL with the fixture's sender after it is refused too:
    then the refusal was for the client, not for the line.
    """
    session = peer.new_session()
    await session.until_allowed()
    answer = await session.command(line)
    if answer.severity in _REFUSALS:
        await session.until_mail()
    return answer


async def instead_of_rcpt(peer: Peer, line: bytes, **parameters: str | None) -> Answer:
    """The reply to `line` where a RCPT may come, in a session of its own. Needs RECIPIENT.

    `parameters` are those of the MAIL before it. Raises Untested if `line` is refused and the fixture's
    recipient after it is refused too.
    """
    session = peer.new_session()
    await session.until_mail(**parameters)
    answer = await session.command(line)
    if answer.severity in _REFUSALS:
        await session.until_rcpt()
    return answer


async def mail_with(peer: Peer, parameters: str) -> Answer:
    """`instead_of_mail` with the fixture's sender and these parameters."""
    return await instead_of_mail(peer, mail_line(peer.sender, parameters))


async def rcpt_with(peer: Peer, parameters: str) -> Answer:
    """`instead_of_rcpt` with the fixture's recipient and these parameters. Needs RECIPIENT."""
    return await instead_of_rcpt(peer, rcpt_line(peer.recipient, parameters))
