"""The part of a queue result that a retry campaign makes: each message, and the schedule."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from smtpbench.conformance.result import Verdict


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Judged(_Model):
    """A verdict, with the sentence of RFC 5321 that it is about."""

    verdict: Verdict
    level: str
    section: str
    requirement: str
    reason: str | None = None


class RetryAttempt(_Model):
    """One attempt of the target, `t_s` after the campaign began, and what our hop answered.

    `reused`: over a connection that had carried another message before.
    """

    t_s: float
    reply: str
    reused: bool = False


class RetryMessage(Judged):
    """One recipient: what our hop `does`, and how it ended. All times are in seconds.

    `end` is delivered, bounced once, bounced twice, no report, silent, pending, not accepted, or several.
    Attempts that our hop refuses a connection to are not seen, and are not among `attempts`.
    """

    kind: str
    does: str
    expected: str
    end: str
    attempts: list[RetryAttempt] = []
    intervals_s: list[float] = []
    delivered_s: list[float] = []
    bounced_s: list[float] = []
    delay_reports: int = 0
    unstrict_reports: int = 0


class RetryRule(Judged):
    """A rule on the schedule, over all messages."""

    name: str


class Retries(_Model):
    """A whole retry campaign. `factor`: how many times as fast as in production the target is configured."""

    factor: float | None = None
    wait_s: float
    silence_s: float | None = None  # after which nothing more was expected of a message; None: not known
    messages: list[RetryMessage] = []
    schedule: list[RetryRule] = []

    @property
    def judged(self) -> list[Judged]:
        """Everything that has a verdict."""
        return [*self.messages, *self.schedule]

    def count(self, *verdicts: Verdict) -> int:
        """How many of them have one of `verdicts`."""
        return sum(one.verdict in verdicts for one in self.judged)

    @property
    def inconclusive(self) -> bool:
        """Whether too much is untested to say anything: half of the messages."""
        untested = sum(one.verdict is Verdict.UNTESTED for one in self.messages)
        return 2 * untested >= len(self.messages)
