"""One-off options: what a user may say on the command line instead of in a target file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smtpbench.errors import UsageError
from smtpbench.target import Target, parse_target


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """Each option that is given replaces what the target says; `authorized` lists permitted hosts."""

    recipient: str | None = None
    second_recipient: str | None = None
    unknown_recipient: str | None = None
    sender: str | None = None
    username: str | None = None
    password_env: str | None = None
    ca: Path | None = None
    observe: str | None = None
    observe_password_env: str | None = None
    read: Sequence[str] = ()
    authorized: Sequence[str] = ()


def apply_options(target: Target, options: TargetOptions) -> Target:
    """The target with `options` laid over it, validated again. Raises UsageError.

    Only the keys the target was given or an option names are set, so that defaults stay defaults.
    """
    data = target.model_dump(exclude_unset=True)
    for name in ("recipient", "second_recipient", "unknown_recipient", "sender"):
        _put(data, "fixtures", name, getattr(options, name))
    _put(data, "tls", "ca", options.ca)
    _put(data, "observe", "url", options.observe)
    _put(data, "auth", "username", options.username)
    if options.password_env is not None:
        data["auth"] = dict(data.get("auth") or {})
        _put_password(data["auth"], options.password_env)
    if options.read:
        data["read"] = [{"url": url} for url in options.read]
    places = [*([data["observe"]] if data.get("observe") else []), *(data.get("read") or ())]
    if options.observe_password_env is not None and not places:
        raise UsageError(
            "--observe-password-env needs --observe or --read, or observe.url in the target file"
        )
    for place in places:
        _put_password(place, options.observe_password_env)
    auth = data.get("auth")
    if auth and "username" not in auth:
        raise UsageError("--password-env needs --username, or auth.username in the target file")
    if auth and not auth.keys() & {"password_env", "password_file"}:
        raise UsageError("--username needs --password-env, or auth.password_file in the target file")
    return parse_target(data, where=target.name)


def _put(data: dict[str, Any], section: str, key: str, value: object) -> None:
    if value is not None:
        data[section] = {**(data.get(section) or {}), key: value}


def _put_password(login: dict[str, Any], variable: str | None) -> None:
    """One source of a password: the one typed last."""
    if variable is not None:
        login.pop("password_file", None)
        login["password_env"] = variable
