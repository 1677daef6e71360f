"""What the endpoints say of themselves, and the needs that are judged by it."""

from __future__ import annotations

import pytest

from smtpbench.conformance import (
    AUTH_OFFERED,
    ENDPOINT,
    EXTENSION,
    MECHANISM,
    NO_EXTENSION,
    REFUSING,
    TLS,
    TLS_EXTENSION,
    Need,
    Role,
)
from smtpbench.conformance.needs import Facts, Offers, why_not
from smtpbench.conformance.reference import REFERENCE_TIMEOUTS, StoreObserver, reference
from smtpbench.conformance.survey import survey
from smtpbench.errors import Unreachable, UsageError
from smtpbench.lab.workspace import Workspace
from smtpbench.server import ServerConfig
from smtpbench.server.server import Server
from smtpbench.target import Credentials, Endpoint, Target
from smtpbench.wire.ehlo import Extensions


async def test_each_endpoint_is_asked_in_clear_in_tls_and_after_auth(
    reference_server: tuple[Target, StoreObserver],
) -> None:
    facts = await survey(reference_server[0], observable=True)
    assert facts.role is Role.MX
    mx, submission = facts.offers[Role.MX], facts.offers[Role.SUBMISSION]
    submissions, lmtp = facts.offers[Role.SUBMISSIONS], facts.offers[Role.LMTP]
    assert [offers.code for offers in facts.offers.values()] == [220] * 4
    assert "STARTTLS" in mx.clear
    assert "AUTH" not in mx.clear
    for inside in (mx.encrypted, submission.encrypted, submissions.encrypted, lmtp.encrypted):
        assert inside is not None
        assert "STARTTLS" not in inside
        assert "SIZE" in inside
    assert submission.encrypted is not None
    assert "PLAIN" in submission.encrypted.auth_mechanisms
    assert submission.authenticated is not None
    assert "AUTH" in submission.authenticated
    assert not submissions.clear  # nothing is said in clear where TLS comes first
    assert all(offers.trouble is None for offers in facts.offers.values())


async def test_wrong_credentials_are_no_trouble(
    reference_server: tuple[Target, StoreObserver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOT_THE_PASSWORD", "wrong")
    wrong = Credentials(username="alice", password_env="NOT_THE_PASSWORD")
    target = reference_server[0].model_copy(update={"auth": wrong})
    offers = (await survey(target, observable=False)).offers[Role.SUBMISSION]
    assert offers.authenticated is None
    assert offers.encrypted is not None
    assert offers.trouble is None


async def test_a_certificate_that_cannot_be_checked_leaves_tls_untested(
    reference_server: tuple[Target, StoreObserver],
) -> None:
    target = reference_server[0]
    alone = Target(endpoints={Role.MX: target.main}, timeouts=REFERENCE_TIMEOUTS)  # without the server's CA
    facts = await survey(alone, observable=False)
    assert "SIZE" in facts.extensions
    assert facts.here.encrypted is None
    reason = why_not([TLS_EXTENSION("SIZE")], facts)
    assert reason is not None
    assert reason.startswith("no TLS: ")
    assert "certificate" in reason


async def test_another_endpoint_that_is_away_leaves_its_cases_untested(
    reference_server: tuple[Target, StoreObserver], unused_tcp_port: int
) -> None:
    away = Endpoint(port=unused_tcp_port)
    target = reference_server[0]
    target = target.model_copy(update={"endpoints": {**target.endpoints, Role.LMTP: away}})
    facts = await survey(target, observable=False)
    reason = why_not([ENDPOINT(Role.LMTP), EXTENSION("SIZE")], facts)
    assert reason is not None
    assert reason.startswith("the lmtp endpoint could not be asked: ")
    assert "cannot connect" in reason
    assert why_not([EXTENSION("SIZE")], facts) is None
    with pytest.raises(Unreachable):
        await survey(target, observable=False, main=Role.LMTP)


async def test_an_endpoint_that_the_target_has_not_is_a_usage_error(
    reference_server: tuple[Target, StoreObserver],
) -> None:
    target = Target(endpoints={Role.MX: reference_server[0].main})
    with pytest.raises(UsageError, match="--endpoint: the target has no lmtp endpoint, only mx"):
        await survey(target, observable=False, main=Role.LMTP)


async def test_a_server_that_takes_no_mail(place: Workspace) -> None:
    async with reference(place, takes_no_mail=True) as (target, _):
        facts = await survey(target, observable=False)
    assert facts.greeting.startswith("554 ")
    assert why_not([REFUSING], facts) is None
    assert why_not([EXTENSION("SIZE")], facts) == "SIZE is not offered"


async def test_without_tls_there_is_a_reason() -> None:
    async with Server(ServerConfig()) as server:
        bare = Target(endpoints={Role.MX: Endpoint(port=server.port)}, timeouts=REFERENCE_TIMEOUTS)
        facts = await survey(bare, observable=False)
    assert why_not([TLS], facts) == "TLS is not offered"
    assert why_not([TLS_EXTENSION("SIZE")], facts) == "TLS is not offered"
    assert why_not([AUTH_OFFERED], facts) == "AUTH is not offered"


def facts(role: Role) -> Facts:
    """MX with STARTTLS and AUTH inside it; submission that says everything inside TLS; LMTP with nothing."""
    clear = Extensions({"STARTTLS": (), "SIZE": ()})
    inside = Extensions({"AUTH": ("PLAIN",), "REQUIRETLS": ()})
    target = Target(
        endpoints={
            Role.MX: Endpoint(port=1),
            Role.SUBMISSION: Endpoint(port=2, tls="starttls"),
            Role.LMTP: Endpoint(port=3),
        }
    )
    offers = {
        Role.MX: Offers("220", 220, clear, inside),
        Role.SUBMISSION: Offers("220", 220, clear, inside),
        Role.LMTP: Offers("220", 220),
    }
    return Facts(target, role, offers)


@pytest.mark.parametrize(
    ("need", "mx", "submission", "lmtp"),
    [
        (EXTENSION("SIZE"), None, "SIZE is not offered", "SIZE is not offered"),
        (EXTENSION("requiretls"), "REQUIRETLS is not offered", None, "REQUIRETLS is not offered"),
        (NO_EXTENSION("SIZE"), "SIZE is offered", None, None),
        (TLS_EXTENSION("requiretls"), None, None, "TLS is not offered"),
        (TLS_EXTENSION("SIZE"), *["SIZE is not offered inside TLS"] * 2, "TLS is not offered"),
        (TLS, None, None, "TLS is not offered"),
        (AUTH_OFFERED, None, None, "AUTH is not offered"),
        (MECHANISM("plain"), None, None, "AUTH PLAIN is not offered"),
        (MECHANISM("LOGIN"), *["AUTH LOGIN is not offered"] * 3),
        (REFUSING, *["the server takes mail: it did not greet with 554 or 521"] * 3),
    ],
)
def test_a_need_is_judged_at_the_endpoint(
    need: Need, mx: str | None, submission: str | None, lmtp: str | None
) -> None:
    assert why_not([need], facts(Role.MX)) == mx
    assert why_not([need], facts(Role.SUBMISSION)) == submission
    assert why_not([need, ENDPOINT(Role.SUBMISSION)], facts(Role.MX)) == submission
    assert why_not([need, ENDPOINT(Role.LMTP)], facts(Role.MX)) == lmtp


def test_an_endpoint_that_was_not_asked_or_is_not_there() -> None:
    assert why_not([], Facts(facts(Role.MX).target, Role.MX)) == "the endpoint was not asked"
    assert why_not([ENDPOINT(Role.SUBMISSIONS)], facts(Role.MX)) == "the target has no submissions endpoint"
