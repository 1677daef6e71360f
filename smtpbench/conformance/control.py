"""The control for a close or a silence: does the server keep up a plain session, asked nothing special?

A case that ends in an unexpected close or silence accuses the server of a breach of its own question. That
is wrong where the server closes after every command, has died meanwhile, or answers nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable

from smtpbench.conformance.answer import Answer, Ending
from smtpbench.conformance.conversation import TurnedAway
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer
from smtpbench.errors import SessionError
from smtpbench.target import Role

# Several, for the fault in question may be in one of these commands.
_PLAIN = ((b"EHLO", b"NOOP"), (b"EHLO", b"RSET"), (b"NOOP", b"NOOP"), (b"HELO", b"NOOP"))


async def unsteady(new_peer: Callable[[], Peer]) -> str | None:
    """What is wrong with the server at large; None if one plain session of two commands is answered."""
    said = ""
    for commands in _PLAIN:
        peer = new_peer()
        try:
            greeting = await peer.connect()
            if not greeting.replies:
                return f"a plain session is not greeted: {greeting.seen}"
            said = await _trouble(peer, commands)
        except (SessionError, TurnedAway, Untested) as error:
            return f"the target stopped answering: {error}"
        finally:
            await peer.close()
        if not said:
            return None
    return f"a plain session does not last: {said}"


async def _trouble(peer: Peer, commands: tuple[bytes, ...]) -> str:
    for verb in commands:
        answer = await (_hello(peer, verb) if verb in (b"EHLO", b"HELO") else peer.command(verb))
        if answer.ending is not Ending.OPEN:
            return str(answer)
    settled = await peer.settle()
    return f"{commands[-1].decode()}, then {settled.seen}" if settled.closed else ""


async def _hello(peer: Peer, verb: bytes) -> Answer:
    return await (peer.ehlo() if verb == b"EHLO" or peer.role is Role.LMTP else peer.helo())
