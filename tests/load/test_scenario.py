from __future__ import annotations

from pathlib import Path

import pytest

from smtpbench.cli._workload import workload_fields
from smtpbench.errors import UsageError
from smtpbench.load.quantities import SIZE
from smtpbench.load.scenario import read_scenario, scenario_thresholds, workload_of
from smtpbench.load.workload import make_workload
from smtpbench.target import Role

WHOLE = """
rate = { kind = "ramp", from = 10, to = 200, over = "1m" }
run_time = "2m"
warm_up = "10s"
message_size = { kind = "lognormal", median = "8k", sigma = 1.2, max = "1m" }
seed = 7

[[traffic]]
share = "70%"
endpoint = "mx"

[[traffic]]
share = "30%"
endpoint = "submission"
auth = true
recipients = "uniform:1-5"
dsn = { notify = ["success", "failure"], ret = "hdrs" }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.toml"


def test_a_file_says_a_whole_workload(file: Path) -> None:
    file.write_text(WHOLE)
    workload = workload_of(file)
    assert (workload.run_time, workload.warm_up, workload.seed) == (120, 10, 7)
    assert str(workload.rate) == "ramp:10-200,1m"
    assert workload.message_size == SIZE.read("lognormal:8k,1.2,max=1m")
    mx, submission = workload.traffic
    assert (mx.share, mx.endpoint, submission.endpoint) == (0.7, Role.MX, Role.SUBMISSION)
    assert submission.dsn is not None
    assert submission.dsn.notify == ("SUCCESS", "FAILURE")
    assert make_workload(**read_scenario(file)) == workload


def test_options_go_on_top(file: Path) -> None:
    file.write_text(WHOLE)
    fields = workload_fields(file, "15s", users=3, message_size="2k")
    workload = make_workload(**fields)
    assert (workload.users, workload.rate, workload.run_time) == (3, None, 15)
    assert workload.message_size.fixed == 2048
    assert len(workload.traffic) == 2


def test_a_file_may_leave_the_model_to_the_command_line(file: Path) -> None:
    file.write_text('message_size = "4k"\n')
    assert read_scenario(file) == {"message_size": 4096}
    assert make_workload(**workload_fields(file, None)).users == 10
    assert make_workload(**workload_fields(file, None, rate="5")).rate == 5


def test_thresholds_are_read_apart_from_the_workload(file: Path) -> None:
    file.write_text('users = 3\nthresholds = ["body.p99 < 500ms", "error_rate < 0.1%"]\n')
    assert scenario_thresholds(file) == ["body.p99 < 500ms", "error_rate < 0.1%"]
    assert read_scenario(file) == {"users": 3}
    assert scenario_thresholds(None) == scenario_thresholds(file.with_suffix(".py")) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "thresholds = ['body.p99 < 500ms', 'body.p99 < 5']",
            r"thresholds\[1\]: 'body.p99 < 5': a latency needs",
        ),
        ("thresholds = 'body.p99 < 500ms'", "thresholds: 'body.p99 < 500ms': expected a list such as"),
    ],
)
def test_a_threshold_that_is_none_is_named(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=f"some.toml: {complaint}"):
        scenario_thresholds(file)


def test_files_are_looked_for_beside_it(file: Path) -> None:
    (file.parent / "sizes.txt").write_text("1k\n2k\n2k\n")
    (file.parent / "trace.txt").write_text("0\n1\n")
    file.write_text("""
        arrivals = "trace.txt"
        message_size = "empirical:sizes.txt,max=1500"
        [[traffic]]
        message_size = { kind = "empirical", file = "sizes.txt" }
    """)
    fields = read_scenario(file)
    assert fields["trace"] == [0, 1]
    assert fields["message_size"] == "choice:1024@1,2048@2,max=1500"
    assert fields["traffic"][0]["message_size"] == "choice:1024@1,2048@2"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("users = 0", "users: 0: expected greater than or equal to 1"),
        ("users = 1\nrun_time = 'soon'", "run_time: 'soon': expected such as 20s"),
        ("users = 1\nspeed = 3", "speed: 3: unknown key, expected one of"),
        ("[[traffic]]\nshare = 1\n[[traffic]]\nshare = -2", "traffic[1].share: -2: expected greater than 0"),
        ("[[traffic]]\nendpoint = 'smtp'", "traffic[0].endpoint: 'smtp': expected 'mx', 'submission'"),
        ("[[traffic]]\nrate = 3", "traffic[0].rate: 3: unknown key, expected one of endpoint, tls"),
        ("[[traffic]]\ndsn = { nofity = 'x' }", "traffic[0].dsn.nofity: 'x': unknown key"),
        ("rate = { kind = 'ramp' }", "rate: {'kind': 'ramp'}: a rate of kind ramp has the keys from"),
        ("users = 1\nrate = 2", "users or rate or a trace is needed, and not both"),
        ("users = [", "not TOML: "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_where(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_scenario(file)
    assert str(caught.value).startswith(f"{file}: {complaint}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(UsageError, match=r"some.toml: No such file"):
        read_scenario(file)
