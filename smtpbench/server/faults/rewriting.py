"""Help for faults of syntax: a line that the strict parser refuses is rewritten and parsed again."""

from __future__ import annotations

import re

from smtpbench.server.receiver import Receiver
from smtpbench.wire.parse import OBSOLETE, Command, CommandError
from smtpbench.wire.state import Verb

WORD = re.compile(rb"[A-Za-z]+")
# Verbs that are not unknown, only not ours: obsolete ones, and those of extensions that are not offered.
FOREIGN = OBSOLETE | {b"ETRN", b"ATRN", b"BURL"}


def verb_of(line: bytes) -> bytes:
    """The first word of a line in upper case."""
    return line.split(b" ", 1)[0].upper()


def is_unknown_verb(line: bytes) -> bool:
    """Whether a line begins with a word that could be a verb and is none, ``X…`` excepted."""
    word = verb_of(line)
    known = word in FOREIGN or word in {verb.encode() for verb in Verb}
    return bool(WORD.fullmatch(word)) and not known and not word.startswith(b"X")


def syntax_error(verb: Verb, text: str) -> CommandError:
    """A 501 for `verb`."""
    return CommandError(501, "5.5.4", text, verb)


class Lenient(Receiver):
    """Accepts what `repair` makes well formed; leaves alone what is well formed already."""

    codes: frozenset[int] = frozenset({501})

    def repair(self, line: bytes) -> bytes:
        """The line that is parsed in place of a refused one."""
        raise NotImplementedError

    def parse(self, line: bytes) -> Command | CommandError:
        """Strictly first; if that fails with one of `codes`, once more after repair."""
        parsed = super().parse(line)
        if isinstance(parsed, CommandError) and parsed.code in self.codes:
            repaired = self.repair(line)
            if repaired != line:
                return super().parse(repaired)
        return parsed


class Picky(Receiver):
    """Refuses a well-formed command for which `objection` has a text."""

    def objection(self, command: Command) -> str | None:
        """Why the command is refused, or None."""
        raise NotImplementedError

    def parse(self, line: bytes) -> Command | CommandError:
        """The strict parser's answer, unless there is an objection."""
        parsed = super().parse(line)
        if isinstance(parsed, CommandError):
            return parsed
        text = self.objection(parsed)
        return parsed if text is None else syntax_error(parsed.verb, text)
