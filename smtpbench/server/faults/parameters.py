"""Faults of parameters in company (RFC 5321 §4.1.1.11): each is fine, or refused, when it comes alone."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient, Picky
from smtpbench.wire.parse import Command


def _split(line: bytes) -> tuple[bytes, list[bytes]]:
    """The command with its path, and the parameters."""
    head, end, rest = line.partition(b">")
    return head + end, rest.split()


def _keyword(parameter: bytes) -> bytes:
    return parameter.partition(b"=")[0].upper()


@fault("ret-excludes-size", "3461-10", "1870-11")
class RetExcludesSize(Picky):
    """MAIL with RET and SIZE is refused."""

    def objection(self, command: Command) -> str | None:
        return "RET or SIZE, not both" if {"RET", "SIZE"} <= set(command.parameters) else None


@fault("never-excludes-orcpt", "3461-11")
class NeverExcludesOrcpt(Picky):
    """RCPT with NOTIFY=NEVER and ORCPT is refused."""

    def objection(self, command: Command) -> str | None:
        never = (command.parameters.get("NOTIFY") or "").upper() == "NEVER"
        return "nobody to notify" if never and "ORCPT" in command.parameters else None


@fault("parameters-in-one-order", "5321-C-46")
class ParametersInOneOrder(Picky):
    """Parameters in another order than that of the RFCs are refused."""

    def objection(self, command: Command) -> str | None:
        known = ["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "NOTIFY", "ORCPT"]
        places = [known.index(name) for name in command.parameters if name in known]
        return "parameters out of order" if places != sorted(places) else None


@fault("values-case-sensitive", "5321-A-7")
class ValuesCaseSensitive(Picky):
    """The words among the values are accepted in upper case only."""

    def objection(self, command: Command) -> str | None:
        values = [command.parameters.get(name) or "" for name in ("BODY", "RET", "NOTIFY")]
        return "unknown value" if any(value != value.upper() for value in values) else None


@fault("only-the-last-parameter-is-checked", "1870-5", "6152-2", "6531-3", "3461-2", "3461-4")
class OnlyTheLastParameterIsChecked(Lenient):
    """A wrong value is ignored when another parameter follows."""

    def repair(self, line: bytes) -> bytes:
        head, parameters = _split(line)
        repeated = len({_keyword(item) for item in parameters}) < len(parameters)
        return line if repeated else b" ".join([head, *parameters[-1:]])


@fault("repetition-seen-in-neighbours", "3461-8", "3461-9", "1870-4", "6152-3")
class RepetitionSeenInNeighbours(Lenient):
    """A parameter that comes twice is refused only if nothing stands between."""

    def repair(self, line: bytes) -> bytes:
        head, parameters = _split(line)
        if len(parameters) > 2 and _keyword(parameters[0]) == _keyword(parameters[-1]):
            return b" ".join([head, *parameters[:-1]])
        return line
