"""The contents of one process: made once for all kinds of its sessions that need the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from smtpbench.delivery.fingerprint import MASK
from smtpbench.errors import UsageError
from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.mime import Envelope, Maker
from smtpbench.load.corpus.mixture import Mixture
from smtpbench.load.corpus.pool import generate
from smtpbench.load.corpus.replay import Corpus, read_corpus
from smtpbench.load.corpus.signing import SignedContent, Signer, Signing, signed_once
from smtpbench.load.identifiers import Identifiers

SIGNED_MAX = 2_000  # messages of a corpus, signed when a process starts: some ten seconds


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


@dataclass(frozen=True)
class Made:
    """What a pool is made from: name and pieces of each content."""

    named: Sequence[tuple[str, Sequence[bytes]]]
    order: Sequence[int]
    in_turn: bool = False


class Stock:
    """Makes pools, or finds one that it has made.

    `seed` decides all that is drawn in making them. This is process `part` of `parts`. `expected` are the
    summaries of the corpora that the process in charge has read: here they must be the same. A `rehearsal`
    finds the same mistakes and needs, but generates no more than that takes, and signs one message of each.
    """

    def __init__(
        self, seed: int = 1, *, part: int = 0, parts: int = 1, expected: Mapping[str, str] | None = None,
        rehearsal: bool = False,
    ) -> None:  # fmt: skip
        self.identifiers = Identifiers()
        self._seed, self._part, self._parts = seed, part, parts
        self._expected, self._rehearsal = expected or {}, rehearsal
        self._corpora: dict[str, Corpus] = {}
        self._made: dict[Hashable, Made] = {}
        self._pools: dict[Hashable, Pool] = {}

    def beside(self) -> Stock:
        """One with the same contents and identifiers of its own, which nobody takes for those of this one."""
        other = Stock(self._seed, part=self._part, parts=self._parts, rehearsal=self._rehearsal)
        other._expected, other._corpora, other._made = self._expected, self._corpora, self._made
        return other

    def generated(
        self, mixture: Mixture, sizes: Sequence[int], envelope: Envelope, signing: Signing | None = None
    ) -> Pool:
        """A pool of generated contents. Raises UsageError if a size is too small for what it shall hold."""
        key = (mixture.shares, tuple(sizes), envelope, signing)
        return self._pool(key, signing, lambda: self._generate(mixture, sizes, envelope, signing))

    def replayed(self, path: str, signing: Signing | None = None) -> Pool:
        """The mail at `path`, in its order; of several processes each takes its part. Raises UsageError."""
        return self._pool((path, signing), signing, lambda: self._replay(path, signing))

    def corpus(self, path: str) -> Corpus:
        """The mail at `path`, read once. Raises UsageError, also if it is not what the others have."""
        if path not in self._corpora:
            found = read_corpus(Path(path))
            expected = self._expected.get(path)
            if expected is not None and found.summary != expected:
                raise UsageError(f"corpus {path}: here it has {found.summary}; the master has {expected}")
            self._corpora[path] = found
        return self._corpora[path]

    def _generate(
        self, mixture: Mixture, sizes: Sequence[int], envelope: Envelope, signing: Signing | None
    ) -> Made:
        maker = Maker(envelope, in_body=signing is None or signing.each)
        if self._rehearsal:
            made = [(kind, maker.make(kind, min(sizes), Random(0))) for kind, _ in mixture.shares]
            order = list(range(len(made)))
        else:
            made, order = generate(mixture, sizes, maker, Random(self._seed))
        return Made([(f"content {kind}", pieces) for kind, pieces in made], order)

    def _replay(self, path: str, signing: Signing | None) -> Made:
        mails = self.corpus(path).mails
        number = len(mails)
        if signing is not None and not signing.each and number > SIGNED_MAX:
            raise UsageError(
                f"dkim: {number:,} messages of {path} are too many to sign beforehand, expected "
                f"{SIGNED_MAX:,} at most; or sign each as it is sent"
            )
        mine = range(self._part, number, self._parts) or [self._part % number]
        return Made([(mail.name, mail.pieces) for mail in mails], mine, in_turn=True)

    def _pool(self, key: Hashable, signing: Signing | None, make: Callable[[], Made]) -> Pool:
        if key not in self._pools:
            signer = None if signing is None else Signer(signing)
            if key not in self._made:
                made = make()
                self._made[key] = self._signed(made, signer) if signer else made
            made = self._made[key]
            contents = [self._content(name, pieces, signer) for name, pieces in made.named]
            self._pools[key] = Pool(contents, made.order, made.in_turn)
        return self._pools[key]

    def _signed(self, made: Made, signer: Signer) -> Made:
        for name, pieces in made.named:
            signer.check(MASK.join(pieces), name)
        if signer.each:
            return made
        number = 1 if self._rehearsal else len(made.named)
        signed = [(name, signed_once(pieces, signer)) for name, pieces in made.named[:number]]
        return Made([*signed, *made.named[number:]], made.order, made.in_turn)

    def _content(self, name: str, pieces: Sequence[bytes], signer: Signer | None) -> Content:
        if signer is not None and signer.each:
            return SignedContent(pieces, self.identifiers, name, signer)
        return Content(pieces, self.identifiers, name)
