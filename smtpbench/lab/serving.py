"""The child's half of `process.Child`, for servers that run in Python."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from pathlib import Path


def arguments(*positional: str) -> argparse.Namespace:
    """The command line of such a server: what is named, and what it is told where it is started again."""
    parser = argparse.ArgumentParser()
    for name in positional:
        parser.add_argument(name)
    parser.add_argument("--ports", type=json.loads, default={})
    parser.add_argument("--fault", action="append", default=[])
    return parser.parse_args()


def announce(ports: dict[str, int], **more: str) -> None:
    """Say that we are ready: role → port, and what else the parent wants to know."""
    sys.stdout.write(json.dumps({"ports": ports, **more}) + "\n")
    sys.stdout.flush()


async def told_to_stop() -> None:
    """Return when standard input has a line or ends, which it does when our parent is gone."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    descriptor = sys.stdin.fileno()
    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, told.set)
    try:
        await told.wait()
    finally:
        loop.remove_reader(descriptor)


def leave(folder: Path) -> None:
    """Remove the folder: the parent does so too, but not if it was killed."""
    shutil.rmtree(folder, ignore_errors=True)
