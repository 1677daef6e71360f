"""What a case needs before it can ask its question. An unmet need is `untested` with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from smtpbench.target import Endpoint, Role, Target
from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions
from smtpbench.wire.replies import TAKES_NO_MAIL

SOON = 30.0  # seconds; a second attempt that comes later is waited for with --slow only


RETRIES = 4  # a second attempt is waited for this many times as long as the target file says


@dataclass(frozen=True)
class Offers:
    """What one endpoint said when it was asked, before the cases.

    `clear` is the EHLO before TLS and `encrypted` the one inside it (None: no TLS was had, for the reason
    in `no_tls`); `authenticated` the one after AUTH, None without credentials or if they were refused.
    `trouble` says why the endpoint could not be asked at all.
    """

    greeting: str = ""
    code: int = 0  # of the greeting
    clear: Extensions = NO_EXTENSIONS
    encrypted: Extensions | None = None
    authenticated: Extensions | None = None
    no_tls: str = "TLS is not offered"
    speaks_second: bool = False  # no greeting came until we said something
    no_auth: str | None = None  # why credentials are of no use here, where they were tried
    trouble: str | None = None


NOT_ASKED = Offers(trouble="the endpoint was not asked")


@dataclass(frozen=True)
class Facts:
    """What is known of the target before the cases run, as a case sees it that talks to `role`."""

    target: Target
    role: Role
    offers: Mapping[Role, Offers] = field(default_factory=dict)
    observable: bool = False
    slow: bool = False
    seed: int = 0  # of what cases draw at random

    def at(self, role: Role | None) -> Facts:
        """The same, as seen by a case that talks to the endpoint of `role` (None: this one)."""
        return self if role is None else replace(self, role=role)

    @property
    def endpoint(self) -> Endpoint:
        """Where the case talks to."""
        return self.target.endpoints[self.role]

    @property
    def here(self) -> Offers:
        """What that endpoint said of itself."""
        return self.offers.get(self.role, NOT_ASKED)

    @property
    def greeting(self) -> str:
        """Its greeting."""
        return self.here.greeting

    @property
    def extensions(self) -> Extensions:
        """What it offers where a session is ready for mail: after STARTTLS, if the endpoint asks for it."""
        ready = self.here.clear if self.endpoint.tls == "none" else self.here.encrypted
        return NO_EXTENSIONS if ready is None else ready

    @property
    def mechanisms(self) -> frozenset[str]:
        """SASL mechanisms that it offers, in clear or inside TLS."""
        inside = self.here.encrypted or NO_EXTENSIONS
        return frozenset((*self.here.clear.auth_mechanisms, *inside.auth_mechanisms))


@dataclass(frozen=True)
class Need:
    """A named precondition; `unmet` gives the reason in words, or None where it is met.

    It is asked of the facts as they are at the endpoint which the case talks to.
    """

    name: str
    unmet: Callable[[Facts], str | None] = field(compare=False)
    role: Role | None = None  # the endpoint that the case talks to, if not the main one


def _need(name: str, met: Callable[[Facts], bool], reason: str) -> Need:
    return Need(name, lambda facts: None if met(facts) else reason)


def _fixture(key: str, option: str | None = None) -> Need:
    reason = f"no fixture: fixtures.{key}" + (f" (or {option})" if option else "") + " is not set"
    return _need(key, lambda facts: getattr(facts.target.fixtures, key) is not None, reason)


RECIPIENT = _fixture("recipient", "--recipient")
SECOND_RECIPIENT = _fixture("second_recipient")
UNKNOWN_RECIPIENT = _fixture("unknown_recipient", "--unknown-recipient")
FOREIGN_RECIPIENT = _fixture("foreign_recipient")
UTF8_RECIPIENT = _fixture("utf8_recipient")
BOUNCING_RECIPIENT = _fixture("bouncing_recipient")
LOCAL_DOMAIN = _need(
    "local_domain",
    lambda facts: bool(facts.target.fixtures.local_domains),
    "no fixture: fixtures.local_domains is empty",
)
NULL_MX_DOMAIN = _fixture("null_mx_domain")
DELIVERED = _need("delivered", lambda facts: facts.observable, "no observer: --observe is not given")
NUL_DELIVERED = _need(
    "nul delivered",
    lambda facts: facts.target.observe is None or facts.target.observe.mailbox is None,
    "mail is read over IMAP or POP3, where a server puts something else in the place of a NUL",
)
AUTH = _need("auth", lambda facts: facts.target.auth is not None, "no credentials: --username is not given")
SLOW = _need("slow", lambda facts: facts.slow, "takes minutes: run with --slow")
TLS = _need(
    "tls",
    lambda facts: "STARTTLS" in facts.here.clear or facts.endpoint.tls != "none",
    "TLS is not offered",
)
RELAY = _need("relay", lambda facts: facts.target.relay is not None, "no next hop: [relay] is not set")
REFUSING = _need(
    "refusing",
    lambda facts: facts.here.code in TAKES_NO_MAIL,
    "the server takes mail: it did not greet with 554 or 521",
)
AUTH_OFFERED = _need(
    "auth offered",
    lambda facts: "AUTH" in facts.here.clear or "AUTH" in (facts.here.encrypted or NO_EXTENSIONS),
    "AUTH is not offered",
)


def _no_retry(facts: Facts) -> str | None:
    relay = facts.target.relay
    if relay is None or relay.retry_s is None:
        return "how soon the server tries again is not known: relay.retry_s is not set"
    if relay.retry_s > SOON and not facts.slow:
        return f"the server tries again after {relay.retry_s:g} s: run with --slow"
    return None


RETRY = Need("retry", _no_retry)


def EXTENSION(keyword: str) -> Need:  # noqa: N802 - reads as the constants beside it
    """EHLO lists `keyword` where a session is ready for mail: inside TLS only if the endpoint asks for it."""
    name = keyword.upper()
    return _need(f"extension {name}", lambda facts: name in facts.extensions, f"{name} is not offered")


def NO_EXTENSION(keyword: str) -> Need:  # noqa: N802
    """EHLO does not list `keyword` there."""
    name = keyword.upper()
    return _need(f"no extension {name}", lambda facts: name not in facts.extensions, f"{name} is offered")


def TLS_EXTENSION(keyword: str) -> Need:  # noqa: N802
    """EHLO inside TLS lists `keyword`; the case begins TLS itself where the endpoint does not."""
    name = keyword.upper()

    def unmet(facts: Facts) -> str | None:
        inside = facts.here.encrypted
        if inside is None:
            return facts.here.no_tls
        return None if name in inside else f"{name} is not offered inside TLS"

    return Need(f"extension {name} inside TLS", unmet)


def MECHANISM(name: str) -> Need:  # noqa: N802
    """AUTH is offered with this mechanism, in clear or inside TLS."""
    key = name.upper()
    return _need(f"mechanism {key}", lambda facts: key in facts.mechanisms, f"AUTH {key} is not offered")


def ENDPOINT(role: Role) -> Need:  # noqa: N802
    """The target has an endpoint of this role; the case's Peer talks to that one."""
    reason = f"the target has no {role.value} endpoint"
    return Need(
        f"endpoint {role.value}", lambda facts: None if role in facts.target.endpoints else reason, role
    )


def endpoint_role(needs: Iterable[Need]) -> Role | None:
    """The role that the first ENDPOINT among `needs` asks for."""
    return next((need.role for need in needs if need.role is not None), None)


def why_not(needs: Iterable[Need], facts: Facts) -> str | None:
    """Why a case with `needs` cannot be asked, judged at the endpoint that it talks to; None if it can."""
    asked = tuple(needs)
    there = facts.at(endpoint_role(asked))
    if there.role not in there.target.endpoints:
        return f"the target has no {there.role.value} endpoint"
    if there.here.trouble:
        return there.here.trouble
    return next((reason for need in asked if (reason := need.unmet(there))), None)
