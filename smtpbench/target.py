"""What is under test: one validated model, whatever form the user gave it in."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from smtpbench.errors import UsageError

MAX_PORT = 65_535
Port = Annotated[int, Field(ge=1, le=MAX_PORT)]
Address = Annotated[str, Field(min_length=1, max_length=320)]


class Role(StrEnum):
    """What an endpoint is for; the field's words for port 25, 587, 465 and LMTP."""

    MX = "mx"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"
    LMTP = "lmtp"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Endpoint(_Strict):
    """Where one service of the target listens, and how TLS begins there."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Port
    tls: Literal["none", "starttls", "implicit"] = "none"

    @property
    def address(self) -> str:
        """``host:port``, with brackets about an IPv6 literal."""
        return host_and_port(self.host, self.port)


def host_and_port(host: str, port: int) -> str:
    """``host:port``, with brackets about an IPv6 literal."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Fixtures(_Strict):
    """Mailboxes that the target's administrator prepared for the test.

    `bouncing_recipient` is accepted by RCPT and fails at delivery: over its quota, say, or an alias for
    nobody.
    """

    recipient: Address | None = None
    second_recipient: Address | None = None
    unknown_recipient: Address | None = None
    foreign_recipient: Address | None = "nobody@relay-refused.example"
    utf8_recipient: Address | None = None
    bouncing_recipient: Address | None = None
    sender: Address = "sender@example.org"
    local_domains: tuple[str, ...] = ()
    null_mx_domain: Address | None = (
        None  # one that says in DNS, as the server sees it, that it takes no mail
    )


class Credentials(_Strict):
    """A user name, and where its password is read from; never the password itself."""

    username: str
    password_env: str | None = None
    password_file: Path | None = None

    def password(self) -> str:
        """The password, read now. Raises UsageError naming the missing variable or file."""
        if self.password_env is not None:
            try:
                return os.environ[self.password_env]
            except KeyError:
                raise UsageError(
                    f"auth.password_env: environment variable {self.password_env} is not set"
                ) from None
        if self.password_file is not None:
            try:
                return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
            except OSError as error:
                raise UsageError(f"auth.password_file: {self.password_file}: {error.strerror}") from None
        raise UsageError("auth: password_env or password_file is needed")


class Tls(_Strict):
    """How the target's certificate is checked."""

    ca: Path | None = None
    verify: bool = True
    server_name: str | None = None


class Observe(_Strict):
    """Where delivered messages can be read back: ``maildir:PATH``, ``mbox:PATH``, ``sink:HOST:PORT``, or
    ``imap://USER@HOST:PORT/MAILBOX`` (imaps, pop3 and pop3s likewise), with the source of the password.

    Without USER it is that of ``auth``; without a source of a password, so is the password.
    """

    url: str
    password_env: str | None = None
    password_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _can_be_observed(cls, value: str) -> str:
        scheme = value.partition(":")[0]
        if scheme not in OBSERVER_SCHEMES or ":" not in value:
            raise ValueError(f"expected {' | '.join(s + ':…' for s in OBSERVER_SCHEMES)}")
        _mailbox(value)
        return value

    @property
    def mailbox(self) -> Mailbox | None:
        """What the URL says of a mailbox that is read over the network; None for files and the sink."""
        return _mailbox(self.url)

    def login(self, auth: Credentials | None) -> Credentials:
        """The user of the mailbox and the source of the password. Raises UsageError if one is missing."""
        user = (self.mailbox.user if self.mailbox else None) or (auth.username if auth else None)
        if user is None:
            raise UsageError(f"{self.url}: whose mailbox? expected {_MAILBOX_FORM}, or auth.username")
        own = Credentials(username=user, password_env=self.password_env, password_file=self.password_file)
        if own.password_env is not None or own.password_file is not None:
            return own
        if auth is not None and auth.username == user:
            return auth
        raise UsageError(
            f"{self.url}: observe.password_env or observe.password_file (or --observe-password-env) is needed"
        )


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox on an IMAP or POP3 server. `folder` is IMAP's alone; `user` may be missing."""

    scheme: Literal["imap", "imaps", "pop3", "pop3s"]
    host: str
    port: int
    user: str | None
    folder: str

    @property
    def protocol(self) -> Literal["imap", "pop3"]:
        """The one that is spoken, with TLS or without."""
        return "imap" if self.scheme.startswith("imap") else "pop3"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        folder = f"/{self.folder}" if self.folder else ""
        return f"{self.scheme}://{host}:{self.port}{folder}"


_MAILBOX_PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}
OBSERVER_SCHEMES = ("maildir", "mbox", "sink", *_MAILBOX_PORTS)
_MAILBOX_FORM = "imap://USER@HOST:PORT/MAILBOX"
_FOLDER = re.compile(r"[ -~]+")  # what else a mailbox may be called would have to go in modified UTF-7


def _mailbox(url: str) -> Mailbox | None:
    """The mailbox that `url` names, None if it is not on a server. Raises ValueError in words."""
    parts = urlsplit(url)
    if parts.scheme not in _MAILBOX_PORTS:
        return None
    if parts.password is not None:  # never echoed: see `_one_line`
        raise PydanticCustomError(
            "secret", "a password in the URL is refused: use observe.password_env or observe.password_file"
        )
    port = parts.port  # raises ValueError itself
    if not url.startswith(f"{parts.scheme}://") or not parts.hostname or port == 0:
        raise ValueError(f"expected {_MAILBOX_FORM}")
    folder = _folder(parts)
    user = unquote(parts.username) if parts.username else None
    number = _MAILBOX_PORTS[parts.scheme] if port is None else port
    return Mailbox(parts.scheme, parts.hostname, number, user, folder)  # type: ignore[arg-type]


def _folder(parts: SplitResult) -> str:
    folder = unquote(parts.path.removeprefix("/"))
    if parts.query or parts.fragment:
        raise ValueError(f"expected {_MAILBOX_FORM} and nothing more")
    if parts.scheme.startswith("pop3"):
        if folder:
            raise ValueError("a POP3 server has one mailbox for each user: nothing can follow the port")
        return ""
    if folder and not _FOLDER.fullmatch(folder):
        raise ValueError("the name of the mailbox is not printable ASCII")
    return folder or "INBOX"


class Relay(_Strict):
    """The next hop that we are: the target has been told to relay mail for `domain` to `listen`.

    `retry_s` is about how long it waits before it tries again; without it nothing is asked that needs
    a second attempt. `certificate` is a PEM file, key and chain, for STARTTLS; without one we make our own.
    """

    listen: Annotated[str, Field(min_length=3)]
    domain: Annotated[str, Field(min_length=1, max_length=190)]
    retry_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    certificate: Path | None = None

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
            raise ValueError("expected HOST:PORT")
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, without brackets about an IPv6 literal."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Queue(_Strict):
    """The target's queue. `retry_factor`: its schedule of retries is so many times as fast as in production,
    so that 30 minutes of RFC 5321 §4.5.4.1 are 30 min / `retry_factor` here; 1 is production itself.

    `retry_s` is about how long a message that it could not deliver waits for the next attempt, where
    `relay.retry_s` does not say it; 0 is a server that delivers before it answers, and has no queue.
    """

    retry_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    retry_factor: Annotated[float, Field(ge=1, le=1_000_000)] | None = None


class Crash(_Strict):
    """How the target is killed and started again, by commands that `/bin/sh -c` runs on this machine.

    `kill` has to take all its processes at once, as SIGKILL does, and to end. `start` may end when the target
    runs, or be the server itself. It has to greet again `within_s` seconds later. `pids` prints the numbers
    of its processes, for a trace of their system calls; without it they are those that listen on its port,
    and all in their sessions.
    """

    kill: Annotated[str, Field(min_length=1, max_length=4096)]
    start: Annotated[str, Field(min_length=1, max_length=4096)]
    within_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    pids: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class Timeouts(_Strict):
    """Waits in seconds. ``quiet`` is how long a silence must last to count as one, ``idle`` how long a client
    is silent in `--slow` cases where a server must bear it (RFC 5321 §4.5.3.2.7 asks for five minutes)."""

    connect: Annotated[float, Field(gt=0, le=600)] = 10.0
    reply: Annotated[float, Field(gt=0, le=600)] = 10.0
    delivery: Annotated[float, Field(gt=0, le=3600)] = 15.0
    quiet: Annotated[float, Field(gt=0, le=60)] = 0.3
    idle: Annotated[float, Field(gt=0, le=600)] = 295.0


class Disturb(_Strict):
    """Two commands that `/bin/sh -c` runs on this machine: `strike` brings a shortage upon the target,
    `recover` ends it. Each has to end within half a minute.
    """

    strike: Annotated[str, Field(min_length=1, max_length=4096)]
    recover: Annotated[str, Field(min_length=1, max_length=4096)]


class Shortage(_Strict):
    """How the target runs short of what no client can take from it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    disk_full: Annotated[Disturb | None, Field(alias="disk-full")] = None
    descriptors: Disturb | None = None


class Target(_Strict):
    """The server under test. Built by `load_toml`, `from_url` or a lab recipe.

    `read` are the ways in which recipients read what `observe` sees delivered.
    """

    name: str = "target"
    endpoints: dict[Role, Endpoint] = Field(min_length=1)
    fixtures: Fixtures = Fixtures()
    auth: Credentials | None = None
    tls: Tls = Tls()
    observe: Observe | None = None
    read: tuple[Observe, ...] = ()
    relay: Relay | None = None
    queue: Queue = Queue()
    crash: Crash | None = None
    timeouts: Timeouts = Timeouts()
    shortage: Shortage | None = None
    client_name: str = "client.example.org"

    @field_validator("read")
    @classmethod
    def _protocols(cls, value: tuple[Observe, ...]) -> tuple[Observe, ...]:
        mailboxes = [one.mailbox for one in value]
        protocols = [one.protocol for one in mailboxes if one is not None]
        if len(protocols) < len(value) or len(set(protocols)) < len(protocols):
            raise ValueError("expected at most one imap://… and one pop3://… (or imaps, pop3s)")
        return value

    @property
    def main(self) -> Endpoint:
        """The endpoint most tests use: mx if there is one, else the first given."""
        return self.endpoints.get(Role.MX) or next(iter(self.endpoints.values()))

    @property
    def retry_s(self) -> float | None:
        """About how long a message waits for the next attempt to deliver it; None if nobody says."""
        return self.relay.retry_s if self.relay and self.relay.retry_s else self.queue.retry_s


def load_toml(path: Path) -> Target:
    """The target a TOML file describes. Raises UsageError, one line per mistake (key, value, expected)."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    data.setdefault("name", path.stem)
    return parse_target(data, where=str(path))


def parse_target(data: dict[str, Any], *, where: str) -> Target:
    """A validated target from plain data; `where` begins each line of an error."""
    try:
        return Target.model_validate(data)
    except ValidationError as error:
        lines = [_one_line(where, item) for item in error.errors()]
        raise UsageError("\n".join(lines)) from None


def _one_line(where: str, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"] if part != "[key]")
    if item["type"] == "extra_forbidden" and item["loc"][0] == "auth":
        return f"{where}: {key}: unknown key, expected username and password_env or password_file"
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"])
        return f"{where}: {key}: unknown key (value {item['input']!r}), expected one of {known}"
    if item["type"] == "missing":
        return f"{where}: {key}: missing, a value is needed"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "secret":
        return f"{where}: {key}: {message}"
    return f"{where}: {key}: {item['input']!r}: {message[:1].lower()}{message[1:]}"


_SECTIONS: dict[str, type[_Strict]] = {
    "endpoints": Endpoint,
    "fixtures": Fixtures,
    "tls": Tls,
    "observe": Observe,
    "read": Observe,
    "relay": Relay,
    "queue": Queue,
    "crash": Crash,
    "timeouts": Timeouts,
    "shortage": Shortage,
}


_BELOW: dict[str, type[_Strict]] = {"shortage": Disturb}  # tables in a table of another kind


def _known_keys(location: tuple[str | int, ...]) -> str:
    """The keys that are known where an unknown one was found."""
    name = str(location[0])
    inner = _BELOW if len(location) > 2 else {}
    section = Target if len(location) == 1 else inner.get(name, _SECTIONS[name])
    return ", ".join(field.alias or key for key, field in section.model_fields.items())


def to_toml(target: Target) -> str:
    """A target file that `load_toml` reads back to the same target; defaults are left out."""
    import tomli_w  # needed by `lab up` alone

    return tomli_w.dumps(target.model_dump(mode="json", exclude_unset=True, exclude_none=True))


_URL_ROLES: dict[str, tuple[Role, int]] = {
    "smtp": (Role.MX, 25),
    "smtps": (Role.SUBMISSIONS, 465),
    "lmtp": (Role.LMTP, 24),
}
SUBMISSION_PORT = 587


def from_url(url: str) -> Target:
    """The target of ``smtp://``, ``smtps://`` or ``lmtp://host:port``; port 587 is taken as submission."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from None
    if parts.scheme not in _URL_ROLES:
        raise UsageError(f"{url}: unknown scheme {parts.scheme!r}, expected smtp://, smtps:// or lmtp://")
    if "@" in parts.netloc:  # not echoed: what stands before the @ may hold a password
        raise UsageError("a user or password in a target URL is refused: use --username and --password-env")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"{url}: expected {parts.scheme}://HOST:PORT and nothing more")
    try:
        port, host = parts.port, parts.hostname
    except ValueError:
        raise UsageError(f"{url}: the port is not a number from 1 to 65535") from None
    if not host:
        raise UsageError(f"{url}: the host is missing")
    role, default_port = _URL_ROLES[parts.scheme]
    number = default_port if port is None else port
    if role is Role.MX and number == SUBMISSION_PORT:
        role = Role.SUBMISSION
    tls = {Role.SUBMISSIONS: "implicit", Role.SUBMISSION: "starttls"}.get(role, "none")
    endpoint = {"host": host, "port": number, "tls": tls}
    return parse_target({"name": url, "endpoints": {role.value: endpoint}}, where=url)


def require_authorized(target: Target, authorized: frozenset[str]) -> None:
    """Refuse a target that is not on loopback unless its host was typed after ``--authorized``.

    Every address that a host resolves to must be a loopback address, and so must a mailbox that is read
    over the network. Raises UsageError.
    """
    hosts = [endpoint.host for endpoint in target.endpoints.values()]
    places = (target.observe, *target.read) if target.observe else target.read
    for host in [*hosts, *(one.mailbox.host for one in places if one.mailbox)]:
        require_host(host, authorized)


def require_host(host: str, authorized: frozenset[str]) -> None:
    """Refuse a `host` off this machine that was not typed after ``--authorized``. Raises UsageError."""
    if host not in authorized and not is_loopback(host):
        raise UsageError(
            f"{host} is not a loopback address: add --authorized {host} "
            "if you are allowed to test that server"
        )


def is_loopback(host: str) -> bool:
    """Whether all addresses that `host` resolves to are. Raises UsageError if it does not resolve."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}: cannot be resolved: {reason}") from None
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    return all(address.is_loopback for address in addresses)
