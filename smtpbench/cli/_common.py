"""What the commands share: option types, spreading of option groups, errors to exit codes.

A command is a plain function named like its module. It takes typer parameters, and may take the groups
`TargetOptions`, `Outputs` and those made by `option_group`, each of which becomes its options:

    def conform(target: TargetArg = "embedded", *, options: TargetOptions, outputs: Outputs) -> int:

It returns its exit code (None is 0) and raises SmtpbenchError; `prepare` turns it into what typer
runs. Tests call the function itself, with the groups built by hand.
"""

from __future__ import annotations

import errno
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, get_type_hints

import typer

from smtpbench.errors import EXIT_INTERNAL, SmtpbenchError, UsageError
from smtpbench.lab.options import TargetOptions

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def _target(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Target")


def _output(text: str, metavar: str = "FILE") -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Output")


TARGET_HELP = "embedded, lab:NAME, smtp://HOST:PORT, smtps://…, lmtp://… or a TOML file."
TargetArg = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)]

RecipientOpt = Annotated[str | None, _target("A mailbox the target delivers.", "ADDRESS")]
SecondRecipientOpt = Annotated[str | None, _target("A second one.", "ADDRESS")]
UnknownRecipientOpt = Annotated[str | None, _target("One it refuses, in a domain of its own.", "ADDRESS")]
SenderOpt = Annotated[str | None, _target("The envelope sender.", "ADDRESS")]
UsernameOpt = Annotated[str | None, _target("The user to authenticate as.", "NAME")]
PasswordEnvOpt = Annotated[str | None, _target("Environment variable with the password.", "VARIABLE")]
CaOpt = Annotated[Path | None, _target("CA certificate the target's is checked against.", "FILE")]
ObserveOpt = Annotated[
    str | None,
    _target(
        "Where its mail arrives: maildir:PATH, mbox:PATH, sink:HOST:PORT, imap://USER@HOST/, pop3://….", "URL"
    ),
]
ObservePasswordEnvOpt = Annotated[
    str | None, _target("Environment variable with the password of an IMAP or POP3 mailbox.", "VARIABLE")
]
ReadOpt = Annotated[
    list[str],
    _target(
        "How recipients read what arrives, to be timed by queue: imap://…, pop3://…; one of each.", "URL"
    ),
]
AuthorizedOpt = Annotated[
    list[str], _target("A host off this machine that you may test; repeatable.", "HOST")
]

JsonOpt = Annotated[Path | None, _output("Write the result as JSON.")]
JunitOpt = Annotated[Path | None, _output("Write JUnit XML.")]
HtmlOpt = Annotated[Path | None, _output("Write one self-contained HTML page.")]
MarkdownOpt = Annotated[Path | None, _output("Write Markdown.")]
OutOpt = Annotated[Path | None, _output("Write all of them into this folder.", "DIR")]
QuietOpt = Annotated[bool, typer.Option("--quiet", help="No progress, no summary.", rich_help_panel="Output")]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The result files a command writes; None where none was asked for."""

    json: Path | None = None
    junit: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    out: Path | None = None
    quiet: bool = False


# Option group → its field → the option. The groups themselves know nothing of typer.
_GROUPS: dict[type[Any], dict[str, Any]] = {
    TargetOptions: {
        "recipient": RecipientOpt,
        "second_recipient": SecondRecipientOpt,
        "unknown_recipient": UnknownRecipientOpt,
        "sender": SenderOpt,
        "username": UsernameOpt,
        "password_env": PasswordEnvOpt,
        "ca": CaOpt,
        "observe": ObserveOpt,
        "observe_password_env": ObservePasswordEnvOpt,
        "read": ReadOpt,
        "authorized": AuthorizedOpt,
    },
    Outputs: {
        "json": JsonOpt,
        "junit": JunitOpt,
        "html": HtmlOpt,
        "markdown": MarkdownOpt,
        "out": OutOpt,
        "quiet": QuietOpt,
    },
}


def require_writable(outputs: Outputs) -> None:
    """That each file can be written, and is named once, before anything is measured. Raises UsageError."""
    named = [outputs.json, outputs.junit, outputs.html, outputs.markdown, outputs.out]
    files = [path.absolute() for path in named if path is not None and not _is_device(path)]
    for file in files:
        if files.count(file) > 1:
            raise UsageError(f"{file}: two results cannot go into one file")
    for path in named:
        if path is not None and (reason := _obstacle(path, folder=path is outputs.out)):
            raise UsageError(f"{path}: cannot be written: {os.strerror(reason)}")


def _is_device(path: Path) -> bool:
    """Whether all that is written to `path` may go there: the null device, a pipe, a terminal."""
    with suppress(OSError):
        return path.exists() and not path.is_file() and not path.is_dir()
    return False


def _obstacle(path: Path, *, folder: bool) -> int | None:
    """The errno of writing a file, or a folder of files, at `path`; folders on the way are made then."""
    try:
        there = path.exists()
        nearest = path if there else next(one for one in path.absolute().parents if one.exists())
    except OSError as error:
        return error.errno
    if nearest.is_dir() is not (folder or not there):
        return errno.EISDIR if there and not folder else errno.ENOTDIR
    return None if os.access(nearest, os.W_OK) else errno.EACCES


def require_switch(group: Any, switch: str) -> None:
    """That no option of `group` is given without its `switch`, which is not. Raises UsageError."""
    for field in fields(group):
        if field.name != switch and getattr(group, field.name) != field.default:
            option, needed = (name.replace("_", "-") for name in (field.name, switch))
            raise UsageError(f"--{option} is about --{needed}, which is missing")


def option_group(group: type[Any], options: Mapping[str, Any]) -> None:
    """Make the dataclass `group` an option group: `options` has an option for each of its fields."""
    _GROUPS[group] = dict(options)


def prepare(function: Callable[..., int | None]) -> Callable[..., None]:
    """`function` as typer wants it: groups spread into options, errors and results as exit codes."""
    hints = get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    groups = {name: hint for name, hint in hints.items() if hint in _GROUPS}

    def command(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field: values.pop(field) for field in _GROUPS[group]})
        with interruptible():
            code = guarded(lambda: _run(function, values))
        if code:
            raise typer.Exit(code)

    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += _spread(groups[name])
        else:
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints.get(name, str), kind=keyword))
    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _run(function: Callable[..., int | None], values: Mapping[str, Any]) -> int | None:
    for value in values.values():
        if isinstance(value, Outputs):
            require_writable(value)
    return function(**values)


def _spread(group: type[Any]) -> list[inspect.Parameter]:
    options = _GROUPS[group]
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if field.default is MISSING else field.default,
            annotation=options[field.name],
        )
        for field in fields(group)
    ]


def guarded(work: Callable[[], int | None]) -> int:
    """Run `work`; its exit code, or that of its error, which is told on standard error in a line.

    ``SMTPBENCH_DEBUG=1`` in the environment lets the traceback of an error of ours through.
    """
    try:
        return work() or 0
    except SmtpbenchError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise  # typer's own way out: exit code, "Aborted!", usage, a closed pager
    except Exception as error:  # the last line of defence: one line and exit 4
        if os.environ.get("SMTPBENCH_DEBUG") == "1":
            raise
        text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        complain(f"internal error: {type(error).__name__}: {text} (SMTPBENCH_DEBUG=1 shows where)")
        return EXIT_INTERNAL


def complain(text: str) -> None:
    """Tell the user what is wrong: each line of `text` on standard error, after our name."""
    for line in text.splitlines() or ["failed"]:
        print(f"smtpbench: {line}", file=sys.stderr)  # noqa: T201 - this is the command line


def ending_signals() -> list[signal.Signals]:
    """What ends a run: Ctrl-C, SIGTERM, SIGHUP (a closed terminal); not what `nohup` has ignored."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: what it started stops, what it measured is kept."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    like_it = [number for number in ending_signals() if number is not signal.SIGINT]
    previous = {number: signal.signal(number, interrupt) for number in like_it}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
