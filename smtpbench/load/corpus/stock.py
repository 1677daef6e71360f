"""The contents of one process: made once for all kinds of its sessions that need the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from smtpbench.errors import UsageError
from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.mime import Envelope, Maker
from smtpbench.load.corpus.mixture import Mixture
from smtpbench.load.corpus.pool import generate
from smtpbench.load.corpus.replay import Corpus, read_corpus
from smtpbench.load.identifiers import Identifiers


@dataclass(frozen=True)
class Pool:
    """Contents, and their indices in `order`, each of which is equally likely or, `in_turn`, the next."""

    contents: Sequence[Content]
    order: Sequence[int]
    in_turn: bool = False

    @property
    def needs(self) -> dict[str, str]:
        """The extensions without which some of them may not be sent, and the name of one of them."""
        return {extension: content.name for content in reversed(self.contents) for extension in content.needs}


class Stock:
    """Makes pools, or finds one that it has made.

    `seed` decides all that is drawn in making them. This is process `part` of `parts`. `expected` are the
    summaries of the corpora that the process in charge has read: here they must be the same.
    """

    def __init__(
        self, seed: int = 1, *, part: int = 0, parts: int = 1, expected: Mapping[str, str] | None = None
    ) -> None:
        self.identifiers = Identifiers()
        self._seed, self._part, self._parts = seed, part, parts
        self._expected = expected or {}
        self._corpora: dict[str, Corpus] = {}
        self._pools: dict[Hashable, Pool] = {}

    def beside(self) -> Stock:
        """One with identifiers of its own, for messages that are not to be mistaken for those of this one."""
        other = Stock(self._seed, part=self._part, parts=self._parts, expected=self._expected)
        other._corpora = self._corpora
        return other

    def generated(self, mixture: Mixture, sizes: Sequence[int], envelope: Envelope) -> Pool:
        """A pool of generated contents. Raises UsageError if a size is too small for what it shall hold."""
        key = (mixture.shares, tuple(sizes), envelope)
        return self._once(key, lambda: self._generate(mixture, sizes, envelope))

    def replayed(self, path: str) -> Pool:
        """The mail at `path`, in its order; of several processes each takes its part. Raises UsageError."""
        return self._once(path, lambda: self._replay(path))

    def corpus(self, path: str) -> Corpus:
        """The mail at `path`, read once. Raises UsageError, also if it is not what the others have."""
        if path not in self._corpora:
            found = read_corpus(Path(path))
            expected = self._expected.get(path)
            if expected not in (None, found.summary):
                raise UsageError(f"corpus {path}: here it has {found.summary}; the master has {expected}")
            self._corpora[path] = found
        return self._corpora[path]

    def _generate(self, mixture: Mixture, sizes: Sequence[int], envelope: Envelope) -> Pool:
        made, order = generate(mixture, sizes, Maker(envelope), Random(self._seed))
        return Pool([Content(pieces, self.identifiers, f"content {kind}") for kind, pieces in made], order)

    def _replay(self, path: str) -> Pool:
        contents = [Content(mail.pieces, self.identifiers, mail.name) for mail in self.corpus(path).mails]
        number = len(contents)
        mine = range(self._part, number, self._parts) or [self._part % number]
        return Pool(contents, mine, in_turn=True)

    def _once(self, key: Hashable, make: Callable[[], Pool]) -> Pool:
        if key not in self._pools:
            self._pools[key] = make()
        return self._pools[key]
