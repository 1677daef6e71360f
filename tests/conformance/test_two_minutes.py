"""The case about two minutes, with a limit of a fraction of a second: no fault can wait that long."""

from __future__ import annotations

import pytest

from smtpbench.conformance.bench import Bench
from smtpbench.conformance.cases import Case
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.model import find_cases, load_catalogue
from smtpbench.conformance.reference import REFERENCE_TIMEOUTS
from smtpbench.conformance.survey import survey
from smtpbench.lab.workspace import FIXTURES, Workspace
from smtpbench.server.config import ServerConfig
from smtpbench.server.receiver import Receiver
from smtpbench.server.server import Server
from smtpbench.target import Credentials, Endpoint, Role, Target
from smtpbench.wire.parse import Command

CASE = "rfc6409.every-command-is-answered-in-two-minutes"
WAIT = REFERENCE_TIMEOUTS.reply


class Mute(Receiver):
    """Never answers DATA."""

    def do_data(self, command: Command) -> None:
        pass


@pytest.fixture
def case() -> Case:
    (found,) = [case for case in load_cases(find_cases()) if case.id == CASE]
    return found


@pytest.mark.parametrize(
    ("receiver", "limit", "verdict"),
    [
        (Receiver, WAIT, "pass"),
        (Mute, WAIT, "untested"),  # silent for too long: recorded, and nobody accused
        (Mute, WAIT + 1, "untested"),  # silent for as long as was asked, and perhaps in time yet
    ],
)
async def test_a_silence_accuses_nobody(
    case: Case,
    place: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    receiver: type[Receiver],
    limit: float,
    verdict: str,
) -> None:
    monkeypatch.setitem(case.function.__globals__, "LIMIT", limit)
    password = place.password_file.read_text(encoding="ascii").strip()
    config = ServerConfig(role=Role.SUBMISSION, users={"alice": password}, auth_in_clear=True)
    async with Server(config, receiver=receiver) as server:
        target = Target(
            endpoints={Role.SUBMISSION: Endpoint(port=server.port)},
            fixtures=FIXTURES,
            auth=Credentials(username="alice", password_file=place.password_file),
            timeouts=REFERENCE_TIMEOUTS,
        )
        bench = Bench(load_catalogue(find_cases()), await survey(target, observable=False))
        assert (await bench.run(case)).verdict == verdict
