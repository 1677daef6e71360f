"""The command line: one thin file a command, imported only when that command runs.

``smtpbench --help`` has to be quick, and several commands need Locust, pytest or matplotlib. So each
command is registered by name with its one-line help, and its module is imported on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from smtpbench import __version__
from smtpbench.cli._streams import exit_code, steady

COMMANDS = {
    "conform": "Check the target's behaviour against the RFCs, requirement by requirement.",
    "load": "Load the target with many concurrent sessions and measure it.",
    "queue": "Load the target and follow every message: lost, duplicated, corrupted, how long it took.",
    "crash": "Strike the target under load (full disk, descriptors, slow sessions, a flood): what is lost?",
    "smuggling": "What looks like the end of data: in at a server, out of it, in at the next.",
    "certify": "Conformance, then load, in one folder with one verdict.",
    "compare": "Compare two runs of the same kind: what is worse, and not by chance.",
    "report": "Render result files again: terminal, HTML, JUnit, Markdown.",
    "sink": "The next hop we own: takes all mail, or misbehaves as a script says, and records what arrived.",
    "serve": "Run our strict reference server, whole or with chosen faults.",
    "lab": "Real servers on loopback in throw-away roots: list, up, down.",
    "explain": "Say what a case asks and why, how it is judged, and what proves it.",
    "catalogue": "List the requirements that the cases test.",
}


class _LazyCommand(TyperCommand):
    """A command known by name and help; parsing its arguments imports the module that has the rest."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """The context of the real command, which then is the one invoked."""
        return _load(str(self.name)).make_context(info_name, args, *rest, **extra)


def _load(name: str) -> Any:
    """The real command: the sub-application `app` of its module, or its function of the same name."""
    from smtpbench.cli._common import prepare

    module = import_module(f"smtpbench.cli.{name}")
    sub_app = getattr(module, "app", None)
    if sub_app is None:
        sub_app = typer.Typer(add_completion=False)
        sub_app.command(name)(prepare(getattr(module, name)))
    return typer.main.get_command(sub_app)


app = typer.Typer(
    name="smtpbench",
    help="SMTP conformance and load testing: a verdict on every requirement, a ledger on every message.",
    no_args_is_help=True,
    add_completion=False,  # commands are loaded late, so there would be nothing to complete
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"smtpbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """SMTP conformance and load testing: a verdict on every requirement, a ledger on every message."""


def _placeholder() -> None:
    """Stands for a command until its module is imported; `_LazyCommand` never calls it."""


for _name, _help in COMMANDS.items():
    app.command(_name, cls=_LazyCommand, help=_help)(_placeholder)


def main() -> None:
    """The ``smtpbench`` command."""
    # numpy's algebra would start a thread for each core, here and in every child; ours is of three unknowns
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    steady("stderr")
    shown = steady("stdout")
    try:
        app()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
        raise SystemExit(exit_code(shown, code)) from None
