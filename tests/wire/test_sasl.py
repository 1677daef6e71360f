"""SASL, client side: the examples of the RFCs, and each mechanism against an independent server half."""

from __future__ import annotations

import pytest
from scramp import ScramMechanism

from smtpbench.wire import sasl


def test_plain_is_one_message() -> None:
    assert sasl.mechanism("plain", "tim", "tanstaaftanstaaf").initial == b"\0tim\0tanstaaftanstaaf"


def test_login_answers_two_prompts_and_no_third() -> None:
    login = sasl.mechanism("LOGIN", "user", "secret")
    assert login.initial is None
    assert [login.respond(b"Username:"), login.respond(b"anything")] == [b"user", b"secret"]
    with pytest.raises(ValueError, match="third"):
        login.respond(b"again")


def test_cram_md5_example_of_rfc_2195() -> None:
    exchange = sasl.mechanism("CRAM-MD5", "tim", "tanstaaftanstaaf")
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert exchange.respond(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def scram_server(password: str) -> object:
    mechanism = ScramMechanism("SCRAM-SHA-256")
    auth_info = mechanism.make_auth_info(password, iteration_count=4096)
    return mechanism.make_server(lambda name: auth_info)


def test_scram_sha_256_with_a_server() -> None:
    server = scram_server("pencil")
    client = sasl.mechanism("SCRAM-SHA-256", "user", "pencil")
    assert client.initial is not None
    server.set_client_first(client.initial.decode())  # type: ignore[attr-defined]
    final = client.respond(server.get_server_first().encode())  # type: ignore[attr-defined]
    server.set_client_final(final.decode())  # type: ignore[attr-defined]
    assert client.respond(server.get_server_final().encode()) == b""  # type: ignore[attr-defined]


@pytest.mark.parametrize("challenge", [b"", b"garbage", b"r=other,s=QQ==,i=4096", b"\xff"])
def test_scram_challenges_that_make_no_sense_are_value_errors(challenge: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the text is scramp's)
        sasl.mechanism("SCRAM-SHA-256", "user", "pencil").respond(challenge)


def test_oauth_messages() -> None:
    bearer = sasl.mechanism("OAUTHBEARER", "a,b=c@example.com", "tok")
    assert bearer.initial == b"n,a=a=2Cb=3Dc@example.com,\1auth=Bearer tok\1\1"
    assert bearer.respond(b"{}") == b"\1"
    xoauth2 = sasl.mechanism("XOAUTH2", "a@example.com", "tok")
    assert xoauth2.initial == b"user=a@example.com\1auth=Bearer tok\1\1"
    assert xoauth2.respond(b"{}") == b""


def test_every_listed_mechanism_can_be_made() -> None:
    assert [type(sasl.mechanism(name, "u", "p")).__name__ for name in sasl.MECHANISMS]
    with pytest.raises(KeyError):
        sasl.mechanism("NOSUCH", "u", "p")
