"""Writing run folders and reading them back, and the command that does both."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from smtpbench.cli._common import Outputs
from smtpbench.cli.report import report
from smtpbench.conformance.result import ConformanceResult
from smtpbench.errors import UsageError
from smtpbench.load.result import LoadResult
from smtpbench.report import Run, read_run, render_json, write_outputs
from smtpbench.report.write import write_text

FOLDER = {"conformance.json", "load.json", "junit.xml", "report.html", "report.md", "summary.txt"}


@pytest.fixture
def run(conformance: ConformanceResult, load: LoadResult) -> Run:
    for case in conformance.cases:  # JSON text cannot carry a lone surrogate into a model
        case.observed = case.observed.replace("\ud800", "")
        case.transcript[-1].bytes = case.observed
    conformance.target.name = "embedded"
    return Run(conformance=conformance, load=load)


def test_a_run_folder_has_every_form_and_reads_back_the_same(run: Run, tmp_path: Path) -> None:
    written = write_outputs(run, out=tmp_path / "new" / "folder")
    assert {path.name for path in written} == FOLDER
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == FOLDER
    assert read_run(tmp_path / "new" / "folder") == run


def test_single_files_are_written_where_asked(conformance: ConformanceResult, tmp_path: Path) -> None:
    names = {"json": "a.json", "junit": "b.xml", "html": "c.html", "markdown": "d.md"}
    wanted: dict[str, Any] = {kind: tmp_path / name for kind, name in names.items()}
    written = write_outputs(conformance, **wanted)
    assert [path.name for path in written] == list(names.values())
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")


def test_a_file_of_both_halves_reads_back(run: Run, tmp_path: Path) -> None:
    write_outputs(run, json=tmp_path / "both.json")
    assert read_run(tmp_path / "both.json") == run


def test_what_was_there_stays_if_writing_fails(tmp_path: Path, load: LoadResult) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(UsageError, match="taken: cannot be written"):
        write_outputs(load, json=tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_one_file_that_cannot_be_written_does_not_cost_the_others(tmp_path: Path, load: LoadResult) -> None:
    (tmp_path / "load.json").mkdir()
    (tmp_path / "load.json" / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"load.json: cannot be written"):
        write_outputs(load, out=tmp_path)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_the_longest_name_there_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (os.pathconf(tmp_path, "PC_NAME_MAX") - 5) + ".json")
    assert write_text(path, "{}").read_text() == "{}"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path, load: LoadResult) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for path in (pipe, link):
            write_text(path, "{}")
            assert os.read(reader, 3) == b"{}"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, load: LoadResult) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written"):
        write_outputs(load, out=tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"rate": NaN}', "not JSON: NaN is no number"),
        ("[]", "schema is None"),
        ('{"schema": "other/1"}', "schema is 'other/1'"),
        ('{"schema": ["smtpbench.load/1"]}', "schema is"),
        ('{"schema": "smtpbench.load/1", "valid": "perhaps"}', "valid: input should be a valid boolean"),
        ('{"schema": "smtpbench.conformance/1"}', "smtpbench: field required"),
        ('{"schema": "smtpbench.certify/1"}', "no result is in it"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_run(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not JSON"):
        read_run(tmp_path / "x.json")


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_run(tmp_path / "none.json")
    with pytest.raises(
        UsageError, match=r"none of conformance\.json, load\.json, queue\.json, capacity\.json"
    ):
        read_run(tmp_path)


def test_report_renders_a_folder_again(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "load.json").write_text(render_json(run.load or run))
    assert report([tmp_path], outputs=Outputs()) == 0
    assert {path.name for path in tmp_path.iterdir()} == FOLDER - {"conformance.json"}
    assert "Load of embedded" in capsys.readouterr().out


def test_report_leaves_a_folder_alone_when_told_where_to_write(run: Run, tmp_path: Path) -> None:
    source = write_outputs(run, json=tmp_path / "run" / "conformance.json")[0]
    page = tmp_path / "page.html"
    assert report([source], outputs=Outputs(html=page, quiet=True)) == 0
    assert page.is_file()
    assert [path.name for path in source.parent.iterdir()] == ["conformance.json"]


def test_report_refuses_one_output_for_two_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="take one RUN"):
        report([tmp_path, tmp_path], outputs=Outputs(html=tmp_path / "x.html"))


def test_report_reads_every_run_before_it_writes_any(run: Run, tmp_path: Path) -> None:
    good = write_outputs(run.load or run, json=tmp_path / "good" / "load.json")[0].parent
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "load.json").write_text(json.dumps({"schema": "smtpbench.load/2"}))
    with pytest.raises(UsageError, match="load/2"):
        report([good, tmp_path / "bad"], outputs=Outputs(quiet=True))
    assert [path.name for path in good.iterdir()] == ["load.json"]
