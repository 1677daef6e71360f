"""Named faults. Import this package and every fault module in it is registered in `FAULTS`."""

from __future__ import annotations

import importlib
import pkgutil

from smtpbench.server.faults.registry import BASES, FAULTS, Fault, fault, faulty, with_faults

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["BASES", "FAULTS", "Fault", "fault", "faulty", "with_faults"]
