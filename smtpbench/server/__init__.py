"""The receiver side: strict reference server, sink, and their named faults."""

from __future__ import annotations

from smtpbench.server.faults import FAULTS, Fault, fault

__all__ = ["FAULTS", "Fault", "fault"]
