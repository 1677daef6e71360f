"""The registry of faults: deliberate, named, small deviations of the reference server.

A fault is a mixin over `Receiver`: one class, one or two overridden methods, nothing else. It exists to
turn red the cases that name it, and only those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from smtpbench.errors import UsageError

_Mixin = TypeVar("_Mixin", bound=type)


@dataclass(frozen=True, slots=True)
class Fault:
    """One named deviation. `requirements` are the catalogue rows that it breaks."""

    name: str
    summary: str
    mixin: type
    requirements: tuple[str, ...]


FAULTS: dict[str, Fault] = {}


def fault(name: str, *requirements: str) -> Callable[[_Mixin], _Mixin]:
    """Class decorator: register a mixin under `name`; the first line of its docstring is the summary."""

    def register(mixin: _Mixin) -> _Mixin:
        if name in FAULTS:
            raise ValueError(f"fault {name!r} is registered twice")
        summary = (mixin.__doc__ or "").strip().partition("\n")[0]
        FAULTS[name] = Fault(name, summary, mixin, requirements)
        return mixin

    return register


def with_faults(base: _Mixin, names: tuple[str, ...]) -> _Mixin:
    """`base` with the mixins of `names` before it. Raises UsageError for a name that is not registered."""
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise UsageError(f"unknown fault {', '.join(unknown)}: see `smtpbench serve --list-faults`")
    if not names:
        return base
    mixins = tuple(FAULTS[name].mixin for name in names)
    return type(base.__name__, (*mixins, base), {"__doc__": base.__doc__})  # type: ignore[return-value]
