"""Writing the files a command was asked for, each whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from smtpbench.errors import UsageError
from smtpbench.report.html import render_html
from smtpbench.report.json import render_json
from smtpbench.report.junit import render_junit
from smtpbench.report.markdown import render_markdown
from smtpbench.report.model import Result, Run
from smtpbench.report.read import CAPACITY_FILE, CONFORMANCE_FILE, LOAD_FILE, OVERLOAD_FILE, QUEUE_FILE
from smtpbench.report.terminal import render_summary_text


def write_outputs(
    result: Result | Run,
    *,
    json: Path | None = None,
    junit: Path | None = None,
    html: Path | None = None,
    markdown: Path | None = None,
    out: Path | None = None,
    strict: bool = False,
) -> list[Path]:
    """Write `result` to every file named, and return the paths in the order written.

    `out` is a run folder: ``conformance.json``, ``load.json`` or ``queue.json``, ``capacity.json`` and
    ``crash.json`` (those there are), ``junit.xml``, ``report.html``, ``report.md``, ``summary.txt``.
    `strict` makes `non-strict` a failure in the JUnit file. Raises UsageError if a file cannot be written,
    after all that can be are.
    """
    run = Run.of(result)
    files: list[tuple[Path | None, str]] = []
    files += [(json, render_json(result))] if json else []
    files += [(junit, render_junit(run, strict=strict))] if junit else []
    files += [(html, render_html(run))] if html else []
    files += [(markdown, render_markdown(run))] if markdown else []
    if out:
        files += _folder(run, out, strict=strict)
    written, failures = [], []
    for path, text in files:
        try:
            written += [write_text(path, text)] if path is not None else []
        except UsageError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return written


def _folder(run: Run, out: Path, *, strict: bool) -> list[tuple[Path | None, str]]:
    files: list[tuple[Path | None, str]] = []
    if run.conformance:
        files.append((out / CONFORMANCE_FILE, render_json(run.conformance)))
    if run.load:
        files.append((out / (QUEUE_FILE if run.queue else LOAD_FILE), render_json(run.load)))
    if run.capacity:
        files.append((out / CAPACITY_FILE, render_json(run.capacity)))
    if run.overload:
        files.append((out / OVERLOAD_FILE, render_json(run.overload)))
    return [
        *files,
        (out / "junit.xml", render_junit(run, strict=strict)),
        (out / "report.html", render_html(run)),
        (out / "report.md", render_markdown(run)),
        (out / "summary.txt", render_summary_text(run)),
    ]


def write_text(path: Path, text: str) -> Path:
    """Write `path` whole or not at all: a draft beside it, then a rename. Folders are made.

    What is no plain file (a device, a pipe, a link) is written to and stays what it is. Raises UsageError
    that names the file and the reason.
    """
    draft = path.with_name(f".smtpbench.{os.getpid()}.draft")  # short: the name of `path` may be the longest
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_text(text, encoding="utf-8")
            return path
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    return path
