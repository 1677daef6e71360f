"""A mailbox that is not there proves nothing of what was accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpbench.conformance.api import Peer
from smtpbench.conformance.conversation import Surroundings
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.reference import reference
from smtpbench.conformance.survey import survey
from smtpbench.delivery.observers.files import MaildirObserver, MboxObserver
from smtpbench.lab.workspace import Workspace
from smtpbench.target import Role


async def delivered(place: Workspace, observer: MaildirObserver | MboxObserver) -> int:
    """How many messages are seen of one that the reference server has accepted, and has elsewhere."""
    async with reference(place) as (target, _), observer:
        facts = await survey(target, observable=True)
        peer = Peer(Surroundings(facts, observer, None, target.main, Role.MX))
        try:
            delivery = await peer.delivered(peer.marked_body(b"text\r\n"))
        finally:
            await peer.close()
    assert delivery.severity == 2
    return len(delivery.messages)


@pytest.mark.parametrize(("make", "what"), [(MaildirObserver, "Maildir"), (MboxObserver, "mbox")])
async def test_where_there_is_none_it_is_untested(
    place: Workspace, tmp_path: Path, make: type[MaildirObserver | MboxObserver], what: str
) -> None:
    with pytest.raises(Untested, match=f"there is no {what} at {tmp_path}/mistyped"):
        await delivered(place, make(tmp_path / "mistyped"))


async def test_an_empty_one_says_that_nothing_was_delivered(place: Workspace, tmp_path: Path) -> None:
    for folder in ("new", "cur", "tmp"):
        (tmp_path / "box" / folder).mkdir(parents=True)
    assert await delivered(place, MaildirObserver(tmp_path / "box")) == 0
