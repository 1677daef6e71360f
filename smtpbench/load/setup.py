"""From a target and a workload to what an engine needs: the door, the script and the supply."""

from __future__ import annotations

import math
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle, islice, takewhile
from pathlib import Path
from random import Random
from typing import Any

from smtpbench.errors import Unreachable, UsageError
from smtpbench.load.arrival import Door, Login
from smtpbench.load.arrivals import Process, plan, shared
from smtpbench.load.beside import AbnormalKind
from smtpbench.load.corpus.mime import Envelope
from smtpbench.load.corpus.signing import Signing
from smtpbench.load.corpus.stock import Pool, Stock
from smtpbench.load.distributions import Distribution
from smtpbench.load.drawing import KNOWN_MAX, Drawn, Message, one_of, sizes
from smtpbench.load.engine import Engine
from smtpbench.load.envelope import Identified, mail_parameters, rcpt_parameters
from smtpbench.load.journaled import Book
from smtpbench.load.kinds import Kind, Mix, counted
from smtpbench.load.manner import Manner, Traffic
from smtpbench.load.recorder import Recorder
from smtpbench.load.script import Script, Transaction
from smtpbench.load.supply import Backlog, Budget
from smtpbench.load.watch import Watch
from smtpbench.load.workload import Workload
from smtpbench.target import Endpoint, Role, Target
from smtpbench.wire import commands

_SUBMISSION = (Role.SUBMISSION, Role.SUBMISSIONS)  # where a message is taken from known users only
DEFAULT_RECIPIENT = "recipient@example.org"  # for a target that names none; a reserved domain (RFC 2606 §3)


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a workload this process does: `part` (from 0) of `parts`."""

    part: int = 0
    parts: int = 1

    def of(self, total: int) -> int:
        """This part's share of a count; the shares of all parts add up to it."""
        return total // self.parts + (1 if self.part < total % self.parts else 0)


def make_engine(
    target: Target, workload: Workload, share: Share = Share(), *, ledger: Path | None = None
) -> Engine:
    """An engine, not started, for `share` of `workload`. Raises UsageError, Unreachable.

    It keeps a journal in the folder `ledger`, if one is named.
    """
    recorder = Recorder()
    budget = None if workload.messages is None else share.of(workload.messages)
    seed = workload.seed * 1_000_003 + share.part
    random = Random(seed)
    stock = Stock(seed, part=share.part, parts=share.parts, expected=workload.corpora)
    mix = make_mix(target, workload, random, stock)  # the book asks for its contents
    return Engine(
        mix.draw,
        Backlog() if workload.is_open else Budget(recorder, budget), recorder,
        deadline_s=target.timeouts.reply,
        max_sessions=share.of(workload.max_sessions) or 1,
        think=_seconds(workload.think_time, random),
        book=None if ledger is None else Book(ledger, stock.identifiers),
        watch=Watch(workload.watch_share),
    )  # fmt: skip


def make_mix(
    target: Target, workload: Workload, random: Random, stock: Stock | None = None
) -> Mix[Kind | AbnormalKind]:
    """All kinds of sessions with their shares: those of the abnormal ones are of all sessions."""
    ordinary = [traffic.share for traffic in workload.traffic] or [1.0]
    rest = 1 - math.fsum(one.share for one in workload.abnormal)
    weights = [share * rest / math.fsum(ordinary) for share in ordinary]
    weights += [one.share for one in workload.abnormal]
    kinds = make_kinds(target, workload, random, stock)
    return Mix([*kinds, *make_abnormal(target, workload, random, stock)], weights, random)


def make_abnormal(
    target: Target, workload: Workload, random: Random, stock: Stock | None = None
) -> list[AbnormalKind]:
    """The abnormal kinds of a workload, in its order. Raises UsageError, Unreachable."""
    kinds, stock = [], stock.beside() if stock else Stock()  # what they send is in no ledger
    for number, one in enumerate(workload.abnormal):
        asked: dict[str, Any] = {"recipients": 1, "chunking": False, "endpoint": one.endpoint, "tls": one.tls}
        if one.kind == "unknown-recipient":
            asked["recipient"] = _unknown_recipient(target, workload)
        manner = Traffic(**{name: value for name, value in asked.items() if value is not None}).over(workload)
        own = Random(random.getrandbits(64))
        try:
            door, script = make_door(target, manner), make_script(target, manner, own, stock)
        except UsageError as error:
            raise UsageError(f"abnormal[{number}].{error}") from None
        kinds.append(AbnormalKind(one.kind, door, script, partial(one.hold.draw, own)))
    return kinds


def _unknown_recipient(target: Target, workload: Workload) -> str:
    """The one the target names, or one that nobody has, where our recipients are."""
    if target.fixtures.unknown_recipient:
        return target.fixtures.unknown_recipient
    domain = _recipients(target, workload)[0].rpartition("@")[2]
    return f"nobody-{secrets.token_hex(4)}@{domain}"


def make_kinds(target: Target, workload: Workload, random: Random, stock: Stock | None = None) -> list[Kind]:
    """The kinds of sessions of a workload, in the order of its mix. Raises UsageError, Unreachable."""
    stock = stock or Stock()
    if not workload.traffic:
        return [_kind(target, workload, workload, random, stock)]
    kinds = []
    for number, traffic in enumerate(workload.traffic):
        try:
            kind = _kind(
                target, workload, traffic.over(workload), random, stock, auth_needed=traffic.needs_auth
            )
        except UsageError as error:
            raise UsageError(f"traffic[{number}].{error}") from None
        kinds.append(replace(kind, needs=kind.needs | traffic.needs, name=workload.traffic_name(number)))
    return kinds


def _kind(
    target: Target, workload: Workload, manner: Manner, random: Random, stock: Stock,
    *, auth_needed: bool = False,
) -> Kind:  # fmt: skip
    # each with a chance of its own, so that how many sessions of a kind there are changes none of the others
    own = Random(random.getrandbits(64))
    script = make_script(target, manner, own, stock)
    return Kind(
        make_door(target, manner, auth_needed=auth_needed), script,
        counted(manner.messages_per_session, own),
        _seconds(manner.idle or workload.think_time, own), manner.needs | script.needs.keys(),
    )  # fmt: skip


def _seconds(pause: Distribution | None, random: Random) -> Callable[[], float] | None:
    return None if pause is None else partial(pause.draw, random)


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


def make_door(target: Target, manner: Manner, *, auth_needed: bool = False) -> Door:
    """How to open a session. Resolves the host now, once."""
    role, endpoint, tls = choose_endpoint(target, manner)
    login = None
    if manner.auth and target.auth is not None:
        login = Login(
            target.auth.username, target.auth.password(), required=auth_needed or role in _SUBMISSION
        )
    elif auth_needed:
        raise UsageError("auth: the target names no user to authenticate as")
    return Door(
        host=_resolve(endpoint), port=endpoint.port, client_name=target.client_name,
        connect_timeout=target.timeouts.connect, reply_timeout=target.timeouts.reply, tls=tls,
        context=None if tls == "none" else _context(target),
        server_name=(target.tls.server_name or endpoint.host) if tls != "none" else None,
        login=login, pipelining=manner.pipelining, lmtp=role is Role.LMTP,
    )  # fmt: skip


def make_script(
    target: Target, manner: Manner, random: Random | None = None, stock: Stock | None = None
) -> Script:
    """The transactions of a kind of session. Raises UsageError if a message is too small for its headers."""
    sender = manner.sender or target.fixtures.sender
    recipients = _recipients(target, manner)
    for address in (sender, *recipients):
        _check_address(address, utf8=manner.smtputf8)
    rcpts = tuple(commands.rcpt(one, rcpt_parameters(manner, one)) + commands.CRLF for one in recipients)
    most = int(manner.recipients.highest)
    stock = stock or Stock()
    if manner.corpus is not None:
        pool = stock.replayed(manner.corpus, _signing(manner, sender))
    else:
        envelope = Envelope(sender, tuple(recipients[:most]), manner.smtputf8)
        pool = stock.generated(manner.content, sizes(manner.message_size), envelope, _signing(manner, sender))
    messages = _messages(manner, sender, pool)
    random, alike = random or Random(1), False
    if manner.recipients.fixed is not None and len(messages) <= KNOWN_MAX:
        transactions = [
            Transaction(mail, some, content, bdat)
            for some, (mail, content, bdat) in _each_with_recipients(rcpts, most, messages, _starts(manner))
        ]
        following = one_of(transactions, random, in_turn=pool.in_turn or len(messages) == 1)
        alike = len({transaction.group for transaction in transactions}) == 1
    else:
        following = Drawn(
            rcpts, messages, manner.recipients, random, in_turn=pool.in_turn, starts=_starts(manner)
        ).next
    if manner.dsn is not None and manner.dsn.envid:
        following, alike = Identified(following).next, False
    needs = {name: whose for name, whose in pool.needs.items() if name not in manner.needs}
    lmtp = choose_endpoint(target, manner)[0] is Role.LMTP
    return Script(following, lmtp=lmtp, alike=alike, chunking=manner.chunking, needs=needs)


def _each_with_recipients(
    rcpts: tuple[bytes, ...], number: int, messages: Sequence[Message], starts: int
) -> Iterator[tuple[tuple[bytes, ...], Message]]:
    """Every message as often, and every start among `rcpts` at least once: `number` of them from there on."""
    ring = rcpts + rcpts[:number]
    rounds = -(-starts // len(messages))
    for at in range(rounds * len(messages)):
        start = at % starts
        yield ring[start : start + number], messages[at % len(messages)]


def _signing(manner: Manner, sender: str) -> Signing | None:
    if manner.dkim is None:
        return None
    domain = manner.dkim.domain or sender.rpartition("@")[2]
    return Signing(manner.dkim.key, manner.dkim.selector, domain, manner.dkim.each)


def _messages(manner: Manner, sender: str, pool: Pool) -> list[Message]:
    """What is sent: contents, each with the MAIL that says what it is, in the order of the pool."""

    @cache
    def mail(needs: frozenset[str]) -> bytes:
        return commands.mail(sender, mail_parameters(manner, needs)) + commands.CRLF

    messages: list[Message] = [
        (mail(content.needs), content.next_content, content.next_bdat if manner.chunking else None)
        for content in pool.contents
    ]
    return [messages[index] for index in pool.order]


def choose_endpoint(target: Target, manner: Manner) -> tuple[Role, Endpoint, str]:
    """The endpoint that is asked for, or that speaks TLS as is asked for, or else the main one, told to.

    Raises UsageError if the target has no such endpoint.
    """
    wanted = manner.tls
    if (role := manner.endpoint) is not None:
        if role not in target.endpoints:
            known = ", ".join(one.value for one in target.endpoints)
            raise UsageError(f"endpoint: {role.value!r}: the target has no such endpoint, expected {known}")
        return role, target.endpoints[role], wanted or target.endpoints[role].tls
    main = next(role for role, endpoint in target.endpoints.items() if endpoint is target.main)
    if wanted is None:
        return main, target.main, target.main.tls
    for role, endpoint in target.endpoints.items():
        if endpoint.tls == wanted:
            return role, endpoint, wanted
    return main, target.main, wanted


def _recipients(target: Target, manner: Manner) -> list[str]:
    """As many as may be wanted, taking turns among the mailboxes we know."""
    fixtures = target.fixtures
    if manner.recipient is not None:
        known = [manner.recipient]
    elif manner.smtputf8 and fixtures.utf8_recipient:
        known = [fixtures.utf8_recipient]
    else:
        known = [name for name in (fixtures.recipient, fixtures.second_recipient) if name]
    known = known or [DEFAULT_RECIPIENT]
    starts = _starts(manner)
    if starts > 1:
        local, _, domain = known[0].rpartition("@")
        numbers = [str(number) for number in range(1, manner.mailboxes + 1)] if manner.mailboxes > 1 else [""]
        known = [f"{local}{number}@{one}" for number in numbers for one in manner.domains or [domain]]
    return list(islice(cycle(known), max(int(manner.recipients.highest), starts)))


def _starts(manner: Manner) -> int:
    """How many recipients messages begin with, in turn."""
    return manner.mailboxes * len(manner.domains or [None])


def _check_address(address: str, *, utf8: bool) -> None:
    """That `address` cannot break the command line it goes into; outside ASCII it takes SMTPUTF8."""
    if not (utf8 or address.isascii()) or not address.isprintable() or set("<>") & set(address):
        what = "printable characters" if utf8 else "printable ASCII"
        raise UsageError(f"address {address!r}: expected {what} without angle brackets")


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
