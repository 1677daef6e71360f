"""How the sessions of one kind go about it: where, how encrypted, with which extensions, how much."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from smtpbench.load.corpus.mixture import PLAIN, Contents
from smtpbench.load.quantities import RECIPIENTS, SIZE, Messages, Pause, Recipients, Sizes
from smtpbench.target import Role

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DOMAIN = r"^[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)*$"
_NOTIFY = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})  # RFC 3461 §4.1

MOST_MAILBOXES = 100_000  # each is a few hundred octets of commands, rendered beforehand

TlsMode = Literal["none", "starttls", "implicit"]


class Strict(BaseModel):
    """A table of a file: what is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _read_notify(value: Any) -> Any:
    """``"success,failure"`` or a list. Raises ValueError."""
    words = [str(word).strip().upper() for word in (value.split(",") if isinstance(value, str) else value)]
    if not words or set(words) - _NOTIFY or ("NEVER" in words and len(words) > 1):
        raise ValueError("expected never, or some of success, failure and delay")
    return tuple(words)


def _read_path(value: Any) -> Any:
    """``generated`` is what there is without a corpus."""
    return None if value == "generated" else _as_text(value)


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


CorpusPath = Annotated[str | None, BeforeValidator(_read_path)]
GENERATED = frozenset({"content", "message_size"})


def replaced_by(given: Mapping[str, Any]) -> frozenset[str]:
    """The fields whose place `given` takes: a corpus that of generated contents, and the other way round."""
    if given.get("corpus") is not None:
        return GENERATED
    return frozenset({"corpus"} if GENERATED & given.keys() else ())


class Dsn(Strict):
    """Delivery status notifications as MAIL and RCPT ask for them (RFC 3461 §4)."""

    notify: Annotated[tuple[str, ...], BeforeValidator(_read_notify)] = ("FAILURE",)
    ret: Literal["full", "hdrs"] | None = None
    envid: bool = True
    orcpt: bool = True


class Dkim(Strict):
    """DKIM signatures (RFC 6376): with the RSA key in the file `key`, in the name of `domain` (the sender's).

    A content is signed once, or each message by itself (`corpus/signing.py`).
    """

    key: Annotated[str, BeforeValidator(_as_text)]
    selector: Annotated[str, Field(pattern=_DOMAIN)] = "smtpbench"
    domain: Annotated[str, Field(pattern=_DOMAIN)] | None = None
    each: bool = False


class Manner(Strict):
    """What sessions of one kind do.

    `endpoint` None is the target's main one, or the first with the `tls` that is asked for.
    `message_size` is in octets of content before dot-stuffing (RFC 5321 §4.5.2); it, `recipients`
    and `messages_per_session` are numbers or distributions (`quantities`). `content` is which kinds of
    messages are generated (`corpus/mixture.py`); or `corpus` names mail of the user's own, which is
    sent in turn (`corpus/replay.py`) and has sizes of its own. `dkim` signs either.
    `messages_per_session` None keeps a session for the whole run. `idle` is how long a session lies
    idle after each message before the next, in seconds. `auth`: as the user of the target file, if it
    names one. `pipelining` and `chunking` (RFC 3030) are used where they are offered; `smtputf8` (RFC
    6531) and `dsn` have to be. With `mailboxes`, mail goes to so many at the domain of the recipient, in
    turn, with a number after its local part; with `domains`, to that local part at each of these in turn,
    whatever the session.
    """

    endpoint: Role | None = None
    tls: TlsMode | None = None
    auth: bool = True
    pipelining: bool = True
    chunking: bool = False
    smtputf8: bool = False
    dsn: Dsn | None = None
    messages_per_session: Messages | None = None
    message_size: Sizes = SIZE.read(1024)
    content: Contents = PLAIN
    corpus: CorpusPath | None = None
    dkim: Dkim | None = None
    recipients: Recipients = RECIPIENTS.read(1)
    idle: Pause | None = None
    sender: str | None = None
    recipient: str | None = None
    mailboxes: Annotated[int, Field(ge=1, le=MOST_MAILBOXES)] = 1
    domains: Annotated[tuple[Annotated[str, Field(pattern=_DOMAIN)], ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        said = sorted(GENERATED & self.model_fields_set)
        if self.corpus is not None and said:
            raise ValueError(f"corpus: has contents of its own; leave out {' and '.join(said)}")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """The extensions without which such a session cannot be had."""
        wanted = {"SMTPUTF8": self.smtputf8, "DSN": self.dsn is not None}
        return frozenset(name for name, value in wanted.items() if value)


def read_share(value: Any) -> Any:
    """``"5%"`` as 0.05; what is no percentage is left as it is."""
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) / 100 if match else value


class Traffic(Manner):
    """One kind of sessions in a mix. What it leaves out is as the workload says.

    `share` is a weight: 70 and 30, or "70%" and "30%". What it asks for itself, the target must offer.
    """

    name: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    share: Annotated[float, BeforeValidator(read_share), Field(gt=0, le=1e9)] = 1.0

    @property
    def needs(self) -> frozenset[str]:
        """See `Manner`."""
        said = {name for name in ("pipelining", "chunking") if name in self.model_fields_set}
        return super().needs | {name.upper() for name in said if getattr(self, name)}

    @property
    def described(self) -> str:
        """A name for one that has none: where it goes, and how encrypted."""
        words = [self.endpoint.value if self.endpoint else "", self.tls or ""]
        return "+".join(filter(None, words)) or "traffic"

    @property
    def needs_auth(self) -> bool:
        """Whether a session that cannot authenticate is none of this kind."""
        return self.auth and "auth" in self.model_fields_set

    def over(self, workload: Manner) -> Manner:
        """The workload's manner with what this says on top."""
        inherited = workload.model_fields_set & Manner.model_fields.keys()
        own = self.model_fields_set & Manner.model_fields.keys()
        inherited -= replaced_by({name: getattr(self, name) for name in own})
        merged = {name: getattr(workload, name) for name in inherited}
        return Manner(**merged | {name: getattr(self, name) for name in own})
