"""AUTH: what each mechanism accepts and refuses, and the rules of RFC 4954 about it."""

import base64
import hmac

import pytest
import scramp

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
        (b"\0alice\0", 501),
        (b"\0\0secret", 501),
        (b"alice", 501),
        (b"alice\0secret", 501),
        (b"\0alice\0secret\0", 501),
        (b"\0\xff\0secret", 501),
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


def scram(talk, user, password):
    client = scramp.ScramClient(["SCRAM-SHA-256"], user, password)
    first = b64(client.get_client_first().encode())
    reply = talk.say(b"AUTH SCRAM-SHA-256 " + first + b"\r\n")
    if not reply.startswith(b"334 "):
        return client, reply
    client.set_server_first(base64.b64decode(reply[4:]).decode())
    return client, talk.say(b64(client.get_client_final().encode()) + b"\r\n")


def test_scram_sha_256_proves_the_server_too(talk):
    client, reply = scram(talk, "alice", "secret")
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
    (code,) = talk.codes(b"AUTH SCRAM-SHA-256 " + (b64(first) or b"=") + b"\r\n")
    assert code in (501, 535)
    assert talk.codes(b"NOOP\r\n") == [250]


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([b"AUTH NOSUCH"], [504]),
        ([b"AUTH"], [501]),
        ([b"AUTH PLAIN !!!!"], [501]),
        ([b"AUTH PLAIN =AAA"], [501]),
        ([b"AUTH PLAIN AAA=BBB"], [501]),
        ([b"AUTH PLAIN ="], [501]),
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
    assert b"250-AUTH " + " ".join(MECHANISMS).encode() in inside.say(HELLO)


def test_submission_is_for_users(new_talk):
    talk = new_talk(users=USERS, role=Role.SUBMISSION, encrypted=True)
    talk.say(HELLO)
    assert talk.say(b"MAIL FROM:<>\r\n").startswith(b"530 5.7.0 ")
    assert talk.codes(b"NOOP\r\nRSET\r\nHELP\r\nVRFY alice\r\n") == [250, 250, 214, 530]
    assert talk.codes(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n") == [235]
    assert talk.send(b"x\r\n", (b"a@elsewhere.example", b"bob@example.com")) == [354, 250]
    relayed, local = talk.stored
    assert relayed.mailbox == "relayed"
    assert relayed.content.startswith(b"Received: ")
    assert local.content.startswith(b"Return-Path: ")
    assert b" with ESMTPSA id " in local.content
    assert talk.codes(b"MAIL FROM:<>\r\nRCPT TO:<nobody@example.com>\r\n") == [250, 550]
