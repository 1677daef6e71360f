"""The two schedules of retries that the laboratory's Postfix has."""

from __future__ import annotations

import pytest

from smtpbench.lab.postfix import FACTOR, Postfix, ScaledPostfix
from smtpbench.lab.workspace import RELAY, Workspace
from smtpbench.target import load_toml, to_toml

PORTS = {"mx": 1025, "submission": 1587, "submissions": 1465, RELAY: 1026}
READY = {"version": "3", "auth": False}


@pytest.mark.parametrize(
    ("server", "said", "factor"),
    [
        (Postfix(), {"minimal_backoff_time": 2, "maximal_backoff_time": 2}, None),
        (
            ScaledPostfix(),
            {name: default // FACTOR for name, default in (  # as in postconf(5)
                ("queue_run_delay", 300), ("minimal_backoff_time", 300), ("maximal_backoff_time", 4000),
                ("maximal_queue_lifetime", 432_000), ("bounce_queue_lifetime", 432_000),
            )},
            FACTOR,
        ),
    ],
)  # fmt: skip
def test_the_schedule_and_the_factor_that_is_stated(tmp_path, server, said, factor):
    place = Workspace(tmp_path)
    server.configure(place, PORTS)
    lines = dict(
        line.split(" = ", 1) for line in (tmp_path / "main.cf").read_text().splitlines() if " = " in line
    )
    assert {name: lines[name] for name in said} == {name: f"{value}s" for name, value in said.items()}
    target = server.target(place, PORTS, READY)
    assert target.queue.retry_factor == factor
    file = tmp_path / "target.toml"
    file.write_text(to_toml(target))
    assert load_toml(file).queue == target.queue
