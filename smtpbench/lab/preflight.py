"""One connection to each endpoint before a run: bad input gives one clear line instead of many failures."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Iterable
from contextlib import suppress

from smtpbench.errors import DeadlineExceeded, Inconclusive, NotSmtp, SessionError, TlsFailed, UsageError
from smtpbench.session import Session
from smtpbench.target import Endpoint, Role, Target, Timeouts, Tls
from smtpbench.wire.replies import TAKES_NO_MAIL

SECOND_LOOK = Timeouts(connect=2.0, reply=2.0)  # only to name what is there instead of SMTP
CA_ADVICE = " (--ca names the CA to trust)"


def preflight(target: Target) -> None:
    """See that every endpoint of `target` greets as an SMTP server and begins TLS as the target says.

    Raises UsageError for a CA file that is not there or holds none; Unreachable, TlsFailed, DeadlineExceeded,
    NotSmtp or ConnectionLost for what is wrong with an endpoint; Inconclusive if it turns us away.
    """
    _check_ca(target)
    asyncio.run(_all(target, target.endpoints))


def preflight_for_cases(main: Role | None, target: Target) -> None:
    """See that the endpoint `main` (None: the target's main one) can be asked by the cases.

    As `preflight`, but of that endpoint only, and a server that greets with 554 or 521 passes: how it does
    that is what cases ask. What is wrong with another endpoint leaves its cases untested, with the reason.
    """
    _check_ca(target)
    roles = [role for role in target.endpoints if role is main] or [
        role for role, endpoint in target.endpoints.items() if endpoint is target.main
    ]
    asyncio.run(_all(target, roles, pass_over=TAKES_NO_MAIL))


def _check_ca(target: Target) -> None:
    ca = target.tls.ca
    if ca is None:
        return
    if not ca.is_file():
        raise UsageError(f"tls.ca: {ca}: no such file")
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        why = "no certificate in PEM is in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(f"tls.ca: {ca}: {why}") from None


async def _all(target: Target, roles: Iterable[Role], pass_over: Collection[int] = ()) -> None:
    for role in roles:
        endpoint = target.endpoints[role]
        session = await _open(target, endpoint)
        try:
            verb = "LHLO" if role is Role.LMTP else "EHLO"
            await _introduce(target, endpoint, session, verb, pass_over)
        finally:
            session.abort()


async def _open(target: Target, endpoint: Endpoint) -> Session:
    try:
        return await Session.open(endpoint, tls=target.tls, timeouts=target.timeouts)
    except TlsFailed as error:
        if _about_certificate(error):
            raise TlsFailed(f"{error}{CA_ADVICE}") from None
        if await _greets_in_clear(endpoint):
            raise TlsFailed(f"{endpoint.address}: speaks plain SMTP where TLS was expected") from None
        raise


async def _introduce(
    target: Target, endpoint: Endpoint, session: Session, verb: str, pass_over: Collection[int]
) -> None:
    try:
        greeting = await session.greeting()
    except DeadlineExceeded:
        await _name_what_is_there(endpoint)
        raise
    if greeting.code in pass_over:
        return
    if greeting.severity != 2:
        raise Inconclusive(f"{endpoint.address}: the server turns us away: {greeting}")
    if endpoint.tls == "starttls":
        await _start_tls(target, endpoint, session, verb)
    with suppress(SessionError):  # it has shown what we came for; how it parts is a matter of the cases
        await session.command(b"QUIT", timeout=SECOND_LOOK.reply)


async def _start_tls(target: Target, endpoint: Endpoint, session: Session, verb: str) -> None:
    await session.ehlo(target.client_name, verb)
    if "STARTTLS" not in session.extensions:
        raise TlsFailed(f'{endpoint.address}: does not offer STARTTLS, but its tls is "starttls"')
    try:
        reply = await session.starttls()
    except TlsFailed as error:
        raise TlsFailed(f"{error}{CA_ADVICE if _about_certificate(error) else ''}") from None
    if not session.tls_active:
        raise TlsFailed(f"{endpoint.address}: STARTTLS refused: {reply}")


def _about_certificate(error: TlsFailed) -> bool:
    return "certificate:" in str(error)


async def _greets_in_clear(endpoint: Endpoint) -> bool:
    plain = endpoint.model_copy(update={"tls": "none"})
    try:
        session = await Session.open(plain, timeouts=SECOND_LOOK)
    except SessionError:
        return False
    try:
        return (await session.greeting()).code == 220
    except SessionError:
        return False
    finally:
        session.abort()


async def _name_what_is_there(endpoint: Endpoint) -> None:
    """Raise what a silent server is, if it tells: one that waits for TLS, or for an HTTP request.

    Asked only after the whole wait for a greeting: a server that greets late would take either for an attack.
    """
    if await _answers_tls(endpoint):
        raise TlsFailed(f"{endpoint.address}: speaks TLS where plain SMTP was expected")
    if await _answers_http(endpoint):
        raise NotSmtp(f"{endpoint.address}: speaks HTTP, not SMTP")


async def _answers_tls(endpoint: Endpoint) -> bool:
    implicit = endpoint.model_copy(update={"tls": "implicit"})
    try:
        session = await Session.open(implicit, tls=Tls(verify=False), timeouts=SECOND_LOOK)
    except SessionError:
        return False
    session.abort()
    return True


async def _answers_http(endpoint: Endpoint) -> bool:
    plain = endpoint.model_copy(update={"tls": "none"})
    try:
        session = await Session.open(plain, timeouts=SECOND_LOOK)
    except SessionError:
        return False
    try:
        await session.send(b"OPTIONS / HTTP/1.0\r\n\r\n")
        return (await session.quiet(SECOND_LOOK.reply)).startswith(b"HTTP/")
    except SessionError:
        return False
    finally:
        session.abort()
