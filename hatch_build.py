"""Builds `smtpbench/load/_chat.c` into a module where there is a C compiler; without, the engine is Python.

    python hatch_build.py

does so in place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("smtpbench") / "load" / "_chat.c"
MODULE = SOURCE.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fPIC", "-shared")


def is_current() -> bool:
    """Whether there is a module that is no older than its source."""
    sources = (SOURCE, SOURCE.with_suffix(".h"), Path(__file__))
    return MODULE.exists() and MODULE.stat().st_mtime >= max(source.stat().st_mtime for source in sources)


def build() -> bool:
    """Whether there is a module now that belongs to the source. What goes wrong is said in a line."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        return _failed("no C compiler (CC, cc, gcc, clang)")
    made = MODULE.with_suffix(f".{os.getpid()}")
    headers = f"-I{sysconfig.get_path('include')}"
    command = [*compiler.split(), *FLAGS, headers, "-o", str(made), str(SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _failed(str(error))
    if done.returncode:
        made.unlink(missing_ok=True)
        return _failed((done.stderr.strip().splitlines() or [f"{compiler}: exit code {done.returncode}"])[0])
    made.replace(MODULE)
    return True


def _failed(why: str) -> bool:
    """False; a module of an older source must not be taken for one of this."""
    MODULE.unlink(missing_ok=True)
    sys.stderr.write(f"smtpbench: the engine is built without {SOURCE.name}, and takes more CPU: {why}\n")
    return False


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # the module can be built without it
    BuildHookInterface = object  # type: ignore[assignment, misc]


class ChatHook(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling for a wheel, also for that of ``pip install -e``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the module, and say that the wheel is one for this kind of machine if there is one."""
        if is_current() or build():
            build_data["artifacts"].append(f"/{MODULE.relative_to(self.root)}")
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


if __name__ == "__main__":
    sys.exit(0 if build() else 1)
