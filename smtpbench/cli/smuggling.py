"""``smtpbench smuggling TARGET [NEXT]``: where data seem to end, at one server and at the one behind it."""

from __future__ import annotations

import asyncio
import json as jsonlib
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpbench import __version__
from smtpbench.cli._common import TARGET_HELP, JsonOpt, QuietOpt, TargetArg
from smtpbench.conformance.smuggling import VARIANTS, Inbound, Matrix, Row, Seen, smuggling_matrix
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK, UsageError
from smtpbench.lab.opening import open_target
from smtpbench.lab.options import TargetOptions
from smtpbench.report.write import write_text
from smtpbench.target import Target
from smtpbench.wire.replies import escape

SCHEMA = "smtpbench.smuggling/1"
NextArg = Annotated[str | None, typer.Argument(metavar="NEXT", help=f"The server behind it: {TARGET_HELP}")]
_STYLE = {Inbound.SPLIT: "bold red", Inbound.WHOLE: "green", Inbound.UNKNOWN: "dim"}


def smuggling(
    target: TargetArg = "embedded",
    next_target: NextArg = None,
    *,
    json: JsonOpt = None,
    quiet: QuietOpt = False,
    options: TargetOptions,
) -> int:
    """Try what looks like the end of data: in at TARGET, out of it, and in at NEXT with what came out.

    What TARGET sends on is seen where it has a [relay]. NEXT is given exactly those octets.
    Exit code: 0 one message stays one, 1 a message was split, 3 no variant could be tried.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(open_target(target, options))
        _check(opened, "TARGET")
        beyond = None
        if next_target is not None:
            if opened.relay is None:
                raise UsageError(
                    f"{target}: has no [relay], so nothing can be known of what it sends to NEXT"
                )
            alike = TargetOptions(authorized=options.authorized)
            beyond = stack.enter_context(open_target(next_target, alike))
            _check(beyond, "NEXT")
        matrix = asyncio.run(smuggling_matrix(opened, beyond))
    if json is not None:
        write_text(json, jsonlib.dumps(_plain(matrix), indent=2, ensure_ascii=True) + "\n")
    if not quiet:
        _show(matrix)
    if matrix.smuggled:
        return EXIT_FINDINGS
    tried = [row for row in matrix.rows if row.target.inbound is not Inbound.UNKNOWN]
    return EXIT_OK if tried else EXIT_INCONCLUSIVE


def _check(target: Target, which: str) -> None:
    if target.fixtures.recipient is None and (which == "NEXT" or target.relay is None):
        how = "fixtures.recipient in its target file" if which == "NEXT" else "--recipient"
        raise UsageError(f"{which} {target.name}: a mailbox that it takes mail for is needed ({how})")


def _plain(matrix: Matrix) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "smtpbench": __version__,
        "target": matrix.target,
        "next": matrix.beyond,
        "variants": [_plain_row(row) for row in matrix.rows],
    }


def _plain_row(row: Row) -> dict[str, Any]:
    def seen(one: Seen | None) -> dict[str, str] | None:
        return None if one is None else {"result": one.inbound.value, "replies": one.replies}

    sent_on = None if row.outbound is None else [escape(octets) for octets in row.outbound]
    return {
        "variant": row.variant,
        "octets": escape(VARIANTS[row.variant]),
        "target": seen(row.target),
        "sent_on": sent_on,
        "next": seen(row.onward),
        "smuggled": row.smuggled,
    }


def _show(matrix: Matrix) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    beyond = [f"at {matrix.beyond}"] if matrix.beyond else []
    for name in ("variant", f"at {matrix.target}", "sent on as", *beyond):
        table.add_column(name, overflow="fold")
    for row in matrix.rows:
        cells = [Text(row.variant), _cell(row.target), Text(_sent_on(matrix, row))]
        if matrix.beyond:
            cells.append(Text("–") if row.onward is None else _cell(row.onward))
        table.add_row(*cells)
    console = Console()
    console.print(table)
    for row in matrix.smuggled:
        at = matrix.target if row.target.inbound is Inbound.SPLIT else f"{matrix.target} → {matrix.beyond}"
        console.print(f"{row.variant}: one message became two ({at})", style="red", markup=False)
    if not matrix.smuggled:
        console.print("every message stayed one", markup=False)


def _cell(seen: Seen) -> Text:
    shown = seen.inbound.value
    if seen.inbound not in (Inbound.WHOLE, Inbound.SPLIT):
        shown += f": {seen.replies}"
    return Text(shown, style=_STYLE.get(seen.inbound, ""))


def _sent_on(matrix: Matrix, row: Row) -> str:
    if not matrix.relays:
        return "no [relay]"
    if row.outbound is None:
        return "nothing"
    return " and ".join(escape(octets) or "(nothing)" for octets in row.outbound)
