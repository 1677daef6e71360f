"""What a case needs before it can ask its question. An unmet need is `untested` with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from smtpbench.target import Role, Target
from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions


@dataclass(frozen=True)
class Facts:
    """What is known of the target before the cases run. `extensions` are of the first EHLO (after
    STARTTLS, where the endpoint asks for it); `trouble` says why there is no answer to it."""

    target: Target
    greeting: str = ""
    extensions: Extensions = NO_EXTENSIONS
    observable: bool = False
    slow: bool = False
    trouble: str | None = None


@dataclass(frozen=True)
class Need:
    """A named precondition; `unmet` gives the reason in words, or None where it is met."""

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
LOCAL_DOMAIN = _need(
    "local_domain",
    lambda facts: bool(facts.target.fixtures.local_domains),
    "no fixture: fixtures.local_domains is empty",
)
DELIVERED = _need("delivered", lambda facts: facts.observable, "no observer: --observe is not given")
AUTH = _need("auth", lambda facts: facts.target.auth is not None, "no credentials: --username is not given")
SLOW = _need("slow", lambda facts: facts.slow, "takes minutes: run with --slow")
TLS = _need(
    "tls",
    lambda facts: "STARTTLS" in facts.extensions or facts.target.main.tls != "none",
    "TLS is not offered",
)


def EXTENSION(keyword: str) -> Need:  # noqa: N802 - reads as the constants beside it
    """EHLO lists `keyword`."""
    name = keyword.upper()
    return _need(f"extension {name}", lambda facts: name in facts.extensions, f"{name} is not offered")


def NO_EXTENSION(keyword: str) -> Need:  # noqa: N802
    """EHLO does not list `keyword`."""
    name = keyword.upper()
    return _need(f"no extension {name}", lambda facts: name not in facts.extensions, f"{name} is offered")


def ENDPOINT(role: Role) -> Need:  # noqa: N802
    """The target has an endpoint of this role; the case's Peer talks to that one."""
    reason = f"the target has no {role.value} endpoint"
    return Need(
        f"endpoint {role.value}", lambda facts: None if role in facts.target.endpoints else reason, role
    )


def endpoint_role(needs: Iterable[Need]) -> Role | None:
    """The role that the first ENDPOINT among `needs` asks for."""
    return next((need.role for need in needs if need.role is not None), None)
