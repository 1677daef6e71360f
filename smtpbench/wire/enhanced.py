"""Enhanced mail system status codes (RFC 3463 §2) as RFC 2034 §4 puts them at the front of reply text.

status-code = class "." subject "." detail      class = "2" / "4" / "5"
subject = 1*3digit                              detail = 1*3digit
"""

from __future__ import annotations

import re
from typing import NamedTuple

# IANA's registry "SMTP Enhanced Status Codes" (RFC 5248 §2) as of December 2024: the highest detail of each
# subject. There are no gaps below it, and every code is registered for all classes.
HIGHEST_DETAIL = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}
_LEADING = re.compile(rb"([245])\.(\d{1,3})\.(\d{1,3})(?: |$)")


class EnhancedCode(NamedTuple):
    """``class.subject.detail``, such as 5.1.1 (bad destination mailbox address)."""

    klass: int
    subject: int
    detail: int

    @property
    def is_registered(self) -> bool:
        """Whether the registry has this subject and detail."""
        return self.detail <= HIGHEST_DETAIL.get(self.subject, -1)

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"


def leading_code(text: bytes) -> EnhancedCode | None:
    """The status code that `text` begins with, or None."""
    match = _LEADING.match(text)
    return EnhancedCode(*(int(part) for part in match.groups())) if match else None
