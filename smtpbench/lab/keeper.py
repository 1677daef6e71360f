"""Keeps a lab server up after ``lab up`` has returned: ``python -m smtpbench.lab.keeper NAME``.

It starts the recipe, records itself, says one line of JSON to ``lab up`` and waits for SIGTERM. If it is
killed, its server sees the end of standard input and stops all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from smtpbench.errors import EXIT_INTERNAL, Inconclusive, SmtpbenchError, UsageError
from smtpbench.lab import state
from smtpbench.lab.process import KILL_WAIT, STOP_WAIT
from smtpbench.lab.recipes import recipe
from smtpbench.target import Target

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
POLL = 0.05


def up(name: str) -> Target:
    """Start `name` and leave it up. Raises UsageError if it is up already, or what its recipe raises."""
    recipe(name)
    if state.find(name) is not None:
        raise UsageError(f"lab:{name} is up already: smtpbench lab down {name}")
    with (state.folder() / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpbench.lab.keeper", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # bounded: a recipe gives up by itself, and then the pipe ends
    except BaseException:
        process.terminate()
        raise
    return _answer(name, line)


def _answer(name: str, line: bytes) -> Target:
    answer: dict[str, Any] = json.loads(line) if line else {"error": "its keeper died"}
    if "error" not in answer:
        return Target.model_validate(answer["target"])
    for kind in (UsageError, Inconclusive):
        if answer.get("exit_code") == kind.exit_code:
            raise kind(answer["error"])
    raise SmtpbenchError(f"lab:{name}: {answer['error']}")


def down(name: str) -> None:
    """Stop `name` and wait until its keeper is gone. Raises UsageError if it is not up."""
    recipe(name)
    found = state.find(name)
    if found is None:
        raise UsageError(f"lab:{name} is not up")
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    if not _gone(found, STOP_WAIT + 2 * KILL_WAIT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)
        if not _gone(found, KILL_WAIT):
            raise SmtpbenchError(f"lab:{name}: process {found.pid} does not end")
    state.remove(name)
    (state.folder() / f"{name}.log").unlink(missing_ok=True)


def _gone(found: state.Up, within: float) -> bool:
    deadline = time.monotonic() + within
    while state.started_at(found.pid) == found.started:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)  # it is not our child, so there is nothing to wait on
    return True


def _say(**answer: object) -> None:
    """Answer ``lab up``, and let go of the pipe to it."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    with open(os.devnull, "w", encoding="ascii") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _leave(*_: object) -> None:
    """Unwind, which stops the server; once."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def _keep(name: str) -> None:
    for number in SIGNALS:
        signal.signal(number, _leave)
    with recipe(name).start() as target:
        state.write(name, target)
        try:
            _say(target=target.model_dump(mode="json", exclude_unset=True))
            while True:
                signal.pause()
        finally:
            state.remove(name)


def main() -> None:
    """Keep the server that the command line names."""
    try:
        _keep(sys.argv[1])
    except SmtpbenchError as error:
        _say(error=str(error), exit_code=error.exit_code)
        sys.exit(error.exit_code)
    except Exception as error:
        _say(error=f"{type(error).__name__}: {error}", exit_code=EXIT_INTERNAL)
        raise


if __name__ == "__main__":
    main()
