"""The conformance runner: catalogue, cases' interface, grading and the pytest plugin.

Cases import from here; the guide to writing one is the docstring of `smtpbench.conformance.api`.
"""

from __future__ import annotations

from smtpbench.conformance.api import *  # noqa: F403 - one list of names, kept in api
from smtpbench.conformance.api import __all__ as __all__
