"""A limit is told before the load, is in every form of the result, and a refusal in the run is explained."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from smtpbench.load.result import LoadResult, Notice
from smtpbench.report import render_html, render_markdown
from smtpbench.report.terminal import render_summary_text
from smtpbench.server import Server, ServerConfig
from smtpbench.server.limits import Limits, limited

LIMIT_S = 120
COMMAND = (sys.executable, "-c", "from smtpbench.cli import main; main()", "load")


async def loaded(limits: Limits, out: Path, *options: str) -> tuple[LoadResult, str, str]:
    async with Server(ServerConfig(), receiver=limited(limits)) as server:
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://127.0.0.1:{server.port}", "--recipient", "alice@example.com",
            "--users", "6", "--run-time", "2s", "--json", out, *options,
            stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(LIMIT_S):
            shown, said = await command.communicate()
    return read(out), shown.decode(), said.decode()


def read(out: Path) -> LoadResult:
    return LoadResult.model_validate(json.loads(out.read_text()))


async def test_a_limit_is_told_before_the_load_and_shown_after_it(tmp_path: Path) -> None:
    result, shown, said = await loaded(Limits(connections=4), tmp_path / "load.json")
    first = said.splitlines()[0]
    assert first.startswith(
        "smtpbench: preflight: at most 4 connections at once (421 4.7.0 mx.example.com Error"
    )
    assert first.endswith("this workload opens 6")
    [notice] = result.preflight
    assert (notice.kind, notice.limit, notice.asked, notice.hits) == ("connections", 4, 6, True)
    assert "The load runs into a limit: at most 4 connections" in " ".join(shown.split())
    assert "refusals speak of a limit on connections" in result.notes[0]
    assert "note: refusals speak of a limit on connections" in " ".join(shown.split())


async def test_no_preflight_leaves_the_target_alone(tmp_path: Path) -> None:
    result, _, said = await loaded(Limits(connections=4), tmp_path / "load.json", "--no-preflight")
    assert result.preflight == []
    assert "preflight" not in said
    assert result.refusals[0].startswith(("421", "127.0.0.1"))


@pytest.mark.parametrize("render", [render_html, render_markdown, render_summary_text])
def test_every_form_shows_it_escaped(render: object) -> None:
    notice = Notice(kind="size", text="messages of more than 5 <octets> \x1b are refused", hits=True)
    result = LoadResult(target={"name": "x"}, preflight=[notice], notes=["refusals speak of <limits> \x1b"])
    shown = " ".join(render(result).split())  # type: ignore[operator]
    assert "\x1b" not in shown
    assert "oad runs into" in shown
    if render is not render_summary_text:
        assert "<octets>" not in shown
        assert "<limits>" not in shown
