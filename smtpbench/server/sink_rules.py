"""A sink's script at work: which rule holds now, and when the hop is down. It knows no socket."""

from __future__ import annotations

import random
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate

from smtpbench.server.scripted import ScriptedReply
from smtpbench.server.sink_script import Moment, Rule, SinkScript

KNOWN_TRIPLETS = 200_000  # the oldest is forgotten, as a greylist does


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a session when a rule is looked for; addresses have no brackets."""

    client: str
    sender: bytes = b""
    recipients: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rule that holds, and its reply."""

    rule: Rule
    reply: ScriptedReply


class Rules:
    """The rules of a script; `elapsed` tells the seconds since the sink began to listen."""

    def __init__(self, script: SinkScript, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._rules: dict[Moment, list[_Watching]] = {}
        for number, rule in enumerate(script.rule):
            # its own numbers for each rule, so that one does not change what another draws
            watching = _Watching(rule, random.Random(f"{script.seed}/{number}"))
            self._rules.setdefault(rule.on, []).append(watching)

    def decide(self, moment: Moment, facts: Facts) -> Verdict | None:
        """The first rule that holds, if one does."""
        now = self._elapsed()
        for watching in self._rules.get(moment, ()):
            if watching.holds(facts, now):
                return Verdict(watching.rule, watching.rule.answer(watching.delay()))
        return None


class _Watching:
    """One rule, with what it needs to remember."""

    def __init__(self, rule: Rule, numbers: random.Random) -> None:
        self.rule = rule
        self._numbers = numbers
        self._sender = _pattern(rule.sender)
        self._recipient = _pattern(rule.recipient)
        self._domain = _pattern(rule.domain)
        self._first_seen: OrderedDict[tuple[str, bytes, bytes], float] = OrderedDict()

    def holds(self, facts: Facts, now: float) -> bool:
        """Whether all conditions do; the share is drawn last, and only if the others hold."""
        rule = self.rule
        return (
            (rule.window_s is None or rule.window_s[0] <= now < rule.window_s[1])
            and (self._sender is None or _matches(self._sender, facts.sender))
            and self._has_recipient(facts)
            and (rule.share == 1 or self._numbers.random() < rule.share)
            and (rule.greylist_s is None or self._is_new(facts, now, rule.greylist_s))
        )

    def delay(self) -> float:
        """How late the reply is, in seconds."""
        mean = self.rule.exponential_s
        return self.rule.delay_s + (self._numbers.expovariate(1 / mean) if mean else 0.0)

    def _has_recipient(self, facts: Facts) -> bool:
        if self._recipient is None and self._domain is None:
            return True
        return any(
            (self._recipient is None or _matches(self._recipient, address))
            and (self._domain is None or _matches(self._domain, address.rpartition(b"@")[2]))
            for address in facts.recipients
        )

    def _is_new(self, facts: Facts, now: float, wait: float) -> bool:
        triplet = (facts.client, facts.sender.lower(), facts.recipients[-1].lower())
        first = self._first_seen.setdefault(triplet, now)
        if len(self._first_seen) > KNOWN_TRIPLETS:
            self._first_seen.popitem(last=False)
        return now - first < wait


def _pattern(glob: str | None) -> re.Pattern[str] | None:
    return None if glob is None else re.compile(translate(glob), re.IGNORECASE)


def _matches(pattern: re.Pattern[str], octets: bytes) -> bool:
    return pattern.match(octets.decode("utf-8", "replace")) is not None


def changes(script: SinkScript) -> Iterator[tuple[float, bool]]:
    """When the hop goes down (False) and comes up again (True), in order, in seconds; it begins up at 0."""
    outages = [(_us(begin), _us(end)) for begin, end in script.outages_s]
    flapping = script.flapping
    up_us, period = (_us(flapping.up_s), _us(flapping.up_s + flapping.down_s)) if flapping else (0, 0)
    up, now = True, 0
    while True:
        down = any(begin <= now < end for begin, end in outages) or (period and now % period >= up_us)
        if up is bool(down):
            up = not down
            yield now / 1e6, up
        edges = [edge for outage in outages for edge in outage if edge > now]
        if period:
            edges.append(now - now % period + (up_us if now % period < up_us else period))
        if not edges:
            return
        now = min(edges)


def _us(seconds: float) -> int:
    """In whole µs, which can be compared and added without error."""
    return max(round(seconds * 1e6), 0)
