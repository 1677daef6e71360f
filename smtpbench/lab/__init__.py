"""Recipes that start real servers on loopback, and the way from a TARGET argument to a target."""

from smtpbench.lab.opening import EMBEDDED, is_lab, open_running, open_target
from smtpbench.lab.options import TargetOptions, apply_options

__all__ = ["EMBEDDED", "TargetOptions", "apply_options", "is_lab", "open_running", "open_target"]
