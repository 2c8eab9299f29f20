"""Figures to take away: a button below each figure that opens a dialog, and the figure of several panels for a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from hfcviz import chromium, publish
from hfcviz.bundle import Bundle
from hfcviz.figure_data import as_csv
from hfcviz.montage import check_choice, embeddings, montage
from hfcviz.outcome import Outcome, report
from hfcviz.paper import FORMATS, KINDS, PRESETS, Page, for_paper
from hfcviz.plane_figures import checked
from hfcviz.projections import PROJECTIONS
from hfcviz.settings import InputError, options
from hfcviz.store import digest
from hfcviz.ui import state
from hfcviz.ui.kept import kept
from hfcviz.ui.once import Parts
from hfcviz.ui.run import computed, lead, saying

if TYPE_CHECKING:
    import plotly.graph_objects as go

Content = Callable[[], Mapping[str, Any]]
"""What makes the content of a figure's recipe: `outcome.report` of a run, {"recipe": ...} of a cohort."""
OWN = "own width"
KEEP: dict[str, Any] = {"persist_state": "session"}
ABOUT = {one.name: one for one in options(Page)}


def of_outcome(outcome: Outcome, names: tuple[str, ...]) -> Content:
    """The content of the recipes of a run's figures."""
    return lambda: report(outcome, names)


@st.fragment
def export(figure: go.Figure | Parts, key: str, alt: str, view: Mapping[str, Any], content: Content | None) -> None:
    """The button that opens the dialog. A fragment of its own: a click draws nothing else again, and nothing is made before one."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        clicked = st.button(
            "Export",
            key=f"export.{key}",
            icon=":material/ios_share:",
            type="tertiary",
            help=f"As PDF, SVG, PNG, HTML or CSV: {alt}",
        )
    if clicked:
        chromium.warm()
        _dialog(checked(figure) if isinstance(figure, dict) else figure, key, alt, view, content)


@st.dialog("Export a figure", width="medium", icon=":material/ios_share:")
def _dialog(figure: go.Figure, key: str, alt: str, view: Mapping[str, Any], content: Content | None) -> None:
    st.caption(
        f"{alt} In a light look with colours that colour-blind readers can tell apart, whatever the page looks like."
    )
    try:
        page = _page()
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return
    missing = page.format != "HTML" and chromium.find() is None
    _say_size(figure, page)
    if missing:
        st.info(
            f"{page.format} needs a Chromium on the machine that runs hfcviz: {chromium.HOW}.", icon=":material/info:"
        )
    kind, name = page.format.lower(), f"hfcviz-{key}"
    with st.container(horizontal=True):
        st.download_button(
            f"Figure ({page.format})",
            lambda: publish.render(figure, page, alt),
            f"{name}.{kind}",
            KINDS[kind],
            type="primary",
            disabled=missing,
            help="In the size above, in a light look whatever the theme of the app.",
            icon=":material/download:",
            on_click="ignore",
            key=f"export.file.{key}",
        )
        common: dict[str, Any] = {"icon": ":material/download:", "on_click": "ignore"}
        about = "Every point, cell and value that the figure draws."
        csv: Callable[[], bytes] = lambda: as_csv(figure).encode()  # noqa: E731
        st.download_button("Data (CSV)", csv, f"{name}.csv", "text/csv", help=about, key=f"export.csv.{key}", **common)
        if content is not None:
            about = "What makes it again: `python -m hfcviz figures RECIPE`, and, of a scan's run, `python -m hfcviz reproduce RECIPE`. "
            about += "It holds no scan: of a scan of your own, both need the file, `--scan FILE`, and the window, slice or volume as here; "
            about += "a cohort of your own data set needs `--dataset PATH`."
            recipe: Callable[[], bytes] = lambda: publish.recipe_json(key, view, content()).encode()  # noqa: E731
            kind = "application/json"
            st.download_button(
                "Recipe (JSON)", recipe, f"{name}.json", kind, help=about, key=f"export.json.{key}", **common
            )


def _page() -> Page:
    """The entries of the dialog, which the next figure finds again."""
    form = st.segmented_control(
        "Format", FORMATS, default=FORMATS[0], key="export.format", required=True, help=ABOUT["format"].help, **KEEP
    )
    page = Page(form or FORMATS[0])
    if page.format == "HTML":
        st.caption("It holds all that it needs, so that it works without a network, and takes the width of its window.")
        return page
    presets = {f"{mm:g} mm ({what})": mm for what, mm in PRESETS.items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        preset = st.segmented_control(
            "Width",
            [*presets, OWN],
            default=next(iter(presets)),
            key="export.preset",
            required=True,
            help=ABOUT["width"].help,
            **KEEP,
        )
        width, unit, dpi = presets.get(str(preset), page.width), "mm", page.dpi
        if preset == OWN:
            width = st.number_input(
                "Own width", value=120.0, format="%g", key="export.width", width=140, help=ABOUT["width"].help, **KEEP
            )
            unit = (
                st.segmented_control(
                    "Unit",
                    ("mm", "px"),
                    default="mm",
                    key="export.unit",
                    required=True,
                    help=ABOUT["unit"].help,
                    **KEEP,
                )
                or "mm"
            )
        if page.format == "PNG" or unit == "px":
            dpi = _number("dpi", page.dpi, 50)
        font = _number("font", page.font, 0.5)
    return page.replace(width=width, unit=unit, dpi=dpi, font=font)


def _number(name: str, value: Any, step: float) -> Any:
    about = ABOUT[name]
    found: Any = st.number_input(
        about.label,
        value=value,
        step=type(value)(step),
        format="%g" if name == "font" else "%d",
        key=f"export.{name}",
        help=about.help,
        width=150,
        **KEEP,
    )
    return found


def _say_size(figure: go.Figure, page: Page) -> None:
    """What the choice comes to on paper."""
    if page.format == "HTML":
        return
    _, sheet = for_paper(figure, page)
    size = f"{page.mm:.4g} x {page.mm * sheet.height / sheet.width:.4g} mm"
    pixels = f", {page.pixels} pixels wide" if page.format == "PNG" else ""
    small = (
        f". It has much to show: its text comes to {sheet.font:.2g} pt at this width, so choose a wider one."
        if sheet.font < page.font - 0.05
        else f", text of {sheet.font:.2g} pt"
    )
    st.caption(f"{size}{pixels}{small}" + ("" if small.endswith(".") else "."))


@st.fragment
def paper_figure(outcome: Outcome, bundle: Bundle, draw: Callable[..., None]) -> None:
    """Chosen layers in chosen projections as one figure with panel letters, and a draft of its caption, once it is opened; `draw` is
    `views.chart`.
    """
    with st.expander("Figure for a paper", on_change="rerun", key="paper") as section:
        if section.open:
            _paper_figure(outcome, bundle, draw)


def _paper_figure(outcome: Outcome, bundle: Bundle, draw: Callable[..., None]) -> None:
    every, names = list(outcome.activations.layers), bundle.about["class_names"]
    one, two = st.columns([2, 1], vertical_alignment="bottom")
    about = "A row of panels for each, in order of depth."
    layers = one.multiselect(
        "Layers", every, default=[every[0], every[-1]], key=f"paper.layers.{bundle.name}", help=about, **KEEP
    )
    about = "A column of panels for each."
    methods = two.pills(
        "Projections",
        list(PROJECTIONS),
        selection_mode="multi",
        default=["PCA", "UMAP"],
        key="paper.methods",
        help=about,
        **KEEP,
    )
    layers, methods = [name for name in every if name in layers], [name for name in PROJECTIONS if name in methods]
    try:
        check_choice(outcome, layers, methods)
    except InputError as error:
        st.info(str(error), icon=":material/info:")
        return
    known = {(layer, method): state.known_embedding(outcome, layer, method) for layer in layers for method in methods}
    missing = [pair for pair, one in known.items() if one is None]
    slow = [pair for pair in missing if pair[1] != "PCA"]
    lookup = known.__getitem__
    if slow:
        fresh = computed(
            "paper_job",  # "paper" is the key of the section that this stands in
            (digest(outcome.recipe), layers, methods),
            f"{len(slow)} maps",
            lambda progress: embeddings(
                outcome, bundle.reference, layers, methods, lambda *pair: lookup(pair), progress=progress
            ),
        )
        if fresh is None:
            return
    else:
        fresh = embeddings(outcome, bundle.reference, layers, methods, lambda *pair: lookup(pair))
    for pair in missing:
        state.keep_embedding(outcome, *pair, fresh[pair])
    place = st.empty()
    lead()
    with saying("Drawing the panels", place):
        figure = kept(
            "montage",
            outcome,
            (layers, methods),
            lambda: montage(outcome, bundle.reference, names, layers, methods, fresh),
        )
    view = {"layers": layers, "methods": methods}
    draw(
        figure,
        "montage",
        f"{', '.join(methods)} of the features of {', '.join(layers)}, with panel letters.",
        view=view,
    )
    st.caption("A draft of its caption, to be copied:")
    st.code(figure.layout.meta["caption"], language=None, wrap_lines=True)
