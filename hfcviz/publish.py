"""A figure to take away: as PDF, SVG, PNG or HTML in the light look, its data as CSV, and its recipe as JSON."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hfcviz import chromium
from hfcviz.paper import INCH, Page, for_paper
from hfcviz.settings import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

FIGURE = "figure"
"""Where a recipe says which figure it is of."""


def render(figure: go.Figure, page: Page, alt: str = "") -> bytes:
    """The file. InputError for a static format where there is no Chromium.

    HTML holds plotly.js too, so that it works anywhere, takes the width of its window, and plays what moves. alt: what it shows, for those
    who do not see.
    """
    shown, sheet = for_paper(figure, page)
    if page.format == "HTML":
        if figure.frames:
            _play(shown, figure)
        return _html(shown, alt)
    kind = page.format.lower()
    drawn = shown.to_dict()
    for trace in drawn["data"]:
        for hover in ("customdata", "hovertemplate"):  # of no use on paper, and long to send
            trace.pop(hover, None)
    content = chromium.image(drawn, kind, sheet.width, sheet.height, _scale(page, sheet.width, sheet.scale))
    if kind == "png":
        return _with_dpi(content, page)
    if kind == "svg":
        return _in_mm(content.decode(), page.mm, page.mm * sheet.height / sheet.width, alt).encode()
    return content


def _scale(page: Page, width: float, scale: float) -> float:
    return (
        (page.pixels + 0.25) / width if page.format == "PNG" else scale
    )  # the browser cuts off what is no whole pixel


def _play(shown: go.Figure, figure: go.Figure) -> None:
    """Give back what paper cannot have: the frames of the figure, its buttons with their room, and a slider where frames are many."""
    room = (figure.layout.margin.b or 0) - (shown.layout.margin.b or 0)
    menus = figure.layout.updatemenus
    shown.frames = figure.frames
    shown.update_layout(updatemenus=menus, margin_b=figure.layout.margin.b, height=shown.layout.height + max(room, 0))
    if len(figure.frames) > 2:
        still = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}
        steps = [{"label": one.name, "method": "animate", "args": [[one.name], still]} for one in figure.frames]
        place = {"x": 0.25, "len": 0.75, "y": menus[0].y, "yanchor": menus[0].yanchor, "pad": {"t": 0, "b": 0}}
        shown.update_layout(sliders=[{"steps": steps, "currentvalue": {"prefix": "Step ", "xanchor": "right"}} | place])


def _html(figure: go.Figure, alt: str) -> bytes:
    figure.update_layout(width=None, autosize=True, dragmode="pan")
    options = {"displaylogo": False, "toImageButtonOptions": {"format": "svg"}, "responsive": True}
    text: str = figure.to_html(include_plotlyjs=True, div_id="figure", config=options, auto_play=False)
    described = "<style>image {image-rendering: pixelated}</style>"  # smoothing would hide which pixels change
    described += f'<body style="background: white"><div role="img" aria-label="{_quoted(alt)}">'
    return text.replace("<body>", described, 1).replace("</body>", "</div></body>", 1).encode()


def _with_dpi(content: bytes, page: Page) -> bytes:
    """The PNG with its dpi in a pHYs chunk behind the header, so that it has the page's width wherever it is placed."""
    per_metre = round(page.dpi / INCH * 1000)
    chunk = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    header = 8 + 25  # signature, and the chunk IHDR with its 13 bytes
    return content[:header] + struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[header:]


def _in_mm(svg: str, width: float, height: float, alt: str) -> str:
    """The SVG with its size in mm, where it has pixels, and with its title for those who do not see."""
    head, _, rest = svg.partition(">")
    size = head.split(' width="')[0] + "".join(part for part in [f' width="{width:g}mm" height="{height:.2f}mm"'])
    after = head.split(' height="', 1)[1].split('"', 1)[1]
    return f"{size}{after}><title>{_quoted(alt)}</title>{rest}"


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def recipe_json(name: str, view: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """What makes a figure again: its name, what was chosen for it (layer, projection ...), and the report of its run.

    content: `outcome.report` of a scan's result, or {"recipe": ...} of a judged cohort.
    """
    return json.dumps({FIGURE: {"name": name, "view": dict(view)}, **content}, indent=2) + "\n"


def read_recipe(text: str, name: str) -> dict[str, Any]:
    """What `recipe_json` or a run's report holds: at least "recipe", with the plan of a run or the attack of a cohort.

    A recipe that stands alone is taken too. InputError for anything else.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{name} must be a recipe in JSON, but is not JSON ({error}): name report.json or a figure's recipe."
        ) from None
    if isinstance(found, dict) and "recipe" not in found:
        found = {"recipe": found}
    if isinstance(found, dict) and isinstance(found.get("command"), str):
        raise InputError(f"{name} is of a study, whose figure another command makes again: {found['command']}.")
    recipe = found.get("recipe") if isinstance(found, dict) else None
    if not isinstance(recipe, dict) or not (
        {"plan", "scan"} <= set(recipe) or {"attack_name", "attack"} <= set(recipe)
    ):
        raise InputError(f"{name} must hold the recipe of a run, but does not: name report.json or a figure's recipe.")
    return found
