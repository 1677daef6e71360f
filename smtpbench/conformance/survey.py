"""What each endpoint says of itself before the cases: asked once, in clear, in TLS, after AUTH."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from smtpbench.conformance.needs import Facts, Offers
from smtpbench.errors import ConnectionLost, DeadlineExceeded, SessionError, SmtpbenchError, UsageError
from smtpbench.session import Session
from smtpbench.target import Role, Target
from smtpbench.wire.ehlo import NO_EXTENSIONS
from smtpbench.wire.replies import TAKES_NO_MAIL, Reply

PARTING = 1.0  # seconds for the server to close its side, so that nothing of ours is left open
MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "CRAM-MD5", "LOGIN")  # in the order in which we choose


async def survey(target: Target, *, observable: bool, slow: bool = False, main: Role | None = None) -> Facts:
    """What each endpoint of `target` says of itself. `main` is where cases go that name no endpoint.

    Raises what the main endpoint's trouble is (Unreachable, TlsFailed, NotSmtp, …), and UsageError if the
    target has no such endpoint; trouble with another one is kept in its `Offers`. A greeting or an EHLO
    that is refused is no trouble: there are no extensions then.
    """
    role = main_role(target, main)
    asked = await asyncio.gather(*(_ask(target, each) for each in target.endpoints), return_exceptions=True)
    offers = {}
    for each, found in zip(target.endpoints, asked, strict=True):
        if isinstance(found, Offers):
            offers[each] = found
        elif each is role or not isinstance(found, SessionError):
            raise found
        else:
            offers[each] = Offers(trouble=f"the {each.value} endpoint could not be asked: {found}")
    return Facts(target, role, offers, observable, slow)


def main_role(target: Target, wanted: Role | None = None) -> Role:
    """The role of the endpoint for cases that name none: `wanted`, else the target's main one."""
    if wanted is None:
        return next(role for role, endpoint in target.endpoints.items() if endpoint is target.main)
    if wanted not in target.endpoints:
        known = ", ".join(role.value for role in target.endpoints)
        raise UsageError(f"--endpoint: the target has no {wanted.value} endpoint, only {known}")
    return wanted


async def _ask(target: Target, role: Role) -> Offers:
    session = await Session.open(target.endpoints[role], tls=target.tls, timeouts=target.timeouts)
    try:
        greeting, speaks_second = await _greeting(session)
        offers = Offers(str(greeting), greeting.code, speaks_second=speaks_second)
        if greeting.code == 220:
            offers = await _offers(session, target, role, offers)
        elif greeting.code in TAKES_NO_MAIL:
            with suppress(SessionError):  # how it parts is a matter of the cases
                await session.command(b"QUIT")
        return offers
    finally:
        await session.close(within=PARTING)


async def _greeting(session: Session) -> tuple[Reply, bool]:
    """The greeting, and whether we had to speak first."""
    try:
        return await session.greeting(), False
    except DeadlineExceeded:
        # Wrong (§4.3.1), but some wait for the client to speak; a case will say so. Silence again: give up.
        return await session.command(b"NOOP"), True


async def _offers(session: Session, target: Target, role: Role, offers: Offers) -> Offers:
    """`offers` with what EHLO lists; what is known when the connection ends is what there is to know."""
    verb = "LHLO" if role is Role.LMTP else "EHLO"
    endpoint = target.endpoints[role]
    try:
        await session.ehlo(target.client_name, verb)
        if not session.tls_active:
            offers = replace(offers, clear=session.extensions)
            if "STARTTLS" in session.extensions:
                reply = await session.starttls()
                if not session.tls_active:
                    return replace(offers, no_tls=f"STARTTLS was not accepted: {reply}")
                await session.ehlo(target.client_name, verb)
        if session.tls_active:
            offers = replace(offers, encrypted=session.extensions)
        no_auth = await _authenticate(session, target)
        offers = replace(offers, no_auth=no_auth or None)
        if no_auth == "":
            await session.ehlo(target.client_name, verb)
            offers = replace(offers, authenticated=session.extensions)
    except (ConnectionLost, DeadlineExceeded) as error:
        return replace(offers, no_tls=f"no TLS: {error}")
    except SessionError as error:
        if endpoint.tls == "starttls":
            raise
        return replace(offers, no_tls=f"no TLS: {error}")
    return offers


async def _authenticate(session: Session, target: Target) -> str | None:
    """ "" if the target's credentials are accepted here, or why not; None where there is nothing to try."""
    offered = (session.extensions or NO_EXTENSIONS).auth_mechanisms
    mechanism = next((name for name in MECHANISMS if name in offered), None)
    if target.auth is None or mechanism is None:
        return None
    try:
        password = target.auth.password()
    except SmtpbenchError:
        return None  # a case that needs it says so
    try:
        reply = await session.auth(mechanism, target.auth.username, password)
    except DeadlineExceeded as error:
        return f"AUTH is not answered: {error}"
    if reply.code == 235:
        return ""
    return f"the credentials were refused: {reply}" if reply.severity == 5 else None
