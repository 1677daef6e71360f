"""RFC 5321 §4.1.4: commands in any order. The state table of a receiver must explain every reply."""

from __future__ import annotations

from smtpbench.conformance import RECIPIENT, Observation, Peer, case, expect, search_random_order, that

COMMANDS_IN_ANY_ORDER = "every reply to be one that some state of a receiver explains"


ROWS = ("5321-C-1", "5321-C-2", "5321-C-3", "5321-C-51", "5321-B-11", "5321-B-23", "5321-B-39")


@case(*ROWS, needs=[RECIPIENT], broken_by="later-transaction-ends-at-a-syntax-error", deadline=60.0)
async def every_reply_is_explained_by_a_state(peer: Peer) -> Observation:
    """In random dialogues no command is refused as out of order that is not, and no RCPT accepted that is.

    Legal and illegal commands are sent in random order, the same for the same `--seed`. A receiver that
    loses track of its session after some sequence is hard to find with sequences that somebody thought of.
    The report has the shortest dialogue that shows it.
    """
    found = await search_random_order(peer, peer.seed)
    return expect(found, that(COMMANDS_IN_ANY_ORDER, lambda seen: not seen.said))
