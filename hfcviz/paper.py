"""Figures for a paper: how wide and in what format, and the light look they get whatever the page looks like."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcviz.settings import InputError, Settings, setting

if TYPE_CHECKING:
    import plotly.graph_objects as go

PRESETS = {"one column": 85.0, "two columns": 180.0}
"""Millimetres that most journals have for one and for two columns."""
FORMATS = ("PDF", "SVG", "PNG", "HTML")
KINDS = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png", "html": "text/html"}
INCH = 25.4
LEAST_MM, MOST_MM, MOST_PIXELS = 20, 600, 12_000
BASE = 13
"""Pixels of the text in all figures (palette.look); a page's font size is that of this text."""
SMALL = 12
"""Pixels of the lines below a title, and of names that stand on end."""
NARROW, CELL, LETTER, BAR, LINE = 125, 30, 7.5, 70, 17
"""Pixels of layout that one panel, a cell with words, a letter, a bar of colours, and a line of a table need at least."""
WINDOW = 1100
"""The width that a figure in HTML is laid out for; it takes that of its window, and keeps its height."""
DARK = "#1F2933"
LIGHT: dict[str, Any] = {
    "paper_bgcolor": "white",
    "plot_bgcolor": "white",
    "font": {"family": "Helvetica, Arial, Liberation Sans, sans-serif", "color": DARK},
}


@dataclass(frozen=True)
class Page(Settings):
    """How a figure is printed."""

    format: str = setting(
        "PDF", "PDF and SVG stay sharp at any size, PNG is pixels, HTML can be explored.", choices=FORMATS
    )
    width: float = setting(
        85.0,
        "In the unit beside it; journals usually have 85 mm a column and 180 mm a page.",
        least=1,
        most=MOST_PIXELS,
    )
    unit: str = setting("mm", "Millimetres on paper, or pixels.", choices=("mm", "px"))
    dpi: int = setting(
        300, "Pixels an inch, of PNG and of widths in pixels.", label="Dots per inch", least=50, most=1200
    )
    font: float = setting(
        8.0,
        "Of most of the text, in points; titles are a little larger, small print smaller.",
        label="Text size (pt)",
        least=4,
        most=24,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not LEAST_MM <= self.mm <= MOST_MM:
            got = f"{self.width:g} {self.unit}" + (f" at {self.dpi} dpi, {self.mm:.3g} mm" if self.unit == "px" else "")
            raise InputError(f"Page.width must be between {LEAST_MM} and {MOST_MM} mm; got {got}.")
        if self.pixels > MOST_PIXELS:
            raise InputError(f"Page.width must be at most {MOST_PIXELS} pixels; got {self.pixels}: lower dpi or width.")

    @property
    def mm(self) -> float:
        """The width on paper."""
        return self.width if self.unit == "mm" else self.width / self.dpi * INCH

    @property
    def pixels(self) -> int:
        """The width of a PNG."""
        return round(self.width if self.unit == "px" else self.mm / INCH * self.dpi)


@dataclass(frozen=True)
class Sheet:
    """Where a figure is laid out: pixels of layout, and how many of 1/96 inch one of them becomes on paper."""

    width: float
    height: float
    scale: float

    @property
    def font(self) -> float:
        """What size most of the text has on paper, in points: smaller than asked for where a figure needs more room."""
        return BASE * self.scale * 72 / 96


def for_paper(figure: go.Figure, page: Page) -> tuple[go.Figure, Sheet]:
    """A copy in the light look, and the sheet that it is laid out on; the figure itself is left as it is.

    The text gets its size by the width of the layout: with all else in proportion, markers and lines do not crowd a narrow column.
    """
    found = copy.deepcopy(figure)
    found.frames = ()
    found.layout.updatemenus = ()
    found.layout.meta = None
    found.layout.template = "plotly_white"  # set, as an update would leave what only the old one has
    inch = page.mm / INCH
    asked = WINDOW if page.format == "HTML" else inch * 96 * BASE / (page.font * 96 / 72)
    width = max(asked, least_width(figure))
    margin = found.layout.margin
    below = 8 if figure.layout.updatemenus else margin.b  # room for buttons, which paper has not
    height = _height(figure, width)  # of the original: in a copy, plotly keeps arrays as text
    found.update_layout(**LIGHT, width=width, height=height, autosize=False, margin_b=below, dragmode=False)
    legend = found.layout.legend
    if legend.orientation == "h" and (legend.y or 0) < 0:  # at the foot of the sheet, however high the figure is
        found.update_layout(legend={"yref": "container", "y": 0, "yanchor": "bottom"})
    axes = {
        "gridcolor": "#E3E7EB",
        "linecolor": DARK,
        "tickfont_color": DARK,
        "title_font": {"color": DARK, "size": BASE},
    }
    found.update_xaxes(**axes)
    found.update_yaxes(**axes)
    return found, Sheet(width, height, inch * 96 / width)


def plain(text: str) -> str:
    """The first line of a title, without its tags."""
    parts = text.split("<br>")[0].split("<")
    return "".join([parts[0], *(part.split(">", 1)[-1] for part in parts[1:])])


def least_width(figure: go.Figure) -> float:
    """Pixels of layout below which panels, or words in cells, would run into each other."""
    spans = _spans(figure, "x")
    columns = max((len(row) for row in _rows(figure).values()), default=1)
    notes = [note for note in figure.layout.annotations if note.xanchor == "center" and not note.textangle]
    titles = [(_share(figure, note, spans), len(plain(note.text)) * (note.font.size or BASE) / BASE) for note in notes]
    titles += [
        (_share(figure, note, spans), len(plain(line)) * SMALL / BASE)
        for note in notes
        for line in note.text.split("<br>")[1:]
    ]
    for axis in figure.select_xaxes():
        if axis.title.text:
            low, high = axis.domain or (0, 1)
            titles.append((high - low, len(plain(axis.title.text))))
    panel = max(NARROW, max((letters for _, letters in titles), default=0) * LETTER if columns > 1 else 0)
    # Panels of half the width count as two columns, whatever stands above or below them.
    apart = [letters * LETTER * min(columns, int(1 / share + 1e-9)) for share, letters in titles if columns > 1]
    least = max(columns * NARROW, *apart, 0)
    names = [note for note in figure.layout.annotations if note.textangle]
    for trace in figure.data:
        rows, wide = _extent(figure, trace)
        if rows and wide and trace.type == "image":
            beside = (figure.layout.margin.l or 0) + (figure.layout.margin.r or 0)
            across, down = _domain(figure, "x", trace.xaxis), _domain(figure, "y", trace.yaxis)
            letters = max((len(note.text) for note in names if down[0] <= note.y <= down[1]), default=0)
            needed = max(panel, letters * LETTER * SMALL / BASE * wide / rows)
            least = max(least, needed / (across[1] - across[0]) + beside)
        if trace.type == "heatmap" and trace.texttemplate and trace.z is not None and len(trace.z):
            across = _domain(figure, "x", trace.xaxis)
            letters = max((len(plain(str(word))) for row in np.asarray(trace.text) for word in row), default=1)
            least = max(least, len(trace.z[0]) * max(CELL, letters * LETTER) / (across[1] - across[0]) + 60)
    return least


def _height(figure: go.Figure, width: float) -> float:
    """Pictures keep their proportions; other figures have the height of the screen, or less on a narrow sheet. Rows
    of different panels, as in a film, keep theirs, for the words between them.
    """
    margin = figure.layout.margin
    below = 8 if figure.layout.updatemenus else margin.b or 0
    beside, above = (margin.l or 0) + (margin.r or 0), (margin.t or 0) + below
    if any(trace.type == "heatmap" and trace.showscale for trace in figure.data) and (margin.r or 0) < BAR:
        beside += BAR
    inner = 0.0
    for trace in figure.data:
        rows, columns = _extent(figure, trace)
        if rows and columns:
            across, down = _domain(figure, "x", trace.xaxis), _domain(figure, "y", trace.yaxis)
            inner = max(inner, rows / columns * (across[1] - across[0]) * (width - beside) / (down[1] - down[0]))
    if inner:
        return round(inner + above)
    if len({len(row) for row in _rows(figure).values()}) > 1:
        return float(figure.layout.height or 450)
    columns, rows = len(_spans(figure, "x")), len(_spans(figure, "y"))
    names = {trace.name for trace in figure.data if trace.showlegend is not False and trace.name}
    lines = sum(len(name) * LETTER + 50 for name in names) / width
    proportion = 0.7 if columns == 1 else 1.0
    words = [
        len(trace.z) for trace in figure.data if trace.type == "heatmap" and trace.texttemplate and trace.z is not None
    ]
    least = above + LINE * max(words, default=0)
    return min(figure.layout.height or 450, max(least, round(proportion * width / columns * rows + 60 + 20 * lines)))


def _extent(figure: go.Figure, trace: Any) -> tuple[float, float]:
    """Rows and columns of a picture that is drawn in true proportions; (0, 0) of any other trace."""
    if trace.type not in ("heatmap", "image"):
        return 0, 0
    y = figure.layout[_axis("y", trace.yaxis)]
    if not y.scaleanchor:
        return 0, 0
    x = figure.layout[_axis("x", trace.xaxis)]
    if x.range and y.range:
        return abs(y.range[1] - y.range[0]), abs(x.range[1] - x.range[0])
    return (len(trace.z), len(trace.z[0])) if trace.z is not None else (0, 0)


def _axis(letter: str, name: str | None) -> str:
    return f"{letter}axis{(name or letter)[1:]}"


def _domain(figure: go.Figure, letter: str, name: str | None) -> tuple[float, float]:
    found = figure.layout[_axis(letter, name)].domain
    return tuple(found) if found else (0.0, 1.0)


def _rows(figure: go.Figure) -> dict[tuple[float, float], set[tuple[float, float]]]:
    """The places of panels along the width, by their place along the height."""
    found: dict[tuple[float, float], set[tuple[float, float]]] = {}
    for trace in figure.data:
        low, high = _domain(figure, "y", getattr(trace, "yaxis", None))
        across = _domain(figure, "x", getattr(trace, "xaxis", None))
        found.setdefault((round(low, 4), round(high, 4)), set()).add((round(across[0], 4), round(across[1], 4)))
    return found


def _share(figure: go.Figure, note: Any, spans: set[tuple[float, float]]) -> float:
    """Of the width, what the panel has to which a note belongs: that of its axis, or the narrowest where it stands."""
    if str(note.xref).endswith(" domain"):
        low, high = _domain(figure, "x", note.xref.removesuffix(" domain"))
        return high - low
    return min((high - low for low, high in spans if note.xref == "paper" and low <= note.x <= high), default=1.0)


def _spans(figure: go.Figure, letter: str) -> set[tuple[float, float]]:
    """The places of panels along the width or the height."""
    names = {getattr(trace, f"{letter}axis", None) for trace in figure.data}
    ends = (_domain(figure, letter, name) for name in names)
    return {(round(low, 4), round(high, 4)) for low, high in ends} or {(0.0, 1.0)}
