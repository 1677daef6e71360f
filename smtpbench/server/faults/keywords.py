"""Faults of the EHLO keyword lines: a value behind a keyword that has none, or one that is malformed."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver


class _Value(Receiver):
    """`keyword` is listed with `value` behind it."""

    keyword = value = ""

    def keyword_value(self, keyword: str) -> str:
        return f" {self.value}" if keyword == self.keyword else super().keyword_value(keyword)


@fault("size-keyword-with-unit", "1870-1")
class SizeKeywordWithUnit(_Value):
    """SIZE has a unit behind its number."""

    keyword, value = "SIZE", "256K"


@fault("size-zero-is-a-limit", "1870-12")
class SizeZeroIsALimit(_Value):
    """SIZE says 0, and there is a maximum all the same."""

    keyword, value = "SIZE", "0"


@fault("pipelining-keyword-with-number", "2920-10")
class PipeliningKeywordWithNumber(_Value):
    """PIPELINING has a number behind it."""

    keyword, value = "PIPELINING", "100"


@fault("chunking-keyword-with-number", "3030-19")
class ChunkingKeywordWithNumber(_Value):
    """CHUNKING has a number behind it."""

    keyword, value = "CHUNKING", "65536"


@fault("starttls-keyword-with-word", "3207-1")
class StarttlsKeywordWithWord(_Value):
    """STARTTLS has a word behind it."""

    keyword, value = "STARTTLS", "REQUIRED"


@fault("8bitmime-keyword-with-word", "6152-6")
class EightBitMimeKeywordWithWord(_Value):
    """8BITMIME has a word behind it."""

    keyword, value = "8BITMIME", "YES"


class _Hidden(Receiver):
    """`keyword` is not listed; LMTP only if `in_lmtp`."""

    keyword = ""
    in_lmtp = False

    def offers(self, keyword: str) -> bool:
        hidden = keyword == self.keyword and (self.lmtp or not self.in_lmtp)
        return not hidden and super().offers(keyword)


@fault("binarymime-without-chunking", "3030-16")
class BinaryMimeWithoutChunking(_Hidden):
    """BINARYMIME is listed and CHUNKING is not."""

    keyword = "CHUNKING"


@fault("lmtp-without-8bitmime", "2033-10")
class LmtpWithoutEightBitMime(_Hidden):
    """LHLO does not list 8BITMIME."""

    keyword, in_lmtp = "8BITMIME", True


@fault("lhlo-without-extensions", "2033-2")
class LhloWithoutExtensions(Receiver):
    """LHLO is answered with one line."""

    def keywords(self) -> list[str]:
        return [] if self.lmtp else super().keywords()
