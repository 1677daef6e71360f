"""What a sink is told to do wrong, as a TOML file says it. All times are in seconds since it began to listen.

    seed = 7                       # shares and exponential delays are drawn from it
    without = ["CHUNKING"]         # extensions that are not offered
    outages_s = [[60, 90]]         # connections are refused, and those that are there are broken off
    flapping = { up_s = 10, down_s = 5 }

    [[rule]]                       # the first rule that holds decides; if none does, all is as usual
    on = "rcpt"                    # connect, ehlo, mail, rcpt, data, body (the end of the message), quit
    recipient = "slow-*@*"         # also: sender, domain (of a recipient); as file names, without case
    share = 0.2                    # of the cases in which the rest holds
    window_s = [10, 70]            # only then
    greylist_s = 300               # on rcpt: until client, sender and recipient have been known so long
    delay_s = 0.02                 # before the reply
    exponential_s = 0.1            # a delay that is drawn, with this mean; on top of delay_s
    reply = "451 4.3.0 Later"      # 4yz or 5yz; the connection is closed after 421, and on connect
    drop = "after"                 # close the connection: before the reply, in its place, or after it
    taken = true                   # on body, with drop = "before": the message is taken all the same
    without = ["PIPELINING"]       # on ehlo
    read_rate = 1000               # on connect: octets/s that are read from this client

A message that is refused, or whose connection is dropped before the reply, is not taken.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from smtpbench.errors import UsageError
from smtpbench.server.config import NEXT_HOP_EXTENSIONS
from smtpbench.server.scripted import ScriptedReply

SCRIPT_HELP = (__doc__ or "").replace("\n    ", "\n").rstrip()
Moment = Literal["connect", "ehlo", "mail", "rcpt", "data", "body", "quit"]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
Window = tuple[Seconds, Seconds]
_REPLY = re.compile(r"([45]\d\d)(?: ([245]\.\d{1,3}\.\d{1,3}))?(?: ([\x20-\x7e]{1,200}))?")
_ENVELOPE: frozenset[Moment] = frozenset({"mail", "rcpt", "data", "body"})
_ONLY_ON: dict[str, frozenset[Moment]] = {  # a key of a rule → where it has a meaning
    "sender": _ENVELOPE,
    "recipient": _ENVELOPE - {"mail"},
    "domain": _ENVELOPE - {"mail"},
    "greylist_s": frozenset({"rcpt"}),
    "taken": frozenset({"body"}),
    "without": frozenset({"ehlo"}),
    "read_rate": frozenset({"connect"}),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_extensions(names: tuple[str, ...]) -> tuple[str, ...]:
    wrong = sorted(set(names) - NEXT_HOP_EXTENSIONS - {"STARTTLS"})
    if wrong:
        raise ValueError(f"not offered anyhow: {', '.join(wrong)}")
    return names


def _check_window(window: Window) -> Window:
    if window[0] >= window[1]:
        raise ValueError("expected [BEGIN, END] with END after BEGIN")
    return window


class Rule(_Strict):
    """When something happens, and what; see above."""

    on: Moment
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    window_s: Window | None = None
    greylist_s: Positive | None = None
    delay_s: Seconds = 0.0
    exponential_s: Seconds = 0.0
    reply: str | None = None
    drop: Literal["before", "after"] | None = None
    taken: bool = False
    without: tuple[str, ...] = ()
    read_rate: Annotated[int, Field(ge=1)] | None = None

    @field_validator("reply")
    @classmethod
    def _is_a_refusal(cls, value: str | None) -> str | None:
        if value is not None and not _REPLY.fullmatch(value):
            raise ValueError("expected 4yz or 5yz, perhaps a code like 4.3.0, and a text")
        return value

    @field_validator("without")
    @classmethod
    def _is_offered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _check_extensions(value)

    @field_validator("window_s")
    @classmethod
    def _is_a_window(cls, value: Window | None) -> Window | None:
        return value and _check_window(value)

    @model_validator(mode="after")
    def _makes_sense(self) -> Rule:
        for key in self.model_fields_set & _ONLY_ON.keys():
            if self.on not in _ONLY_ON[key]:
                places = " or ".join(sorted(_ONLY_ON[key]))
                raise ValueError(f"{key} has a meaning on {places} only, not on {self.on}")
        if self.taken and self.drop != "before":
            raise ValueError('taken needs drop = "before": otherwise the reply says whether it was')
        if not (self.delays or self.reply or self.drop or self.without or self.read_rate or self.greylist_s):
            raise ValueError(
                "nothing happens: expected a delay, reply, drop, greylist_s, without or read_rate"
            )
        return self

    @property
    def delays(self) -> bool:
        """Whether the reply comes late."""
        return bool(self.delay_s or self.exponential_s)

    def answer(self, delay_s: float) -> ScriptedReply:
        """The reply of this rule, `delay_s` late."""
        if self.drop == "before":
            return ScriptedReply(code=0, close=True, delay_s=delay_s)
        text = self.reply or ("450 4.7.1 Greylisted, try again later" if self.greylist_s else None)
        close = self.drop == "after"
        if text is None:
            return ScriptedReply(delay_s=delay_s, close=close)
        found = _REPLY.fullmatch(text)
        assert found is not None
        code = int(found[1])
        close = close or code == 421 or self.on == "connect"
        enhanced, said = found[2] or f"{found[1][0]}.0.0", found[3] or "As the script says"
        return ScriptedReply(code=code, enhanced=enhanced, text=said, delay_s=delay_s, close=close)


class Flapping(_Strict):
    """A hop that is there for `up_s`, then gone for `down_s`, and so on."""

    up_s: Positive
    down_s: Positive


class SinkScript(_Strict):
    """The whole file; see above."""

    seed: int = 1
    without: tuple[str, ...] = ()
    outages_s: tuple[Window, ...] = ()
    flapping: Flapping | None = None
    rule: tuple[Rule, ...] = ()

    @field_validator("without")
    @classmethod
    def _is_offered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _check_extensions(value)

    @field_validator("outages_s")
    @classmethod
    def _are_windows(cls, value: tuple[Window, ...]) -> tuple[Window, ...]:
        return tuple(_check_window(window) for window in value)


def load_script(
    path: Path | None,
    rules: Sequence[str] = (),
    without: Sequence[str] = (),
    seed: int | None = None,
) -> SinkScript:
    """The script in a file, if there is one, and what the command line adds: `rules` go ahead of its own.

    A rule is as in ``on = "rcpt", share = 0.2``. Raises UsageError, a line for each mistake.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: not TOML: {error}") from None
    own = data.get("rule", [])
    given = [_parse_rule(text) for text in rules]
    if given and isinstance(own, list):
        data["rule"] = given + own
    own = data.get("without", [])
    if without and isinstance(own, list):
        data["without"] = own + [keyword.upper() for keyword in without]
    if seed is not None:
        data["seed"] = seed
    return _validated(data, "options" if path is None else str(path))


def _parse_rule(text: str) -> Any:
    try:
        return tomllib.loads(f"rule = {{ {text} }}")["rule"]
    except tomllib.TOMLDecodeError:
        raise UsageError(
            f"""--rule {text}: expected for instance: on = "rcpt", reply = "451" """.rstrip()
        ) from None


def _validated(data: dict[str, Any], where: str) -> SinkScript:
    try:
        return SinkScript.model_validate(data)
    except ValidationError as error:
        raise UsageError("\n".join(_one_line(where, item) for item in error.errors())) from None


def _one_line(where: str, item: Any) -> str:
    """A mistake as pydantic has it, in words; rules are counted from 1."""
    place = [
        str(part + 1) if isinstance(part, int) and at else str(part) for at, part in enumerate(item["loc"])
    ]
    key = " ".join(place)
    if item["type"] == "extra_forbidden":
        model = Rule if place[:1] == ["rule"] else Flapping if place[:1] == ["flapping"] else SinkScript
        return f"{where}: {key}: unknown key, expected one of {', '.join(model.model_fields)}"
    if item["type"] == "missing":
        return f"{where}: {key}: missing, a value is needed"
    message = item["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(item["input"], dict) else f" {item['input']!r}:"
    return f"{where}: {key}:{shown} {message[:1].lower()}{message[1:]}"
