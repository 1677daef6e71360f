"""The SCRAM messages that cases build, held against the RFCs' examples and an independent server."""

import base64

import pytest
import scramp

from smtpbench.conformance.observation import Untested
from smtpbench.conformance.scram import ScramClient, attributes

EXAMPLES = [  # RFC 5802 §5 and RFC 7677 §3: digest, client's nonce, server-first, client-final, server-final
    (
        "sha1",
        "fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        "sha256",
        "rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]


@pytest.mark.parametrize(("digest", "nonce", "first", "final", "proof"), EXAMPLES)
def test_the_examples_of_the_rfcs(digest, nonce, first, final, proof):
    client = ScramClient("user", "pencil", digest, nonce=nonce)
    assert client.first() == f"n,,n=user,r={nonce}".encode()
    assert client.final(first) == final
    assert client.proven_by(proof)
    assert not client.proven_by(b"v=" + base64.b64encode(bytes(20)))
    assert not client.proven_by(b"")


def test_no_proof_is_expected_before_the_last_message():
    assert not ScramClient("user", "pencil").proven_by(b"v=")


def test_names_are_quoted():
    assert ScramClient("a=b,c", "x", nonce="n").first() == b"n,,n=a=3Db=2Cc,r=n"


def test_a_wrong_message_is_signed_as_it_is():
    """A server that does not look at the nonce finds the proof right: that is what the case is for."""
    mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
    server = mechanism.make_server(lambda user: mechanism.make_auth_info("pencil"))
    client = ScramClient("user", "pencil", final_suffix="x")
    server.set_client_first(client.first().decode())
    final = client.final(server.get_server_first().encode()).decode()
    server.nonce = type(server.nonce)(attributes(final.encode())["r"])
    server.set_client_final(final)
    assert client.proven_by(server.get_server_final().encode())


@pytest.mark.parametrize(
    "first",
    [b"", b"\xff", b"r=x,s=QUFB", b"r=x,s=!,i=1", b"r=x,s=QUFB,i=0", b"r=x,s=QUFB,i=x", b"r=x,s=,i=5"]
    + [b"r=x,s=QUFB,i=" + number for number in (b"1000001", b"9" * 5_000, "٣".encode())],
)
def test_what_a_hostile_server_says_first_is_no_error_of_ours(first):
    with pytest.raises(Untested, match="no salt and iteration count"):
        ScramClient("user", "pencil").final(first)


def test_attributes_are_read_by_their_letter():
    assert attributes(b"r=a=b,s=,junk,i=1") == {"r": "a=b", "s": "", "i": "1"}
