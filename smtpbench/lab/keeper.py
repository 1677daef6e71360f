"""Keeps a lab server up after ``lab up`` has returned: ``python -m smtpbench.lab.keeper NAME``.

It starts the recipe, records itself, says one line of JSON to ``lab up`` and waits for SIGTERM. If it is
killed, its server sees the end of standard input and stops all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from typing import Any

from smtpbench.errors import EXIT_INTERNAL, Inconclusive, SmtpbenchError, UsageError
from smtpbench.lab import state
from smtpbench.lab.process import KILL_WAIT, STOP_WAIT
from smtpbench.lab.recipes import recipe
from smtpbench.target import Target

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def up(name: str) -> Target:
    """Start `name` and leave it up. Raises UsageError if it is up already, or what its recipe raises."""
    recipe(name)
    if state.find(name) is not None:
        raise UsageError(f"lab:{name} is up already: smtpbench lab down {name}")
    with (state.folder() / f"{name}.log").open("wb") as log:
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as answers:
            try:
                pid = _spawn(name, writer, log.fileno())
            finally:
                os.close(writer)
            try:
                line = answers.readline()  # bounded: a recipe gives up by itself, and then the pipe ends
            except BaseException:
                os.kill(pid, signal.SIGTERM)
                raise
    return _answer(name, line)


def _spawn(name: str, answers: int, log: int) -> int:
    """Start the keeper in a session of its own. It is meant to outlive us, so it is no `subprocess.Popen`."""
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "smtpbench.lab.keeper", name],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, answers, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )


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
        keeper = os.pidfd_open(found.pid)  # it is not our child: a descriptor is what can be waited on
        try:
            _end(keeper, found)
        finally:
            os.close(keeper)
    state.remove(name)
    (state.folder() / f"{name}.log").unlink(missing_ok=True)


def _end(keeper: int, found: state.Up) -> None:
    if state.started_at(found.pid) != found.started:
        return  # it ended just now, and the descriptor is another process's
    for number, within in ((signal.SIGTERM, STOP_WAIT + 2 * KILL_WAIT), (signal.SIGKILL, KILL_WAIT)):
        signal.pidfd_send_signal(keeper, number)
        if select.select([keeper], [], [], within)[0]:
            return
    raise SmtpbenchError(f"lab:{found.name}: process {found.pid} does not end")


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
