"""``smtpbench catalogue``: options that would do nothing are refused."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from smtpbench.cli import app
from smtpbench.errors import EXIT_USAGE


@pytest.mark.parametrize(("options", "said"), [
    (["--workers", "2"], "--fault and --workers need --proof"),
    (["--coverage", "--fault", "data-250"], "--fault and --workers need --proof"),
    (["--coverage", "--proof"], "--coverage and --proof: one of them"),
], ids=str)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(options: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["catalogue", *options])
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert said in result.stderr
