"""From a target and a workload to what an engine needs: the door, the script and the supply."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice, takewhile
from random import Random

from smtpbench.errors import Unreachable, UsageError
from smtpbench.load.arrivals import Process, plan, shared
from smtpbench.load.drawing import Drawn, sizes
from smtpbench.load.engine import Engine
from smtpbench.load.kinds import Kind, drawn
from smtpbench.load.message import Template
from smtpbench.load.opening import Door, Login
from smtpbench.load.recorder import Recorder
from smtpbench.load.script import Script, Transaction, always
from smtpbench.load.supply import Backlog, Budget
from smtpbench.load.workload import Workload
from smtpbench.target import Endpoint, Role, Target
from smtpbench.wire import commands

DEFAULT_RECIPIENT = "recipient@example.org"  # for a target that names none; a reserved domain (RFC 2606 §3)


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a workload this process does: `part` (from 0) of `parts`."""

    part: int = 0
    parts: int = 1

    def of(self, total: int) -> int:
        """This part's share of a count; the shares of all parts add up to it."""
        return total // self.parts + (1 if self.part < total % self.parts else 0)


def make_engine(target: Target, workload: Workload, share: Share = Share()) -> Engine:
    """An engine, not started, for `share` of `workload`. Raises UsageError, Unreachable."""
    recorder = Recorder()
    budget = None if workload.messages is None else share.of(workload.messages)
    random = Random(workload.seed * 1_000_003 + share.part)
    kind = Kind(
        make_door(target, workload), make_script(target, workload, random),
        drawn(workload.messages_per_session, random),
    )  # fmt: skip
    return Engine(
        lambda: kind,
        Backlog() if workload.is_open else Budget(recorder, budget), recorder,
        deadline_s=target.timeouts.reply,
        max_sessions=share.of(workload.max_sessions) or 1,
    )  # fmt: skip


def make_plan(workload: Workload, share: Share = Share()) -> Iterator[float]:
    """This share's arrival plan, as long as the workload says (it need not end)."""
    if workload.trace is not None:
        arrivals = shared(workload.trace, part=share.part, parts=share.parts)
    else:
        assert workload.rate is not None
        process: Process = "constant" if workload.arrivals == "constant" else "poisson"
        arrivals = plan(process, workload.rate, seed=workload.seed, part=share.part, parts=share.parts)
    if (lasts := workload.lasts) is not None:
        arrivals = takewhile(lambda at: at < lasts, arrivals)
    if workload.messages is not None:
        arrivals = islice(arrivals, share.of(workload.messages))
    return arrivals


def make_door(target: Target, workload: Workload) -> Door:
    """How to open a session. Resolves the host now, once."""
    role, endpoint, tls = choose_endpoint(target, workload)
    login = None
    if workload.auth and target.auth is not None:
        login = Login(target.auth.username, target.auth.password(), required=role is not Role.MX)
    return Door(
        host=_resolve(endpoint), port=endpoint.port, client_name=target.client_name,
        connect_timeout=target.timeouts.connect, reply_timeout=target.timeouts.reply, tls=tls,
        context=None if tls == "none" else _context(target),
        server_name=(target.tls.server_name or endpoint.host) if tls != "none" else None,
        login=login, pipelining=workload.pipelining, lmtp=role is Role.LMTP,
    )  # fmt: skip


def make_script(target: Target, workload: Workload, random: Random | None = None) -> Script:
    """The transactions of a workload. Raises UsageError if a message is too small for its headers."""
    sender = workload.sender or target.fixtures.sender
    recipients = _recipients(target, workload)
    mail = commands.mail(_checked(sender)) + commands.CRLF
    rcpts = tuple(commands.rcpt(_checked(recipient)) + commands.CRLF for recipient in recipients)
    templates = [Template(size, sender, recipients) for size in sizes(workload.message_size)]
    contents = [(one.next_content, one.next_bdat if workload.chunking else None) for one in templates]
    lmtp = choose_endpoint(target, workload)[0] is Role.LMTP
    if len(contents) == 1 and workload.recipients.fixed is not None:
        return always(Transaction(mail, rcpts, *contents[0]), lmtp=lmtp)
    several = Drawn(mail, rcpts, contents, workload.recipients, random or Random(workload.seed))
    return Script(several.next, lmtp)


def choose_endpoint(target: Target, workload: Workload) -> tuple[Role, Endpoint, str]:
    """The endpoint that speaks TLS as the workload wants it, or else the main one, told to."""
    main = next(role for role, endpoint in target.endpoints.items() if endpoint is target.main)
    wanted = workload.tls
    if wanted is None:
        return main, target.main, target.main.tls
    for role, endpoint in target.endpoints.items():
        if endpoint.tls == wanted:
            return role, endpoint, wanted
    return main, target.main, wanted


def _recipients(target: Target, workload: Workload) -> list[str]:
    """As many as the workload wants, taking turns among the mailboxes we know."""
    if workload.recipient is not None:
        known = [workload.recipient]
    else:
        known = [name for name in (target.fixtures.recipient, target.fixtures.second_recipient) if name]
    return list(islice(cycle(known or [DEFAULT_RECIPIENT]), int(workload.recipients.highest)))


def _checked(address: str) -> str:
    """`address`, if it cannot break the command line it goes into."""
    if not address.isascii() or not address.isprintable() or set("<>") & set(address):
        raise UsageError(f"address {address!r}: expected printable ASCII without angle brackets")
    return address


def _resolve(endpoint: Endpoint) -> str:
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"{endpoint.address}: {error.strerror or error}") from None
    return str(found[0][4][0])


def _context(target: Target) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=target.tls.ca)
    except OSError as error:
        raise UsageError(f"tls.ca: {target.tls.ca}: {error.strerror or error}") from None
    if not target.tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
