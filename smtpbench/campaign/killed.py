"""What the ledgers of a crash campaign say that was killed itself, before it could write its result."""

from __future__ import annotations

from pathlib import Path

from smtpbench.campaign.fault_result import FaultResult, Judged, OverloadResult, Promises
from smtpbench.campaign.queue import KILLED, recover
from smtpbench.delivery.ledger import FILE
from smtpbench.errors import UsageError


def recover_faults(folder: Path) -> OverloadResult:
    """A result without verdicts, from the ledgers below `folder`: one for each fault. Raises UsageError."""
    ledgers = sorted(folder.glob(f"*/{FILE}"), key=lambda path: path.stat().st_ctime_ns)
    if not ledgers:
        raise UsageError(f"{folder}: no ledger is in this folder")
    result = OverloadResult(verdicts=Promises(process_crash=Judged(reason=KILLED)))
    for path in ledgers:
        known = recover(path.parent)
        result.smtpbench, result.target = known.smtpbench, known.target
        result.started = result.started or known.started
        result.add(
            FaultResult(
                fault=path.parent.name, untested=KILLED, observer=known.observer, ledger=known.ledger,
                examples=known.examples, end_to_end=known.end_to_end, queue_depth=known.queue_depth,
            )
        )  # fmt: skip
    return result
