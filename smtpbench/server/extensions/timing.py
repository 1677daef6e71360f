"""Times that a client asks for: DELIVERBY (RFC 2852) and FUTURERELEASE (RFC 4865)."""

from __future__ import annotations

from datetime import timedelta

from smtpbench.server.commands import Refusal, Transaction
from smtpbench.server.extensions.hooks import Hooks
from smtpbench.wire.parameters import parse_by, parse_date_time
from smtpbench.wire.parse import Command, Parameters

MIN_BY = 60  # seconds: the shortest time in which we would promise delivery


class DeliverBy(Hooks):
    """The shortest time is announced, and a shorter one refused; what is delivered at once is in time."""

    def keyword_value(self, keyword: str) -> str:
        """The shortest time, in seconds."""
        return f" {MIN_BY}" if keyword == "DELIVERBY" else super().keyword_value(keyword)

    def check_mail(self, command: Command) -> Refusal | None:
        """A message that is to be returned after less than the shortest time is not taken."""
        by = parse_by(command.parameters.get("BY") or "")
        if by is not None and by[1] == "R" and by[0] < MIN_BY:
            return 455, "4.3.3", f"Delivery in less than {MIN_BY} seconds cannot be promised"
        return super().check_mail(command)


class FutureRelease(Hooks):
    """A message is taken at once and delivered when its time has come."""

    def keyword_value(self, keyword: str) -> str:
        """The longest interval in seconds, and the latest moment."""
        if keyword != "FUTURERELEASE":
            return super().keyword_value(keyword)
        latest = self._now() + timedelta(seconds=self.config.max_hold)
        return f" {self.config.max_hold} {latest:%Y-%m-%dT%H:%M:%SZ}"

    def check_mail(self, command: Command) -> Refusal | None:
        """One time, ahead of us and not too far."""
        if {"HOLDFOR", "HOLDUNTIL"} <= command.parameters.keys():
            return 501, "5.5.4", "HOLDFOR and HOLDUNTIL exclude each other"
        seconds = self.held_seconds(command.parameters)
        if seconds is not None and not 0 < seconds <= self.config.max_hold:
            return 501, "5.5.4", "The time of release is past, or too far in the future"
        return super().check_mail(command)

    def held_seconds(self, parameters: Parameters) -> float | None:
        """How long from now a message with these parameters is to be held; None if it is not."""
        interval, until = parameters.get("HOLDFOR"), parameters.get("HOLDUNTIL")
        if interval is not None:
            return float(interval)
        moment = parse_date_time(until) if until is not None else None
        return None if moment is None else (moment - self._now()).total_seconds()

    def hold(self, transaction: Transaction) -> float:
        """The interval, or what is left until the moment."""
        return max(self.held_seconds(transaction.parameters) or 0.0, super().hold(transaction))

    def clauses(self, transaction: Transaction) -> tuple[str, ...]:
        """RFC 6729: the message is held because a time was asked for."""
        held = () if self.held_seconds(transaction.parameters) is None else ("STATE timed",)
        return (*held, *super().clauses(transaction))
