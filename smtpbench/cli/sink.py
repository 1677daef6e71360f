"""``smtpbench sink``: the next hop that we own, until SIGINT, SIGTERM or the end of its time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json as json_format
import resource
import signal
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from smtpbench.cli._common import Outputs, ending_signals, require_writable
from smtpbench.cli._listening import (
    CaOutOpt,
    ListenOpt,
    TlsCertOpt,
    TlsKeyOpt,
    listen_address,
    server_tls,
)
from smtpbench.cli._sink_live import live_line, shortage
from smtpbench.delivery.sink_record import KeepingMaildir, RecordFile
from smtpbench.errors import EXIT_OK, SmtpbenchError, UsageError
from smtpbench.load.serving import ServingLoop
from smtpbench.server.sink import NAME, Consumer, Sink, SinkCounts, sink_config
from smtpbench.server.sink_receiver import Taken
from smtpbench.server.sink_script import SCRIPT_HELP, SinkScript, load_script
from smtpbench.server.sink_scripted import ScriptedSink
from smtpbench.target import Endpoint


def _script(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Behaviour")


def _output(text: str, metavar: str = "FILE") -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Output")


NameOpt = Annotated[str, typer.Option(metavar="NAME", help="The name it greets with.")]
LmtpOpt = Annotated[bool, typer.Option("--lmtp", help="Speak LMTP: a reply for each recipient.")]
StarttlsOpt = Annotated[bool, typer.Option("--starttls", help="Offer STARTTLS.")]
MaxSizeOpt = Annotated[int, typer.Option(min=1, metavar="OCTETS", help="The largest message it takes.")]
IdleOpt = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Part from a client silent so long.")]
RunTimeOpt = Annotated[
    str | None, typer.Option(metavar="TIME", help="Stop after this long, such as 30s or 5m.")
]
ScriptOpt = Annotated[Path | None, _script("What it does wrong, in TOML.", "FILE")]
ScriptHelpOpt = Annotated[
    bool, typer.Option("--script-help", help="Say what a script can hold.", rich_help_panel="Behaviour")
]
RuleOpt = Annotated[
    list[str],
    _script(
        """One rule, ahead of the script's: 'on = "rcpt", share = 0.2, reply = "451"'; repeatable.""", "RULE"
    ),
]
WithoutOpt = Annotated[list[str], _script("An extension that is not offered; repeatable.", "KEYWORD")]
SeedOpt = Annotated[int | None, _script("What shares and exponential delays are drawn from.")]
RecordOpt = Annotated[
    Path | None, _output("Write a line of JSON for each message: identifier, time, envelope, digest.")
]
KeepOpt = Annotated[Path | None, _output("Keep the messages in this Maildir.", "DIR")]
JsonOpt = Annotated[Path | None, _output("Write the counts as JSON at the end.")]
QuietOpt = Annotated[
    bool, typer.Option("--quiet", help="No live line, no counts at the end.", rich_help_panel="Output")
]


def sink(
    *,
    listen: ListenOpt = "127.0.0.1:2525",
    name: NameOpt = NAME,
    lmtp: LmtpOpt = False,
    starttls: StarttlsOpt = False,
    tls_cert: TlsCertOpt = None,
    tls_key: TlsKeyOpt = None,
    ca_out: CaOutOpt = None,
    max_size: MaxSizeOpt = 32 * 1024 * 1024,
    idle_timeout: IdleOpt = 300.0,
    run_time: RunTimeOpt = None,
    script: ScriptOpt = None,
    script_help: ScriptHelpOpt = False,
    rule: RuleOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    without: WithoutOpt = [],  # noqa: B006
    seed: SeedOpt = None,
    record: RecordOpt = None,
    keep: KeepOpt = None,
    json: JsonOpt = None,
    quiet: QuietOpt = False,
) -> int:
    """Take all mail, as fast as it comes; or misbehave as a script says."""
    if script_help:
        typer.echo(SCRIPT_HELP)
        return EXIT_OK
    host, port = listen_address(listen)
    require_writable(Outputs(json=json))
    stop_after = None if run_time is None else _seconds(run_time)
    told = load_script(script, rule, without, seed)
    tls = _tls(starttls, tls_cert, tls_key, ca_out)
    config = sink_config(
        host, port, name=name, lmtp=lmtp, tls=tls, max_size=max_size, idle_timeout=idle_timeout
    )
    with _consumer(record, keep) as consumer:
        plain = told == SinkScript(seed=told.seed)
        made = Sink(config, consumer=consumer) if plain else ScriptedSink(told, config, consumer=consumer)
        loop = ServingLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_run(made, loop, stop_after, quiet=quiet))
        made.counts.scarce = loop.scarce
    if not quiet:
        _say(made.counts)
    if json is not None:
        from smtpbench.report.write import write_text  # with all that renders reports: only at the end

        plain_counts = {"schema": "smtpbench.sink/1", **made.counts.to_plain()}
        write_text(json, json_format.dumps(plain_counts) + "\n")
    if made.failure is not None:
        raise SmtpbenchError(f"the sink stopped taking mail: {made.failure}")
    return EXIT_OK


def _seconds(run_time: str) -> float:
    from smtpbench.load.workload import parse_duration  # with all that load needs: not for every sink

    return parse_duration(run_time, "--run-time")


def _tls(starttls: bool, cert: Path | None, key: Path | None, ca_out: Path | None) -> ssl.SSLContext | None:
    if starttls:
        return server_tls(cert, key, ca_out)[0]
    if cert or key or ca_out:
        raise UsageError("--tls-cert, --tls-key and --ca-out need --starttls")
    return None


@contextlib.contextmanager
def _consumer(record: Path | None, keep: Path | None) -> Iterator[Consumer | None]:
    """Who gets the messages; None if nobody asked for them."""
    consumers: list[Consumer] = []
    with contextlib.ExitStack() as stack:
        if record is not None:
            file = RecordFile(record)
            stack.callback(file.close)
            consumers.append(file)
        if keep is not None:
            consumers.append(KeepingMaildir(keep))

        def each(batch: Sequence[Taken]) -> None:
            for consumer in consumers:
                consumer(batch)

        yield each if len(consumers) > 1 else consumers[0] if consumers else None


async def _run(made: Sink, loop: ServingLoop, stop_after: float | None, *, quiet: bool) -> None:
    """Listen until told to stop; the line on standard output says that all is ready."""
    stop = asyncio.Event()
    for number in {signal.SIGINT, *ending_signals()}:
        loop.add_signal_handler(number, stop.set)
    if stop_after is not None:
        loop.call_later(stop_after, stop.set)
    async with made:
        gc.freeze()  # what is there now stays: the collector need not look at it again
        typer.echo(f"listening on {Endpoint(host=made.config.host, port=made.port).address}")
        ends = [asyncio.ensure_future(event.wait()) for event in (stop, made.failed)]
        async with live_line(made, loop, quiet=quiet):
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()


def _say(counts: SinkCounts) -> None:
    typer.echo(
        f"{counts.sessions} sessions, {counts.messages} messages to {counts.recipients} recipients, "
        f"{counts.octets} octets"
    )
    for what, times in sorted(counts.scripted.items()):
        typer.echo(f"{times} × {what}")
    if counts.scarce:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        typer.echo(f"{shortage(counts.scarce)} (its limit is {soft} descriptors)")
