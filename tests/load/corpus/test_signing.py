"""Signatures are judged by a verifier, on the octets that a server has delivered."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from smtpbench.delivery.fingerprint import header_identifier, identifiers, split
from smtpbench.errors import UsageError
from smtpbench.lab import open_target
from smtpbench.load.corpus import stock as stock_module
from smtpbench.load.corpus.mime import Envelope
from smtpbench.load.corpus.mixture import PLAIN, read_mixture
from smtpbench.load.corpus.signing import Signing, signed_once
from smtpbench.load.corpus.stock import Stock
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload, make_workload
from smtpbench.server import Server as ReferenceServer
from smtpbench.server import ServerConfig
from smtpbench.server.store import MemoryStore
from smtpbench.target import Endpoint, Role, Target
from smtpbench.wire.content import ContentReceiver

LIMIT_S = 30
DNS_NAME = b"smtpbench._domainkey.example.org."
ENVELOPE = Envelope("sender@example.org", ("one@example.net",))


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def key_file(key: rsa.RSAPrivateKey, tmp_path: Path) -> str:
    (tmp_path / "dkim.pem").write_bytes(pem(key))
    return str(tmp_path / "dkim.pem")


@pytest.fixture
def verify(key: rsa.RSAPrivateKey):
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)

    def look_up(name: bytes, timeout: float = 5) -> bytes:
        return record if name == DNS_NAME else b""

    return lambda message: dkim.verify(message, dnsfunc=look_up)


def damaged(message: bytes) -> bytes:
    """With another body."""
    return message.rstrip(b"\r\n") + b"x\r\n"


@pytest.mark.parametrize("each", [False, True])
async def test_what_the_embedded_server_delivers_verifies(key_file: str, verify, each: bool) -> None:
    workload = Workload(
        users=2,
        messages=20,
        content="plain,mime,8bit",
        message_size=2000,
        dkim={"key": key_file, "each": each},
    )
    with open_target("embedded") as target:
        engine = make_engine(target, workload)
        for _ in range(2):
            engine.add_user()
        await asyncio.wait_for(asyncio.to_thread(engine.run), LIMIT_S)
        assert target.observe is not None
        box = Path(target.observe.url.removeprefix("maildir:")) / "new"
        delivered = [file.read_bytes() for file in box.iterdir()]
    assert len(delivered) == 20
    seen = set()
    for message in delivered:
        assert verify(message)
        assert not verify(damaged(message))
        header, body = split(message)
        seen.add(header_identifier(header))
        assert identifiers(body) == ([header_identifier(header)] if each else [])
        assert (b"message-id" in header.partition(b"bh=")[0]) == each
    assert len(seen) == 20


@pytest.mark.parametrize("each", [False, True])
async def test_by_bdat_too(key_file: str, verify, each: bool) -> None:
    store = MemoryStore()
    async with ReferenceServer(ServerConfig(sink=True), store=store) as server:
        target = Target(endpoints={Role.MX: Endpoint(port=server.port)})
        workload = Workload(users=1, messages=3, chunking=True, dkim={"key": key_file, "each": each})
        engine = make_engine(target, workload)
        engine.add_user()
        await asyncio.wait_for(asyncio.to_thread(engine.run), LIMIT_S)
    assert [verify(copy.content) for copy in store.messages] == [True] * 3


def wire(stock: Stock, pool) -> list[bytes]:
    receivers = [ContentReceiver() for _ in pool.contents]
    return [
        receiver.feed(content.next_content())
        for receiver, content in zip(receivers, pool.contents, strict=True)
    ]


@pytest.mark.parametrize("each", [False, True])
def test_replayed_mail_is_signed_as_it_is(tmp_path: Path, key_file: str, verify, each: bool) -> None:
    (tmp_path / "1.eml").write_bytes(b"From: <a@real.example>\nMessage-ID: <1@real.example>\n\n.a\n")
    (tmp_path / "2.eml").write_bytes("From: <ä@real.example>\nSubject: é\n\ngrün\n".encode())
    stock = Stock()
    pool = stock.replayed(str(tmp_path), Signing(key_file, "smtpbench", "example.org", each))
    messages = wire(stock, pool)
    assert [verify(message) for message in messages] == [True, True]
    assert all(message.startswith(b"DKIM-Signature: ") for message in messages)
    assert all(b"X-Smtpbench-Id: " in message for message in messages)


def test_the_signature_comes_on_top_of_the_size(key_file: str) -> None:
    signing = Signing(key_file, "smtpbench", "example.org")
    (content,) = Stock().generated(PLAIN, [2000], ENVELOPE, signing).contents
    signature = content.stored(b"0" * 18).partition(b"From:")[0]
    assert content.size == 2000 + len(signature)
    assert signature.count(b"DKIM-Signature") == 1


def test_a_rehearsal_generates_little_and_signs_once(key_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = []
    monkeypatch.setattr(
        stock_module, "signed_once", lambda pieces, signer: signed.append(1) or signed_once(pieces, signer)
    )
    signing = Signing(key_file, "smtpbench", "example.org")
    pool = Stock(rehearsal=True).generated(read_mixture("mime,8bit"), [2000, 1 << 30], ENVELOPE, signing)
    assert len(pool.contents) == 7
    assert pool.needs == {"8BITMIME": "content 8bit"}
    assert len(signed) == 1


def test_what_is_beside_is_signed_with_it(key_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stock, signing = Stock(), Signing(key_file, "smtpbench", "example.org")
    stock.generated(PLAIN, [2000], ENVELOPE, signing)
    monkeypatch.setattr(stock_module, "signed_once", None)
    stock.beside().generated(PLAIN, [2000], ENVELOPE, signing)


def test_keys_of_no_use_are_named(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    ed25519_key = ed25519.Ed25519PrivateKey.generate()
    files = {
        "nothing": b"",
        "text": b"-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n",
        "locked": pem(key, b"secret"),
        "ed25519": pem(ed25519_key),
    }
    for name, octets in files.items():
        (tmp_path / name).write_bytes(octets)
        with pytest.raises(
            UsageError, match=f"dkim: key {tmp_path}/{name}: expected an RSA private key in PEM"
        ):
            Stock().generated(PLAIN, [2000], ENVELOPE, Signing(str(tmp_path / name), "s", "example.org"))
    with pytest.raises(UsageError, match=f"dkim: key {tmp_path}/gone: No such file"):
        Stock().generated(PLAIN, [2000], ENVELOPE, Signing(str(tmp_path / "gone"), "s", "example.org"))


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize(
    ("mail", "complaint"),
    [
        (b"Subject: a\n\n", "no From field, which has to be signed"),
        (b"From: a\nno field\n\n", "its header is not well-formed"),
    ],
)
def test_mail_that_cannot_be_signed_is_named(
    tmp_path: Path, key_file: str, mail: bytes, complaint: str, each: bool
) -> None:
    (tmp_path / "1.eml").write_bytes(mail)
    with pytest.raises(UsageError, match=rf"dkim: {tmp_path}/1.eml: {complaint}"):
        Stock().replayed(str(tmp_path), Signing(key_file, "s", "example.org", each))


def test_a_large_corpus_is_not_signed_beforehand(
    tmp_path: Path, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock_module, "SIGNED_MAX", 1)
    for name in "ab":
        (tmp_path / f"{name}.eml").write_bytes(b"From: <a@real.example>\n\n")
    with pytest.raises(UsageError, match=r"2 messages of .* are too many to sign beforehand, expected 1"):
        Stock().replayed(str(tmp_path), Signing(key_file, "s", "example.org"))
    assert Stock().replayed(str(tmp_path), Signing(key_file, "s", "example.org", each=True))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"key": "k", "selector": "a b"}, "workload: dkim.selector: 'a b'"),
        ({"key": "k", "domain": "x;y"}, "workload: dkim.domain: 'x;y'"),
        ({"key": "k", "algorithm": "rsa"}, "unknown key, expected one of key, selector, domain, each"),
        ({}, "workload: dkim.key"),
    ],
)
def test_mistakes_are_a_line(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        make_workload(users=1, dkim=settings)
