"""The registry of faults: deliberate, named, small deviations of the reference server.

A fault is a subclass of `Receiver`, `Courier` or `Relay` that overrides one small method, sometimes two,
and calls `super()` for the rest, so that several compose. It exists to turn red the cases that name it,
and only those.

To add one, put a class into any module of this package:

    @fault("noop-not-recognised", "5321-B-21")
    class NoopNotRecognised(Receiver):
        \"""NOOP is answered 500.\"""

        def do_noop(self, command: Command) -> None:
            self.reply(500, "5.5.2", "Command not recognized")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from smtpbench.errors import UsageError
from smtpbench.server.outbound import Courier
from smtpbench.server.receiver import Receiver
from smtpbench.server.relay import Relay

BASES = (Receiver, Courier, Relay)  # what a fault can be a mixin of
_Mixin = TypeVar("_Mixin", bound=type[Receiver | Courier | Relay])
_Base = TypeVar("_Base", Receiver, Courier, Relay)


@dataclass(frozen=True, slots=True)
class Fault:
    """One named deviation. `requirements` are the catalogue rows that it breaks."""

    name: str
    summary: str
    mixin: type[Receiver | Courier | Relay]
    requirements: tuple[str, ...]


FAULTS: dict[str, Fault] = {}


def fault(name: str, *requirements: str) -> Callable[[_Mixin], _Mixin]:
    """Class decorator: register a mixin under `name`; the first line of its docstring is the summary."""

    def register(mixin: _Mixin) -> _Mixin:
        if name in FAULTS:
            raise ValueError(f"fault {name!r} is registered twice")
        summary = (mixin.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
        FAULTS[name] = Fault(name, summary, mixin, requirements)
        return mixin

    return register


def with_faults(names: Iterable[str]) -> type[Receiver]:
    """A receiver with the faults of `names`, none for none. Raises UsageError for an unknown name."""
    return faulty(Receiver, names)


def faulty(base: type[_Base], names: Iterable[str]) -> type[_Base]:
    """`base` with those faults of `names` that are mixins of it. Raises UsageError for an unknown name."""
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in FAULTS]
    if unknown:
        raise UsageError(f"unknown fault {', '.join(unknown)}: see `smtpbench serve --list-faults`")
    mixins = {name: FAULTS[name].mixin for name in wanted if issubclass(FAULTS[name].mixin, base)}
    if not mixins:
        return base
    _check_independent(mixins, base)
    summary = f"A {base.__name__.lower()} with the faults {', '.join(mixins)}."
    return type(f"Faulty{base.__name__}", tuple(mixins.values()), {"__doc__": summary})


def _check_independent(mixins: dict[str, type], base: type) -> None:
    """Refuse two faults that share a helper class: the second would take the first one's settings."""
    owner: dict[type, str] = {}
    for name, mixin in mixins.items():
        for ancestor in set(mixin.__mro__) - set(base.__mro__):
            if ancestor in owner:
                raise UsageError(f"faults {owner[ancestor]} and {name} cannot be combined")
            owner[ancestor] = name
