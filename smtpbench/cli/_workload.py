"""What `load`, `queue` and `crash` all take to say what is sent: one declaration, one group of options."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from smtpbench.cli._common import option_group
from smtpbench.errors import UsageError
from smtpbench.load.scenario import find_scenario, is_toml, read_scenario
from smtpbench.load.workload import DEFAULT_RUN_TIME_S, make_workload, overlay, parse_duration, with_users

DEFAULT_USERS = 10


class TlsMode(StrEnum):
    """How TLS begins."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


def workload_option(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Workload")


ScenarioOpt = Annotated[
    Path | None,
    workload_option(
        "A TOML file, or a Locust file with an SmtpUser, or one of ours by name: abnormal, diurnal, mixed, "
        "newsletter, ramp, soak, spike, steady. Options go on top of it.",
        "FILE",
    ),
]
UsersOpt = Annotated[
    int | None,
    workload_option(f"Closed model: so many users, back to back ({DEFAULT_USERS} if nothing is said).", "N"),
]
RateOpt = Annotated[
    str | None,
    workload_option(
        "Open model: so many messages a second, however slow the target; or ramp:10-200,60s, "
        "spike:50-500,30s,10s, diurnal:20-200,10m, stages:0@0s,100@1m.", "RATE",
    ),
]  # fmt: skip
ArrivalsOpt = Annotated[
    str | None,
    workload_option("How they arrive (poisson), or a file of arrival times, seconds, one a line.",
              "poisson|constant|FILE"),
]  # fmt: skip
SeedOpt = Annotated[int | None, workload_option("Seed of all that is drawn by chance (1).", "N")]
MaxSessionsOpt = Annotated[int | None, workload_option("Most sessions of the open model (1000).", "N")]
RunTimeOpt = Annotated[
    str | None,
    workload_option(f"How long: 20s, 5m, 1h30m ({DEFAULT_RUN_TIME_S:.0f}s if no end is given).", "TIME"),
]
MessagesOpt = Annotated[int | None, workload_option("Stop after so many messages.", "N")]
PipeliningOpt = Annotated[
    bool | None, typer.Option("--pipelining/--no-pipelining", help="Use PIPELINING if offered (yes).",
                              rich_help_panel="Workload", show_default=False),
]  # fmt: skip
ChunkingOpt = Annotated[
    bool | None, typer.Option("--chunking/--no-chunking", help="Send by BDAT if CHUNKING is offered (no).",
                              rich_help_panel="Workload", show_default=False),
]  # fmt: skip
PerSessionOpt = Annotated[
    str | None, workload_option("Messages a session, such as exponential:10 (no limit).", "N")
]
SizeOpt = Annotated[
    str | None,
    workload_option(
        "Octets of a message, headers included, such as 8k, uniform:1k-64k, lognormal:8k,1.2 or "
        "choice:1k@70,64k@25,1m@5 (1024).", "SIZE",
    ),
]  # fmt: skip
ContentOpt = Annotated[
    str | None,
    workload_option(
        "What is generated: plain, html, attachment, quoted-printable, headers, long-lines, dots, 8bit; or "
        "mime, a mixture; with weights: plain@6,mime@3,8bit (plain).", "KINDS",
    ),
]  # fmt: skip
CorpusOpt = Annotated[
    str | None,
    workload_option("Mail to replay: a folder of .eml files, a Maildir, an mbox. Its addresses are not used.",
              "generated|FOLDER|FILE"),
]  # fmt: skip
RecipientsOpt = Annotated[
    str | None, workload_option("Recipients a message, such as 2 or uniform:1-10 (1).", "N")
]
IdleOpt = Annotated[
    str | None,
    workload_option("How long a session lies idle after each message, such as exponential:2s (0).", "TIME"),
]
ThinkTimeOpt = Annotated[
    str | None,
    workload_option("Pause of a user after each message, in a session and between two (0).", "TIME"),
]
TlsOpt = Annotated[TlsMode | None, workload_option("How TLS begins (as the target says).")]
ThresholdOpt = Annotated[
    list[str], workload_option("Such as 'body.p99 < 500ms' or 'error_rate < 0.1%'; repeatable.", "EXPR")
]
LocalProcessesOpt = Annotated[
    int, typer.Option(help="Generator processes.", metavar="N", rich_help_panel="Workload")
]


PROCESSES_A_CORE = 8  # one fills a core; more take memory, some 60 MB each, and give nothing


def require_processes(number: int) -> None:
    """That this machine has use, and room, for so many generator processes. Raises UsageError."""
    most = PROCESSES_A_CORE * len(os.sched_getaffinity(0))
    if not 1 <= number <= most:
        raise UsageError(f"--processes {number}: expected 1 to {most}, {PROCESSES_A_CORE} for each core")


@dataclass(frozen=True, slots=True)
class WorkloadOptions:
    """The option group; None is what was not given."""

    scenario: Path | None = None
    users: int | None = None
    rate: str | None = None
    arrivals: str | None = None
    seed: int | None = None
    max_sessions: int | None = None
    run_time: str | None = None
    messages: int | None = None
    pipelining: bool | None = None
    chunking: bool | None = None
    messages_per_session: str | None = None
    message_size: str | None = None
    content: str | None = None
    corpus: str | None = None
    recipients: str | None = None
    idle: str | None = None
    think_time: str | None = None
    tls: TlsMode | None = None

    def given(self, **more: Any) -> dict[str, Any]:
        """The fields of a workload that they say, `more` among them; no times, no scenario."""
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _NOT_FIELDS}
        return {**said, "tls": self.tls and self.tls.value, **more}

    def fields(self, **more: Any) -> dict[str, Any]:
        """The workload that they and `more` ask for (see `workload_fields`). Raises UsageError."""
        return workload_fields(self.scenario, self.run_time, **self.given(**more))


_NOT_FIELDS = ("scenario", "run_time")  # the first holds fields, the second is a duration in words

option_group(
    WorkloadOptions,
    {
        "scenario": ScenarioOpt, "users": UsersOpt, "rate": RateOpt, "arrivals": ArrivalsOpt,
        "seed": SeedOpt, "max_sessions": MaxSessionsOpt, "run_time": RunTimeOpt, "messages": MessagesOpt,
        "pipelining": PipeliningOpt, "chunking": ChunkingOpt, "messages_per_session": PerSessionOpt,
        "message_size": SizeOpt, "content": ContentOpt, "corpus": CorpusOpt,
        "recipients": RecipientsOpt, "idle": IdleOpt, "think_time": ThinkTimeOpt, "tls": TlsOpt,
    },
)  # fmt: skip


def workload_fields(scenario: Path | None, run_time: str | None, **given: Any) -> dict[str, Any]:
    """The fields of a workload that were given; without a scenario to fill the gaps, our defaults do."""
    fields = {name: value for name, value in given.items() if value is not None}
    if run_time is not None:
        fields["run_time"] = parse_duration(run_time, "--run-time")
    scenario = scenario and find_scenario(scenario)
    if scenario is not None and is_toml(scenario):
        fields = overlay(read_scenario(scenario), fields)
    elif scenario is not None:
        return fields
    fields = with_users(fields, DEFAULT_USERS)
    make_workload(**fields).require_files()  # to find mistakes before the target is started
    return fields
