"""How a lab server runs short of something: the ``[shortage]`` section of its target."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from smtpbench.target import Disturb, Shortage


def shortages(port: int, folder: Path) -> Shortage:
    """The commands (see squeeze.py) for the server that listens at `port`.

    What has to be put back is kept in `folder`, the workspace's.
    """
    kinds = {kind: _both(kind, port, folder / f"{kind}.json") for kind in ("disk-full", "descriptors")}
    return Shortage.model_validate(kinds)


def _both(kind: str, port: int, file: Path) -> Disturb:
    def command(what: str) -> str:
        return shlex.join([sys.executable, "-m", "smtpbench.lab.squeeze", kind, what, str(port), str(file)])

    return Disturb(strike=command("strike"), recover=command("recover"))
