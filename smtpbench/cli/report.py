"""``smtpbench report RUN...``: render saved results again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from smtpbench.cli._common import Outputs
from smtpbench.errors import EXIT_OK, UsageError
from smtpbench.report import Run, read_run, render_terminal, write_outputs

RunsArg = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Run folders, or JSON files that a command wrote.")
]


def report(runs: RunsArg, *, outputs: Outputs) -> int:
    """Render saved runs: a folder's own report files are written again, a summary goes to the terminal.

    ``--html`` and the other output options write elsewhere instead, and take one RUN. The exit code
    tells whether rendering worked, not what the run found. Raises UsageError on a file that is not ours.
    """
    files = (outputs.json, outputs.junit, outputs.html, outputs.markdown, outputs.out)
    elsewhere = any(file is not None for file in files)
    if elsewhere and len(runs) > 1:
        raise UsageError(f"the output options take one RUN, and {len(runs)} were given")
    loaded = [(path, read_run(path)) for path in runs]
    for path, run in loaded:
        if elsewhere:
            _write(run, outputs)
        elif path.is_dir():
            write_outputs(run, out=path)
        if not outputs.quiet:
            Console().print(render_terminal(run))
    return EXIT_OK


def _write(run: Run, outputs: Outputs) -> None:
    write_outputs(
        run,
        json=outputs.json,
        junit=outputs.junit,
        html=outputs.html,
        markdown=outputs.markdown,
        out=outputs.out,
    )
