"""From a TARGET argument to a target, started if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from smtpbench.errors import UsageError
from smtpbench.lab import state
from smtpbench.lab.machine import CommandMachine, Running
from smtpbench.lab.options import TargetOptions, apply_options
from smtpbench.lab.preflight import preflight
from smtpbench.lab.recipes import recipe
from smtpbench.target import Target, from_url, load_toml, require_authorized

EMBEDDED = "embedded"
_LAB = "lab:"
_FORMS = "expected embedded, lab:NAME, smtp://HOST:PORT, smtps://…, lmtp://… or a TOML file"


def is_lab(spec: str) -> bool:
    """Whether `spec` names a server that we start."""
    return spec == EMBEDDED or spec.startswith(_LAB)


@contextmanager
def open_target(
    spec: str,
    options: TargetOptions = TargetOptions(),  # noqa: B008 - frozen
    *,
    check: Callable[[Target], None] = preflight,
) -> Iterator[Target]:
    """The target that `spec` names, with `options` laid over it; a server we start for it is up meanwhile.

    `spec` is ``embedded``, ``lab:NAME`` (a server that is up already is used as it is), a URL or the path
    of a TOML file. Raises UsageError (unknown name, bad file, an address not authorised), and what `check`
    raises for a server that is not ours.
    """
    if is_lab(spec):
        with _lab("aiosmtpd" if spec == EMBEDDED else spec.removeprefix(_LAB), spec) as started:
            yield _permitted(started, options)
        return
    target = _permitted(_described(spec), options)
    check(target)
    yield target


@contextmanager
def open_running(
    spec: str,
    options: TargetOptions = TargetOptions(),  # noqa: B008 - frozen
    *,
    check: Callable[[Target], None] = preflight,
) -> Iterator[Running]:
    """The same, of a target that we can kill and start again.

    A lab server is one of its own: one that is up already is somebody's, and is left alone. Another target
    needs the commands of `[crash]` in its file. Raises UsageError where it has none.
    """
    if is_lab(spec):
        wanted = recipe("aiosmtpd" if spec == EMBEDDED else spec.removeprefix(_LAB))
        with wanted.run() as running:
            yield Running(_permitted(running.target, options), running.machine)
        return
    target = _permitted(_described(spec), options)
    if target.crash is None:
        raise UsageError(
            f"{spec}: how is it killed and started? expected [crash] with kill and start in a target file"
        )
    check(target)
    with closing(CommandMachine(target, target.crash)) as machine:
        yield Running(target, machine)


def _permitted(target: Target, options: TargetOptions) -> Target:
    """`target` with `options`, all of whose hosts may be talked to. Raises UsageError."""
    changed = apply_options(target, options)
    require_authorized(changed, frozenset(options.authorized))
    return changed


def _described(spec: str) -> Target:
    if "://" in spec:
        return from_url(spec)
    path = Path(spec)
    if path.suffix == ".toml" or path.is_file():
        return load_toml(path)
    raise UsageError(f"{spec}: no such target, {_FORMS}")


@contextmanager
def _lab(name: str, spec: str) -> Iterator[Target]:
    wanted = recipe(name)
    up = None if spec == EMBEDDED else state.find(name)
    if up is not None:
        yield up.target
        return
    with wanted.start() as target:
        yield target
