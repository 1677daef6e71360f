"""What a master and its workers say of themselves, and how a result tells what became of each worker."""

from __future__ import annotations

import os
import socket
from statistics import fmean
from typing import Any

from smtpbench import __version__
from smtpbench.errors import Inconclusive, SmtpbenchError, UsageError
from smtpbench.load.collect import Collector
from smtpbench.load.result import LoadResult, WorkerReport
from smtpbench.load.roster import Roster, Worker

LOCAL = "local"  # the one engine of a run without workers
NAME_MAX = 100  # characters of a worker's name: it comes over the network


def introduction() -> dict[str, Any]:
    """What a worker says first: its name, the host and the process, and which smtpbench it is."""
    return {"name": f"{socket.gethostname()}:{os.getpid()}", "smtpbench": __version__}


def introduced_name(introduced: Any, otherwise: str) -> str:
    """The name in an introduction, if it is one; anybody may connect."""
    name = introduced.get("name") if isinstance(introduced, dict) else None
    return name[:NAME_MAX] if isinstance(name, str) and name else otherwise


def refusal(introduced: Any) -> str | None:
    """Why a worker with this introduction gets no work; None if it does.

    What passes between us is ours alone, so that nothing but the same version is known to understand it.
    """
    version = introduced.get("smtpbench") if isinstance(introduced, dict) else None
    if version == __version__:
        return None
    theirs = (
        f"smtpbench {str(version)[:NAME_MAX]}" if version else "an smtpbench that does not say its version"
    )
    return f"it runs {theirs}, the master {__version__}: install the same on both"


def refused_by(host: str, port: int, data: dict[str, Any]) -> SmtpbenchError:
    """The error of a worker that a master has refused."""
    kind = Inconclusive if data["state"] == "late" else UsageError
    return kind(f"no work from the master at {host}:{port} for this worker: {data['reason']}")


def complete(result: LoadResult, roster: Roster, collector: Collector, *, is_open: bool) -> None:
    """Say in `result` what each worker did, and what its loss means."""
    told = {worker_id: worker for worker_id, worker in roster.items() if worker_id != LOCAL}
    reports = {worker_id: _report(worker_id, worker, collector) for worker_id, worker in told.items()}
    whole = [reports[one].offered for one, worker in told.items() if worker.state in ("finished", "working")]
    for worker_id, worker in told.items():
        report = reports[worker_id]
        if worker.state in ("late", "refused"):
            result.notes.append(f"worker {worker.name} did no work: {worker.reason}")
        elif worker.state in ("lost", "left"):
            if is_open and whole:  # the plan is dealt out in turns, so all shares are alike
                report.not_offered = max(round(fmean(whole)) - report.offered, 0)
            result.invalid_reasons.append(_loss(report, result, roster.parts, is_open=is_open))
        elif not report.measured_s and worker.part is not None:
            result.invalid_reasons.append(f"worker {worker.name} reported nothing")
    result.generator.workers = list(reports.values())
    for use in result.generator.processes:  # the collector knows them by Locust's ids
        use.name = told[use.name].name if use.name in told else use.name
    result.valid = not result.invalid_reasons


def _report(worker_id: str, worker: Worker, collector: Collector) -> WorkerReport:
    did = collector.of(worker_id)
    return WorkerReport(
        name=worker.name, state=worker.state, reason=worker.reason,
        measured_s=round(did.span_ns / 1e9, 3), cpu_s=round(did.use.sums["cpu_ns"] / 1e9, 3),
        sessions=did.counts["sessions"], offered=did.counts["offered"] + did.carried,
        accepted=did.counts["accepted"], failed=did.failed,
    )  # fmt: skip


def _loss(report: WorkerReport, result: LoadResult, parts: int, *, is_open: bool) -> str:
    """What a worker that went away took with it."""
    how = "left" if report.state == "left" else "was lost"
    why = f" ({report.reason})" if report.reason else ""
    gone = f"worker {report.name} {how} after {report.measured_s:.1f} s{why}"
    if report.not_offered:
        plan = report.not_offered + result.totals.offered
        share = f"{report.not_offered / plan:.1%} of the plan"
        return f"{gone}: {report.not_offered:,} arrivals were not offered, {share}"
    of_what = "arrivals" if is_open else "users"
    return f"{gone}: its share, 1 of {parts}, of the {of_what} is missing from then on"
