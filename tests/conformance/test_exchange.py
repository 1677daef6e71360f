"""AUTH step by step: what is sent, and what of it shows."""

import base64

import pytest

from smtpbench.conformance.answer import Answer
from smtpbench.conformance.conversation import Surroundings
from smtpbench.conformance.exchange import (
    begin_auth,
    challenge_of,
    plain_message,
    respond,
    unknown_user,
    until_auth_offered,
    until_challenged,
    until_tls,
)
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer
from smtpbench.conformance.survey import survey
from smtpbench.target import Role
from smtpbench.transcript import Transcript
from smtpbench.wire.replies import ReplyParser

SECRET = "hush-hush"


def answer(raw):
    return Answer(b"", tuple(ReplyParser().feed(raw)))


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"334 \r\n", b""),
        (b"334 VXNlcm5hbWU6\r\n", b"Username:"),
        (b"334 no base64!\r\n", b""),
        (b"535 VXNlcm5hbWU6\r\n", b""),
    ],
)
def test_the_data_of_a_challenge(raw, data):
    assert challenge_of(answer(raw)) == data


def test_the_message_of_plain():
    assert plain_message("user", "pässword") == b"\0user\0p\xc3\xa4ssword"
    assert plain_message("user", "x", authzid="other") == b"other\0user\0x"


def test_nobody_is_called_the_same_twice():
    assert unknown_user() != unknown_user()


@pytest.fixture
async def peer(reference_server):
    """At the submission port of the reference server, with a transcript."""
    target, observer = reference_server
    there = (await survey(target, observable=True)).at(Role.SUBMISSION)
    peer = Peer(Surroundings(there, observer, Transcript(), there.endpoint, there.role))
    yield peer
    await peer.close()


async def test_tls_is_begun_where_auth_needs_it(peer):
    await until_auth_offered(peer, "PLAIN")
    assert peer.session.tls_active
    await until_tls(peer)  # there already
    with pytest.raises(Untested, match="AUTH NTLM is not offered"):
        await until_auth_offered(peer, "NTLM")


async def test_what_the_client_says_shows_nowhere(peer):
    await until_auth_offered(peer)
    message = plain_message("alice", SECRET)
    first = await begin_auth(peer, "PLAIN", message)
    await until_challenged(peer)
    second = await respond(peer, message)
    assert [first.code, second.code] == [535, 535]
    assert str(first).startswith("AUTH PLAIN → 535")
    sent = b"".join(entry.data for entry in peer.session.transcript.entries)
    for shown in (sent, f"{first}{second}".encode()):
        assert base64.b64encode(message) not in shown
        assert SECRET.encode() not in shown
