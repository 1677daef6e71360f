"""Who works for a master, under which name, and what became of each. No socket, no clock, no Locust.

introduce ──► ready ──deal──► working ──last batch──► finished
    │                            ├────last batch before the run was over──► left
    ▼                            └────went silent, or could not begin────► lost
 refused                     (after the deal, if no share is left for it: late)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ready", "working", "finished", "left", "lost", "late", "refused"]


@dataclass(slots=True)
class Worker:
    """One engine process. `part` is which part of the workload it does; None while it does none."""

    name: str
    state: State = "ready"
    part: int | None = None
    reason: str = ""


class Roster:
    """The workers of one master by Locust's id of them, in the order in which they came."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def __getitem__(self, worker_id: str) -> Worker:
        return self._workers.setdefault(worker_id, Worker(worker_id))

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._workers

    def items(self) -> Iterable[tuple[str, Worker]]:
        """Every worker that was ever there, with its id."""
        return self._workers.items()

    def introduce(self, worker_id: str, name: str) -> None:
        """A worker says what it is called; a name that another one has is told apart."""
        others = {worker.name for known, worker in self._workers.items() if known != worker_id}
        self[worker_id].name = name if name not in others else f"{name} ({worker_id[-6:]})"

    def refuse(self, worker_id: str, state: Literal["late", "refused"], reason: str) -> bool:
        """A worker gets no work, for a reason; whether that is news."""
        worker = self[worker_id]
        if worker.state == state:
            return False
        worker.state, worker.reason = state, reason
        return True

    def deal(self, worker_ids: Iterable[str]) -> None:
        """A run begins: its parts go to these workers. What is known of an earlier run is forgotten."""
        for worker in self._workers.values():
            if worker.state != "refused":
                worker.state, worker.part, worker.reason = "ready", None, ""
        for worker_id in worker_ids:
            self.join(worker_id)

    def join(self, worker_id: str) -> None:
        """One more worker gets a part."""
        part, worker = self.parts, self[worker_id]
        worker.state, worker.part = "working", part

    def ended(self, worker_id: str, *, early: bool) -> None:
        """Its last batch has come; `early` if the run still goes on and the worker had more to send."""
        worker = self[worker_id]
        if worker.state in ("working", "lost"):
            worker.state = "left" if early else "finished"

    def lose(self, worker_id: str, reason: str) -> bool:
        """A worker went away without a last batch; whether that is news."""
        worker = self[worker_id]
        if worker.state != "working":
            return False
        worker.state, worker.reason = "lost", reason
        return True

    def heard(self, worker_id: str) -> bool:
        """A worker reports; whether it is one that was given up."""
        worker = self[worker_id]
        if worker.state != "lost":
            return False
        worker.state, worker.reason = "working", ""
        return True

    @property
    def parts(self) -> int:
        """How many parts the workload has."""
        return sum(worker.part is not None for worker in self._workers.values())

    @property
    def working(self) -> list[str]:
        """Those from whom a last batch is due."""
        return [worker_id for worker_id, worker in self._workers.items() if worker.state == "working"]
