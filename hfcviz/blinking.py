"""Two pictures that take turns in one place: frames and buttons of a plotly figure, played in the browser alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfcviz.palette import INK, SHADOW
from hfcviz.plane_rows import Row, ranges_of

BLINK_MS, BLINKS = 500, 20
"""How long each picture is seen, and how often: below three flashes a second, and it ends by itself (WCAG 2.3.1, 2.2.2)."""


def frames(
    data: list[dict[str, Any]], overlays: list[int], row: Row, labels: Mapping[str, str], role: str
) -> list[dict[str, Any]]:
    """Two frames, "clean" and the role: the clean picture over the other one is seen or not, and a word says which. Adds the word."""
    (left, right), (top, bottom) = ranges_of(row)
    place = {key: data[overlays[0]][key] for key in ("xaxis", "yaxis")}
    word = {
        "type": "scatter",
        "mode": "text",
        "x": [left + 0.03 * (right - left)],
        "y": [top + 0.04 * (bottom - top)],
        "textposition": "bottom right",
        "textfont": {"color": "white", "size": 14, "shadow": SHADOW},
        "hoverinfo": "skip",
    }
    data.append(word | place | {"text": [""]})
    states = {"clean": (1, f"<b>{labels['clean']}</b>"), role: (0, f"<b>{labels[role]}</b>")}
    return [
        {
            "name": name,
            "traces": [*overlays, len(data) - 1],
            "data": [*({"type": "image", "opacity": opacity} for _ in overlays), {"type": "scatter", "text": [text]}],
        }
        for name, (opacity, text) in states.items()
    ]


def buttons(labels: Mapping[str, str], role: str, inner: float) -> dict[str, Any]:
    """Blink and stop, and both states by hand, for those whom motion disturbs: nothing moves before a button is pressed."""

    def play(frames: list[str], duration: int) -> list[Any]:
        timing = {"frame": {"duration": duration, "redraw": True}, "transition": {"duration": 0}, "mode": "immediate"}
        return [frames, timing]

    wanted = {
        f"▶ Blink {labels['clean']} / {labels[role]}": play(["clean", role] * (BLINKS // 2), BLINK_MS),
        "■ Stop": play([role], 0),
        f"Show {labels['clean']}": play(["clean"], 0),
        f"Show {labels[role]}": play([role], 0),
    }
    return {
        "type": "buttons",
        "direction": "right",
        "showactive": False,
        "x": 0,
        "y": -10 / inner,
        "xanchor": "left",
        "yanchor": "top",
        "pad": {"t": 0, "r": 0},
        "bgcolor": "rgba(127,127,127,0.12)",
        "bordercolor": INK,
        "font": {"size": 12},
        "buttons": [{"label": label, "method": "animate", "args": args} for label, args in wanted.items()],
    }
