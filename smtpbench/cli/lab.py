"""``smtpbench lab``: real servers on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smtpbench.cli._common import prepare
from smtpbench.errors import EXIT_OK, UsageError
from smtpbench.lab import keeper, state
from smtpbench.lab.recipes import RECIPES, recipe
from smtpbench.target import to_toml

app = typer.Typer(
    help="Real servers on loopback, each in a private folder or root: list, up, down.",
    no_args_is_help=True,
    add_completion=False,
)

NameArg = Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(sorted(RECIPES))}.")]
TargetFileOpt = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the target file here, not to standard output.")
]


def list_servers() -> int:
    """The servers there are, and which of them are up."""
    for name, server in RECIPES.items():
        found = state.find(name)
        where = f"up on {found.target.main.address}, kept by process {found.pid}" if found else "down"
        typer.echo(f"{name:<10} {where:<45} {server.summary}")
    return EXIT_OK


def up(name: NameArg, target_file: TargetFileOpt = None) -> int:
    """Start a server, leave it up, print its target file."""
    recipe(name)
    typer.echo(f"starting lab:{name} (the first time, some servers have to be downloaded)", err=True)
    target = keeper.up(name)
    text = to_toml(target)
    if target_file is None:
        typer.echo(text, nl=False)
        return EXIT_OK
    try:
        target_file.write_text(text, encoding="utf-8")
    except OSError as error:
        keeper.down(name)
        raise UsageError(f"{target_file}: {error.strerror}") from None
    return EXIT_OK


def down(name: NameArg) -> int:
    """Stop a server that `up` started, and remove all that it had."""
    keeper.down(name)
    return EXIT_OK


app.command("list")(prepare(list_servers))
app.command("up")(prepare(up))
app.command("down")(prepare(down))
