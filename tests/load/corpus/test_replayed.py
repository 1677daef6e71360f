"""Replay through the engine: what is sent, in which order, by which process, and what a user gets wrong."""

from __future__ import annotations

import asyncio
import mailbox
from collections import Counter
from pathlib import Path

import pytest

from smtpbench.delivery.fingerprint import header_identifier
from smtpbench.errors import UsageError
from smtpbench.load.corpus.stock import Stock
from smtpbench.load.engine import Engine
from smtpbench.load.kinds import NotOffered
from smtpbench.load.probe import probe
from smtpbench.load.scenario import read_scenario
from smtpbench.load.setup import Share, make_engine
from smtpbench.load.workload import Workload, make_workload, overlay
from smtpbench.target import Target
from tests.load.conftest import Running, Script

LIMIT_S = 20


def folder(tmp_path: Path, number: int) -> Path:
    for n in range(number):
        (tmp_path / f"{n}.eml").write_bytes(
            b"From: ceo@real.example\nTo: all@real.example\nSubject: %d\n\n.secret\n" % n
        )
    return tmp_path


async def send(target: Target, share: Share | None = None, **fields: object) -> Engine:
    engine = make_engine(target, Workload(users=1, **fields), share or Share())
    engine.add_user()
    try:
        await asyncio.wait_for(asyncio.to_thread(engine.run), LIMIT_S)
    finally:
        engine.stop()
    return engine


def subjects(contents: list[bytes]) -> list[int]:
    return [int(content.partition(b"Subject: ")[2].partition(b"\r\n")[0]) for content in contents]


@pytest.mark.parametrize("recipients", [1, "uniform:1-3"])
async def test_mail_is_sent_in_turn_to_the_recipients_of_the_workload(
    running: Running, tmp_path: Path, recipients: object
) -> None:
    corpus = folder(tmp_path, 3)
    async with running() as (server, target):
        await send(target, messages=7, corpus=str(corpus), recipients=recipients)
    assert subjects(server.contents) == [0, 1, 2, 0, 1, 2, 0]
    assert len({header_identifier(content) for content in server.contents}) == 7
    assert all(b"\r\n..secret\r\n" in content for content in server.contents)  # as it goes over the wire
    envelope = [line for line in server.commands if line.startswith((b"MAIL", b"RCPT"))]
    assert set(envelope) == {b"MAIL FROM:<sender@example.org>", b"RCPT TO:<rcpt@example.net>"}


@pytest.mark.parametrize("parts", [2, 3, 5])
async def test_processes_send_each_of_it_once_together(running: Running, tmp_path: Path, parts: int) -> None:
    corpus = folder(tmp_path, 4)
    async with running() as (server, target):
        for part in range(parts):
            await send(target, Share(part, parts), messages=4, corpus=str(corpus))
    assert Counter(subjects(server.contents)) == {0: 1, 1: 1, 2: 1, 3: 1}


async def test_what_a_message_needs_is_asked_for_with_it(running: Running, tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(b"Subject: a\n\nplain\n")
    (tmp_path / "2.eml").write_bytes(b"Subject: a\n\n\xe9\n")
    (tmp_path / "3.eml").write_bytes(b"Subject: \xc3\xa9\n\n\xe9\n")
    async with running(Script(ehlo=b"250-test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")) as (server, target):
        await send(target, messages=3, corpus=str(tmp_path))
    mails = [line.partition(b"> ")[2] for line in server.commands if line.startswith(b"MAIL")]
    assert mails == [b"", b"BODY=8BITMIME", b"BODY=8BITMIME SMTPUTF8"]


async def test_a_server_that_cannot_take_a_message_is_told_with_its_name(
    running: Running, tmp_path: Path
) -> None:
    folder(tmp_path, 2)
    (tmp_path / "1.eml").write_bytes(b"Subject: \xc3\xa9\n\n")
    async with running(Script(ehlo=b"250-test\r\n250 8BITMIME\r\n")) as (_, target):
        with pytest.raises(NotOffered, match=rf"does not offer SMTPUTF8, which {tmp_path}/1.eml needs$"):
            await asyncio.to_thread(probe, target, Workload(users=1, corpus=str(tmp_path)))


def test_a_process_that_has_other_mail_says_so(tmp_path: Path) -> None:
    path = str(folder(tmp_path, 3))
    there = {path: Stock().corpus(path).summary}
    assert Stock(expected=there).corpus(path).mails
    (tmp_path / "1.eml").unlink()
    with pytest.raises(UsageError, match=r"here it has 2 messages, .*; the master has 3 messages"):
        Stock(expected=there).corpus(path)


def test_what_is_beside_shares_the_mail_but_no_identifiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(folder(tmp_path, 1))
    stock = Stock()
    other = stock.beside()
    assert stock.corpus(path) is other.corpus(path)
    stock.replayed(path)
    assert other.identifiers.contents == []
    assert other.identifiers.run != stock.identifiers.run


def test_a_toml_file_names_its_corpus_beside_it(tmp_path: Path) -> None:
    (tmp_path / "load.toml").write_text('corpus = "mail"\n[[traffic]]\n[[traffic]]\ncorpus = "box"\n')
    fields = read_scenario(tmp_path / "load.toml")
    workload = make_workload(users=1, **fields)
    assert workload.corpus_paths == [str(tmp_path / "mail"), str(tmp_path / "box")]


def test_what_is_said_of_generated_contents_takes_the_place_of_a_corpus() -> None:
    assert "corpus" not in overlay({"corpus": "mail", "users": 1}, {"content": "html"})
    assert overlay({"content": "html", "message_size": 2000}, {"corpus": "mail"}) == {"corpus": "mail"}
    workload = make_workload(users=1, content="html", traffic=[{"corpus": "a"}, {"message_size": 2000}])
    first, second = (traffic.over(workload) for traffic in workload.traffic)
    assert (first.corpus, str(second.content), second.corpus) == ("a", "html", None)


def test_both_at_once_are_a_mistake() -> None:
    with pytest.raises(UsageError, match="corpus: has contents of its own; leave out message_size"):
        make_workload(users=1, corpus="mail", message_size=2000)
    assert make_workload(users=1, corpus="generated", message_size=2000).corpus is None


def test_a_result_shows_what_was_replayed_and_no_word_of_it(tmp_path: Path) -> None:
    path = str(folder(tmp_path, 2))
    workload = make_workload(users=1, corpus=path, corpora={path: Stock().corpus(path).summary})
    shown = workload.shown()
    assert shown["corpora"][path].startswith("2 messages, ")
    assert "secret" not in str(shown)
    assert not {"message_size", "content"} & shown.keys()
    assert not {"corpus", "corpora"} & make_workload(users=1).shown().keys()


async def test_a_whole_mbox_goes_out(running: Running, tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "mail.mbox")
    for n in range(3):
        box.add(b"Subject: %d\n\ntext\n" % n)
    box.close()
    async with running() as (server, target):
        await send(target, messages=3, corpus=str(tmp_path / "mail.mbox"), pipelining=False)
    assert subjects(server.contents) == [0, 1, 2]


@pytest.mark.parametrize("pipelining", [False, True])
async def test_no_word_of_the_mail_is_in_what_was_witnessed(
    running: Running, tmp_path: Path, pipelining: bool
) -> None:
    (tmp_path / "1.eml").write_bytes(b"Subject: SECRET\n\n.SECRET\n")
    async with running(Script(after_content=lambda n: b"250 ok\n" if n % 3 == 0 else b"250 ok\r\n")) as (
        server, target,
    ):  # fmt: skip
        engine = await send(
            target, messages=9, corpus=str(tmp_path), watch_share=1.0, pipelining=pipelining
        )  # fmt: skip
    assert all(b"SECRET" in content for content in server.contents)
    seen = [batch.watched for batch in engine.batches]
    assert any(one["findings"] for one in seen)
    assert "octets of content]" in str(seen)
    assert "SECRET" not in str(seen)
