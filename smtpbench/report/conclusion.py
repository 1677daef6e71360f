"""One line on a part of a run, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "warn", "bad"]


@dataclass(frozen=True)
class Conclusion:
    """What was found, for somebody who reads nothing else."""

    tone: Tone
    text: str
