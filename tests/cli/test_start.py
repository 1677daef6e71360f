"""What a command imports before it does anything: every run waits for it, in each of its processes."""

import subprocess
import sys

import pytest

HEAVY = {"matplotlib", "locust", "pytest", "smtpbench.server.faults", "smtpbench.conformance.api"}


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("smtpbench.cli.load", set()),
        ("smtpbench.cli.queue", set()),
        ("smtpbench.cli.sink", set()),
        ("smtpbench.cli.report", set()),
        ("smtpbench.load.conductor", {"locust"}),
    ],
)
def test_a_command_imports_nothing_heavy_that_it_may_not_need(module: str, needed: set[str]):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert HEAVY & set(done.stdout.split()) == needed


def test_numbers_start_no_threads():
    code = """
import os, sys
from smtpbench.cli import main
sys.argv = ["smtpbench", "--version"]
try:
    main()
except SystemExit:
    import numpy
    print(len(os.listdir("/proc/self/task")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split()[-1] == "1"
