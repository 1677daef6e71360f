from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from smtpbench.delivery.fingerprint import MASK
from smtpbench.errors import UsageError
from smtpbench.load.corpus import pool
from smtpbench.load.corpus.mime import Envelope, Maker
from smtpbench.load.corpus.mixture import PLAIN, read_mixture

MAKER = Maker(Envelope("a@example.org", ("b@example.net",)))


def size_of(content: tuple[str, list[bytes]]) -> int:
    return len(MASK.join(content[1]))


def test_plain_contents_are_one_for_each_size() -> None:
    contents, order = pool.generate(PLAIN, [600, 700], MAKER, Random(1))
    assert list(map(size_of, contents)) == [600, 700]
    assert order == [0, 1]


def test_sizes_and_kinds_are_as_asked_for_and_independent() -> None:
    sizes = [1000 + 4 * n for n in range(256)]
    contents, order = pool.generate(read_mixture("dots@3,8bit"), sizes, MAKER, Random(1))
    placed = [contents[index] for index in order]
    assert sorted(map(size_of, placed)) == sizes
    eight_bit = [size_of(one) for one in placed if one[0] == "8bit"]
    assert all((one[0] == "8bit") != b"".join(one[1]).isascii() for one in placed)
    assert len(eight_bit) == 64
    # the mean of 64 sizes out of 1000 to 2020, of a standard deviation of 295: within three of its own
    assert abs(sum(eight_bit) / 64 - 1510) < 3 * 295 / 8


def test_one_size_still_has_many_contents() -> None:
    contents, order = pool.generate(read_mixture("attachment"), [4000], MAKER, Random(1))
    assert len({MASK.join(pieces) for _, pieces in contents}) == len(order) == pool.SLOTS


def test_large_contents_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "RENDERED_OCTETS", 100_000)
    contents, order = pool.generate(read_mixture("dots,attachment"), [5_000, 20_000], MAKER, Random(1))
    assert sum(map(size_of, contents)) <= 100_000 + 2 * 25_000
    assert len(order) == pool.SLOTS
    used = Counter(size_of(contents[index]) for index in order)
    assert used == {5_000: 128, 20_000: 128}
    assert set(order) == set(range(len(contents)))


def test_a_size_too_small_for_a_kind_is_named_whichever_it_met() -> None:
    with pytest.raises(UsageError, match="message size 600: too small for content attachment"):
        pool.generate(read_mixture("dots@1000,attachment"), [600, *[9000] * 255], MAKER, Random(1))
