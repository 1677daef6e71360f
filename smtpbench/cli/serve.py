"""``smtpbench serve``: the strict reference server, whole or with named faults, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from smtpbench.cli._common import ending_signals
from smtpbench.cli._listening import (
    CaOutOpt,
    ListenOpt,
    TlsCertOpt,
    TlsKeyOpt,
    listen_address,
    server_tls,
    write_file,
)
from smtpbench.errors import EXIT_OK, UsageError
from smtpbench.server import MaildirStore, NullStore, Server, ServerConfig, Store
from smtpbench.server.faults import FAULTS, with_faults
from smtpbench.server.limits import LIMIT_NAMES, limited, parse_limits
from smtpbench.target import MAX_PORT, Credentials, Endpoint, Role, require_host

RoleOpt = Annotated[Role, typer.Option(help="What the port is for.")]
MaildirOpt = Annotated[
    Path | None,
    typer.Option(help="Deliver below this folder, a Maildir for each mailbox; without it, throw mail away."),
]
RelayOpt = Annotated[
    str | None,
    typer.Option(
        metavar="DOMAIN=HOST:PORT", help="Send mail for this domain, and those below it, on to there."
    ),
]
RelayAuthorizedOpt = Annotated[
    list[str],
    typer.Option(metavar="HOST", help="A host off this machine that --relay may send to; repeatable."),
]
SpoolOpt = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep what is to be sent on here, so that a crash loses none."),
]
RELAY_RETRY_S = 1.0  # nobody waits half an hour in a test
FaultOpt = Annotated[list[str], typer.Option(metavar="NAME", help="Misbehave in this one way; repeatable.")]
LimitOpt = Annotated[
    list[str],
    typer.Option(metavar="NAME=N", help=f"A limit for each client; repeatable: {', '.join(LIMIT_NAMES)}."),
]
ListFaultsOpt = Annotated[bool, typer.Option("--list-faults", help="List the faults there are, and exit.")]
UsernameOpt = Annotated[str | None, typer.Option(metavar="NAME", help="A user who may authenticate.")]
PasswordEnvOpt = Annotated[
    str | None, typer.Option(metavar="VARIABLE", help="Environment variable with the user's password.")
]
TargetFileOpt = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a target file for `smtpbench conform FILE`.")
]


def serve(
    *,
    listen: ListenOpt = "127.0.0.1:2525",
    role: RoleOpt = Role.MX,
    maildir: MaildirOpt = None,
    relay: RelayOpt = None,
    authorized: RelayAuthorizedOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    spool: SpoolOpt = None,
    fault: FaultOpt = [],  # noqa: B006
    limit: LimitOpt = [],  # noqa: B006
    list_faults: ListFaultsOpt = False,
    tls_cert: TlsCertOpt = None,
    tls_key: TlsKeyOpt = None,
    ca_out: CaOutOpt = None,
    username: UsernameOpt = None,
    password_env: PasswordEnvOpt = None,
    target_file: TargetFileOpt = None,
) -> int:
    """Run the reference server: domain example.com with mailboxes postmaster, alice and bob."""
    if list_faults:
        _print_faults()
        return EXIT_OK
    if target_file is not None and tls_cert is None and ca_out is None:
        ca_out = target_file.with_suffix(".ca.pem")
    host, port = listen_address(listen)
    tls, certificate = server_tls(tls_cert, tls_key, ca_out)
    config = ServerConfig(
        host=host,
        port=port,
        role=role,
        users=_users(username, password_env),
        tls=tls,
        certificate=certificate,
        relays=_relays(relay, frozenset(authorized)),
        spool=_made(spool, "--spool") if spool is not None else None,
        relay_retry=RELAY_RETRY_S,
    )
    receiver = limited(parse_limits(limit), with_faults(fault)) if limit else None
    server = Server(config, store=_store(maildir), faults=tuple(fault), receiver=receiver)
    target = None
    if target_file is not None:
        target = target_file, _target_lines(config, maildir, ca_out, username, password_env)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server, target))
    return EXIT_OK


async def _run(server: Server, target: tuple[Path, list[str]] | None) -> None:
    """Listen until told to stop; the line on standard output says that all is ready."""
    stop = asyncio.Event()
    for number in {signal.SIGINT, *ending_signals()}:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        endpoint = Endpoint(host=server.config.host, port=server.port)
        if target is not None:
            path, lines = target
            write_file(path, "\n".join([*lines, f"port = {server.port}", ""]).encode())
        typer.echo(f"listening on {endpoint.address}")
        await stop.wait()


def _print_faults() -> None:
    table = Table("Fault", "What it does", "Breaks", box=box.SIMPLE_HEAD)
    for name in sorted(FAULTS):
        table.add_row(name, FAULTS[name].summary, " ".join(FAULTS[name].requirements))
    Console().print(table)


def _relays(relay: str | None, authorized: frozenset[str]) -> dict[str, tuple[str, int]]:
    if relay is None:
        return {}
    domain, equals, where = relay.partition("=")
    host, _, port = where.rpartition(":")
    if not domain or not equals or not host or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
        raise UsageError(f"--relay {relay}: expected DOMAIN=HOST:PORT")
    require_host(host.strip("[]"), authorized)
    return {domain.lower(): (host.strip("[]"), int(port))}


def _users(username: str | None, password_env: str | None) -> dict[str, str]:
    if username is None and password_env is None:
        return {}
    if username is None or password_env is None:
        raise UsageError("--username and --password-env go together")
    return {username: Credentials(username=username, password_env=password_env).password()}


def _store(maildir: Path | None) -> Store:
    if maildir is None:
        return NullStore()
    return MaildirStore(_made(maildir, "--maildir"))


def _made(folder: Path, option: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {folder}: {error.strerror}") from None
    return folder


def _target_lines(
    config: ServerConfig,
    maildir: Path | None,
    ca: Path | None,
    username: str | None,
    password_env: str | None,
) -> list[str]:
    """A target file (TOML) up to the port, which is known when the server listens."""
    domain = config.domains[0]
    lines = [f"name = {_quoted('smtpbench serve')}", ""]
    if maildir is not None:
        lines += [f"observe = {{ url = {_quoted(f'maildir:{maildir.resolve()}')} }}", ""]
    if ca is not None:
        lines += ["[tls]", f"ca = {_quoted(str(ca.resolve()))}", f"server_name = {_quoted('localhost')}", ""]
    if username is not None and password_env is not None:
        lines += ["[auth]", f"username = {_quoted(username)}", f"password_env = {_quoted(password_env)}", ""]
    for name, (host, port) in config.relays.items():
        listen = Endpoint(host=host, port=port).address
        lines += ["[relay]", f"listen = {_quoted(listen)}", f"domain = {_quoted(name)}", "retry_s = 1.0", ""]
    if not config.relays:
        lines += ["[queue]", "retry_s = 0.0", ""]  # what it has accepted is in the mailbox
    lines += [
        "[fixtures]",
        f"recipient = {_quoted(f'alice@{domain}')}",
        f"second_recipient = {_quoted(f'bob@{domain}')}",
        f"unknown_recipient = {_quoted(f'nobody@{domain}')}",
        f"bouncing_recipient = {_quoted(f'{config.bouncing[0]}@{domain}')}",
        f"local_domains = [{_quoted(domain)}]",
        "",
        f"[endpoints.{config.role.value}]",
        f"host = {_quoted(config.host)}",
        f"tls = {_quoted('implicit' if config.role is Role.SUBMISSIONS else 'starttls')}",
    ]
    return lines


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return json.dumps(text)
