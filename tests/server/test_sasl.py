"""AUTH: what each mechanism accepts and refuses, and the rules of RFC 4954 about it."""

import base64
import hashlib
import hmac
import json
import ssl

import pytest
import scramp
import trustme

from smtpbench.server.sasl import MECHANISMS
from smtpbench.target import Role

USERS = {"alice": "secret", "josé": "pässword"}
HELLO = b"EHLO client.example.org\r\n"


def b64(octets):
    return base64.b64encode(octets)


@pytest.fixture
def talk(new_talk):
    talk = new_talk(users=USERS, auth_in_clear=True)
    talk.say(HELLO)
    return talk


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (b"\0alice\0secret", 235),
        (b"alice\0alice\0secret", 235),
        ("\0josé\0pässword".encode(), 235),
        (b"\0alice\0wrong", 535),
        (b"\0alice\0secret ", 535),
        (b"\0nobody\0secret", 535),
        (b"bob\0alice\0secret", 535),
        (b"\0alice\0", 535),
        (b"\0\0secret", 535),
        (b"alice", 535),
        (b"alice\0secret", 535),
        (b"\0alice\0secret\0", 535),
        (b"\0\xff\0secret", 535),
    ],
)
def test_plain_with_and_without_initial_response(new_talk, response, code):
    for group in ([b"AUTH PLAIN " + b64(response)], [b"AUTH plain", b64(response)]):
        talk = new_talk(users=USERS, auth_in_clear=True)
        talk.say(HELLO)
        replies = [talk.say(line + b"\r\n") for line in group]
        assert replies[:-1] == [b"334 \r\n"] * (len(group) - 1)
        assert replies[-1][:3] == str(code).encode()
        assert (talk.receiver.authenticated is not None) is (code == 235)


def test_login(talk):
    assert talk.say(b"AUTH LOGIN\r\n") == b"334 VXNlcm5hbWU6\r\n"
    assert talk.say(b64(b"alice") + b"\r\n") == b"334 UGFzc3dvcmQ6\r\n"
    assert talk.say(b64(b"secret") + b"\r\n") == b"235 2.7.0 Authentication successful\r\n"


def test_login_with_the_name_as_initial_response(talk):
    assert talk.say(b"AUTH LOGIN " + b64(b"alice") + b"\r\n") == b"334 UGFzc3dvcmQ6\r\n"
    assert talk.codes(b64(b"wrong") + b"\r\n") == [535]


@pytest.mark.parametrize(("password", "code"), [(b"secret", 235), (b"wrong", 535)])
def test_cram_md5(talk, password, code):
    challenges = set()
    for _ in range(2):
        challenge = base64.b64decode(talk.say(b"AUTH CRAM-MD5\r\n")[4:])
        challenges.add(challenge)
        assert challenge.startswith(b"<")
        assert challenge.endswith(b"@mx.example.com>")
        assert talk.codes(b"*\r\n") == [501]
    assert len(challenges) == 2
    challenge = base64.b64decode(talk.say(b"AUTH CRAM-MD5\r\n")[4:])
    digest = hmac.new(password, challenge, "md5").hexdigest().encode()
    assert talk.codes(b64(b"alice " + digest) + b"\r\n") == [code]


def scram(talk, user, password, mechanism="SCRAM-SHA-256", binding=None):
    client = scramp.ScramClient([mechanism], user, password, channel_binding=binding)
    first = b64(client.get_client_first().encode())
    reply = talk.say(f"AUTH {mechanism} ".encode() + first + b"\r\n")
    if not reply.startswith(b"334 "):
        return client, reply
    client.set_server_first(base64.b64decode(reply[4:]).decode())
    return client, talk.say(b64(client.get_client_final().encode()) + b"\r\n")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_scram_proves_the_server_too(talk, mechanism):
    client, reply = scram(talk, "alice", "secret", mechanism)
    client.set_server_final(base64.b64decode(reply[4:]).decode())  # raises if the signature is wrong
    assert talk.codes(b"\r\n") == [235]
    assert talk.receiver.authenticated == "alice"


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("nobody", "secret")])
def test_scram_sha_256_refuses(talk, user, password):
    _, reply = scram(talk, user, password)
    assert reply.startswith(b"535 5.7.8 ")
    assert talk.receiver.authenticated is None


@pytest.mark.parametrize(
    "first", [b"", b"junk", b"n,,m=x,n=alice,r=abc", b"p=tls-unique,,n=alice,r=abc", b"\xff"]
)
def test_scram_sha_256_refuses_what_is_not_scram(talk, first):
    assert talk.codes(b"AUTH SCRAM-SHA-256 " + (b64(first) or b"=") + b"\r\n") == [535]
    assert talk.codes(b"NOOP\r\n") == [250]


@pytest.fixture
def bound(new_talk):
    """A session in TLS whose channel has a binding."""
    talk = new_talk(users=USERS, encrypted=True)
    talk.receiver.tls_unique = b"finished"
    talk.say(HELLO)
    return talk


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize(
    ("binding", "code"),
    [
        (("tls-unique", b"finished"), 334),
        (("tls-unique", b"of another channel"), 535),
        (("tls-server-end-point", b"finished"), 535),
    ],
)
def test_scram_plus_is_bound_to_the_channel(bound, mechanism, binding, code):
    _, reply = scram(bound, "alice", "secret", mechanism, binding)
    assert reply[:3] == str(code).encode()


def test_scram_plus_takes_the_certificate_for_a_binding(new_talk):
    certificate = trustme.CA().issue_cert("mx.example.com").cert_chain_pems[0].bytes()
    talk = new_talk(users=USERS, encrypted=True, certificate=certificate.decode())
    assert b"SCRAM-SHA-256-PLUS" in talk.say(HELLO)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).digest()
    _, reply = scram(talk, "alice", "secret", "SCRAM-SHA-256-PLUS", ("tls-server-end-point", digest))
    assert reply[:3] == b"334"


def test_scram_refuses_a_client_that_saw_no_offer_of_a_binding(bound):
    client_first = b"y,,n=alice,r=abc"
    assert bound.codes(b"AUTH SCRAM-SHA-256 " + b64(client_first) + b"\r\n") == [535]


def test_what_needs_tls_is_not_offered_without(talk):
    offer = next(line for line in talk.say(HELLO).split(b"\r\n") if line[4:].startswith(b"AUTH "))
    assert b"OAUTHBEARER" not in offer
    assert b"-PLUS" not in offer
    assert talk.codes(b"AUTH OAUTHBEARER\r\nAUTH SCRAM-SHA-256-PLUS\r\n") == [504, 504]


GOOD_BEARER = b"n,a=alice,\1auth=Bearer secret\1\1"


@pytest.mark.parametrize(
    "response",
    [
        GOOD_BEARER,
        b"n,,\1auth=bearer secret\1\1",
        b"y,,\1host=MX.example.com\1port=587\1auth=Bearer secret\1x=y\1\1",
    ],
)
def test_oauthbearer_takes_a_good_token(bound, response):
    assert bound.codes(b"AUTH OAUTHBEARER " + b64(response) + b"\r\n") == [235]
    assert bound.receiver.authenticated == "alice"


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"n,a=alice,\1auth=Bearer wrong\1\1", "invalid_token"),
        (b"n,a=bob,\1auth=Bearer secret\1\1", "invalid_token"),
        (b"n,,\1auth=\1\1", "invalid_token"),
        (b"n,,\1auth=Basic secret\1\1", "invalid_token"),
        (b"n,,\1host=mx.example.net\1auth=Bearer secret\1\1", "invalid_token"),
        (GOOD_BEARER[:-1], "invalid_request"),
        (b"n,,\1auth:Bearer secret\1\1", "invalid_request"),
        (b"auth=Bearer secret\1\1", "invalid_request"),
        (b"\1", "invalid_request"),
        (b"", "invalid_request"),
    ],
)
def test_oauthbearer_says_why_and_fails(bound, response, status):
    reply = bound.say(b"AUTH OAUTHBEARER " + (b64(response) or b"=") + b"\r\n")
    assert json.loads(base64.b64decode(reply[4:]))["status"] == status
    assert bound.codes(b64(b"\1") + b"\r\n") == [535]
    assert bound.receiver.authenticated is None


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([b"AUTH NOSUCH"], [504]),
        ([b"AUTH"], [501]),
        ([b"AUTH PLAIN !!!!"], [501]),
        ([b"AUTH PLAIN =AAA"], [501]),
        ([b"AUTH PLAIN AAA=BBB"], [501]),
        ([b"AUTH PLAIN ="], [535]),
        ([b"AUTH PLAIN", b"*", b"NOOP"], [334, 501, 250]),
        ([b"AUTH CRAM-MD5 Zm9v", b"NOOP"], [501, 250]),
        ([b"AUTH PLAIN", b"x" * 20_000, b"NOOP"], [334, 500, 250]),
        ([b"AUTH PLAIN " + b"x" * 20_000, b"NOOP"], [500, 250]),
        ([b"AUTH PLAIN " + b64(b"\0alice\0" + b"x" * 9_000)], [535]),
        ([b"MAIL FROM:<>", b"AUTH PLAIN"], [250, 503]),
        ([b"AUTH PLAIN AGFsaWNlAHdyb25n", b"AUTH PLAIN AGFsaWNlAHNlY3JldA=="], [535, 235]),
        ([b"AUTH PLAIN AGFsaWNlAHNlY3JldA==", b"RSET", b"AUTH PLAIN"], [235, 250, 503]),
    ],
)
def test_the_rules_of_auth(talk, lines, codes):
    assert [talk.codes(line + b"\r\n")[0] for line in lines] == codes


def test_auth_needs_ehlo(new_talk):
    talk = new_talk(users=USERS, auth_in_clear=True)
    assert talk.codes(b"AUTH PLAIN\r\nHELO a\r\nAUTH PLAIN\r\n") == [503, 250, 503]


def test_auth_is_offered_inside_tls_only(new_talk):
    clear = new_talk(users=USERS)
    assert b"AUTH" not in clear.say(HELLO)
    assert clear.say(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n").startswith(b"538 5.7.11 ")
    inside = new_talk(users=USERS, encrypted=True)
    unbound = [name for name in MECHANISMS if not name.endswith("-PLUS")]
    assert b"250-AUTH " + " ".join(unbound).encode() + b"\r\n" in inside.say(HELLO)


def test_submission_is_for_users(new_talk):
    talk = new_talk(users=USERS, role=Role.SUBMISSION, encrypted=True)
    talk.say(HELLO)
    assert talk.say(b"MAIL FROM:<>\r\n").startswith(b"530 5.7.0 ")
    assert talk.codes(b"NOOP\r\nRSET\r\nHELP\r\nVRFY alice\r\n") == [250, 250, 214, 530]
    assert talk.codes(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n") == [235]
    assert talk.send(b"\r\nx\r\n", (b"a@elsewhere.example", b"bob@example.com")) == [354, 250]
    relayed, local = talk.stored
    assert relayed.mailbox == "relayed"
    assert relayed.content.startswith(b"Received: ")
    assert local.content.startswith(b"Return-Path: ")
    assert b" with ESMTPSA id " in local.content
    assert talk.codes(b"MAIL FROM:<>\r\nRCPT TO:<nobody@example.com>\r\n") == [250, 550]
