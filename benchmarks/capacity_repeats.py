"""Does the capacity search say the same again? Several searches of one target, each on its own, compared.

    python benchmarks/capacity_repeats.py [TARGET] [--times 3] [--within 0.15] [--out DIR] [-- OPTION...]

TARGET is as for `smtpbench load` (lab:postfix, needs root); what follows ``--`` goes to each search. Printed
are, for each, the rate that holds and the edge with its interval, and the spread of both: the highest divided
by the lowest, less one. What else runs on the machine in one search and not in another is in it.

Exit code 0 if both spreads are within the limit, 1 if not, 3 if a search found no edge.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.load.capacity_result import Capacity, CapacityResult

COMMAND = (sys.executable, "-c", "from smtpbench.cli import main; main()", "load")


def search(target: str, out: Path, options: Sequence[str]) -> CapacityResult:
    """One search, shown as it goes."""
    subprocess.run([*COMMAND, target, "--find-capacity", "--out", str(out), *options], check=False)
    return CapacityResult.model_validate_json((out / "capacity.json").read_bytes())


def spread(values: Sequence[float | None]) -> float | None:
    """How far apart the values are, relative; None if one is missing."""
    known = [value for value in values if value is not None]
    return max(known) / min(known) - 1 if known and len(known) == len(values) else None


def table(found: Sequence[Capacity]) -> Table:
    """A line for each search."""
    shown = Table("search", "holds, messages/s", "edge", "interval")
    for number, one in enumerate(found, start=1):
        figures = (one.rate_per_s, one.edge_per_s, one.low_per_s, one.high_per_s)
        rate, edge, low, high = ("none" if value is None else f"{value:,.0f}" for value in figures)
        shown.add_row(str(number), rate, edge, f"{low} to {high}")
    return shown


def main() -> int:
    """Search, compare, say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", nargs="?", default="lab:postfix")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--within", type=float, default=0.15)
    parser.add_argument("--out", type=Path)
    parser.add_argument("options", nargs="*", help="after --, for each search")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.out or Path(scratch)
        runs = [search(given.target, folder / str(n + 1), given.options) for n in range(given.times)]
    found = [run.capacity for run in runs]
    console = Console()
    console.print(table(found))
    spreads = [spread([one.rate_per_s for one in found]), spread([one.edge_per_s for one in found])]
    for name, value in zip(("holds", "edge"), spreads, strict=True):
        console.print(f"{name}: spread {'unknown' if value is None else f'{value:.1%}'}")
    if None in spreads:
        return EXIT_INCONCLUSIVE
    return EXIT_OK if max(value or 0.0 for value in spreads) <= given.within else EXIT_FINDINGS


if __name__ == "__main__":
    sys.exit(main())
