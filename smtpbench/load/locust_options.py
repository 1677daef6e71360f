"""What plain ``locust -f SCENARIO`` can be told about the target, and who has the last word on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locust.env import Environment

from smtpbench.errors import UsageError
from smtpbench.load.corpus.stock import Stock
from smtpbench.load.setup import make_script
from smtpbench.load.workload import Workload, make_workload
from smtpbench.target import Target, from_url, load_toml, require_authorized


def add_options(parser: Any) -> None:
    """Our options on Locust's command line. What names a file is not for its web page to change."""
    parser.add_argument(
        "--smtp-target", metavar="FILE|URL", include_in_web_ui=False,
        help="What to load: an smtpbench target file, or a URL as for --host.",
    )  # fmt: skip
    parser.add_argument("--recipient", metavar="ADDRESS", help="A mailbox of the target, for RCPT.")
    parser.add_argument("--sender", metavar="ADDRESS", help="The address for MAIL.")
    parser.add_argument(
        "--smtpbench-json", metavar="FILE", include_in_web_ui=False,
        help="Write smtpbench's own result as JSON.",
    )  # fmt: skip


def settle(
    environment: Environment, target: Target | None, workload: Workload | None
) -> tuple[Target, Workload]:
    """What to test and how: `target` and `workload` if they are given, else as Locust and the scenario say.

    The command line goes before the user class. Raises UsageError.
    """
    classes = [cls for cls in environment.user_classes if hasattr(cls, "workload")]
    if len(classes) != 1:
        raise UsageError(f"a scenario needs one SmtpUser class, found {len(classes)}")
    options = environment.parsed_options
    workload = workload or classes[0].workload
    said = {name: text for name in ("recipient", "sender") if (text := getattr(options, name, None))}
    if said:
        workload = make_workload(**{**workload.model_dump(exclude_unset=True), **said})
    target = target or _target(environment, classes[0], getattr(options, "smtp_target", None))
    stock = Stock(rehearsal=True)
    make_script(target, workload, stock=stock)  # to find mistakes here, and not in every worker
    if paths := workload.corpus_paths:
        corpora = {path: stock.corpus(path).summary for path in paths}
        workload = workload.model_copy(update={"corpora": corpora})
    return target, workload


def _target(environment: Environment, user_class: Any, spec: str | None) -> Target:
    if not spec and user_class.target is not None:
        own: Target = user_class.target
        return own
    spec = spec or environment.host or user_class.host
    if not spec:
        raise UsageError("no target: give --smtp-target FILE|URL or --host smtp://HOST:PORT")
    target = from_url(spec) if "://" in spec else load_toml(Path(spec))
    require_authorized(target, frozenset())
    return target
