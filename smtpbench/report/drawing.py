"""How every plot is drawn: in stand-in colours, which become CSS variables of the page, light or dark.

The output depends on the data alone: no date, no random identifier.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GRID = "#010101", "#020202"
SERIES = tuple(f"#0303{number:02x}" for number in range(1, 12))
_VARIABLES = {INK: "var(--muted)", GRID: "var(--line)"}
_VARIABLES |= {color: f"var(--series-{number})" for number, color in enumerate(SERIES, start=1)}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.9,
}


@contextmanager
def drawing(salt: str, width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches in our style; `salt` makes its identifiers differ from another plot's."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        yield Figure(figsize=(width, height), layout="constrained")


def legend_above(axes: Axes, loc: Literal["lower left", "lower right"] = "lower left") -> None:
    """The legend in a row above the plot."""
    corner = (0.0 if loc.endswith("left") else 1.0, 1.0)
    axes.legend(loc=loc, bbox_to_anchor=corner, ncols=len(SERIES), labelcolor=INK, borderaxespad=0.2)


def latency_tick(value: float, _position: int | None) -> str:
    """A latency in ms as the label of a tick."""
    if value >= 1000:
        return f"{value / 1000:g} s"
    return f"{value:g} ms" if value >= 1 or value == 0 else f"{value * 1000:g} µs"


_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_UNUSED_ID = re.compile(
    r' id="(?:figure|axes|patch|line2d|matplotlib|text|xtick|ytick|legend|FillBetween)[^"]*"'
)


def svg_of(figure: Figure, label: str) -> str:
    """`figure` as inline SVG with `label` for those who cannot see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = _UNUSED_ID.sub("", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    svg = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans)", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
