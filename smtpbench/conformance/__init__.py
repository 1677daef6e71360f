"""The conformance runner: catalogue, cases' interface, grading and the pytest plugin.

Cases import from here; the guide to writing one is the docstring of `smtpbench.conformance.api`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smtpbench.conformance.api import *  # noqa: F403 - one list of names, kept in api
    from smtpbench.conformance.api import __all__ as __all__


def __getattr__(name: str) -> Any:
    """A name of the cases' interface. It is imported on first use: who only reads results needs no server."""
    if name == "__all__" or not name.startswith("_"):
        interface = import_module("smtpbench.conformance.api")
        if name in ("__all__", *getattr(interface, "__all__", ())):  # () while it is itself being imported
            return getattr(interface, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
