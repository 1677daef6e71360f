"""Replies that a script puts in place of the usual ones: later, others, or none and the connection gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smtpbench.server.dialogue import Dialogue, Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedReply:
    """One reply. `delay_s` passes before it; with `close` the connection is closed after it.

    A positive `code` stands for the usual reply and its effect. Code 0 sends nothing, so that
    ``ScriptedReply(code=0, close=True)`` breaks the connection off.
    """

    code: int = 250
    enhanced: str = ""
    text: str = "OK"
    delay_s: float = 0.0
    close: bool = False

    @property
    def positive(self) -> bool:
        """Whether the command that is answered so takes effect."""
        return 200 <= self.code < 400


ACCEPT = ScriptedReply()


class Scripted(Dialogue):
    """A session that answers as it is told, perhaps after a while."""

    _due: Callable[[], None] | None = None

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do `act` when `seconds` have passed; no other command is looked at meanwhile."""
        if not seconds:
            act()
            return
        self._due = act
        self.action = Wait(seconds)

    def waited(self) -> bytes:
        """The delay is over; what to send."""
        assert self._due is not None
        act, self._due = self._due, None
        self.action = None
        act()
        return self.run()

    def answer(self, reply: ScriptedReply, usual: Callable[[], None] | None = None) -> None:
        """Give `reply`; a positive one stands for `usual`, if there is such a thing."""

        def give() -> None:
            if usual is not None and reply.positive:
                usual()
            elif reply.code:
                self.reply(reply.code, reply.enhanced, reply.text)
            if reply.close:
                self.close()

        self.after(reply.delay_s, give)
