"""From an outcome and its reference cohort to the figures that people see; shared by the app and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from hfcviz import charts, figures, planes
from hfcviz.grids import Shown, shown
from hfcviz.layer_views import embed_layer, scatter_figure
from hfcviz.outcome import Outcome, attacked, captions, role_labels
from hfcviz.penalties import HFC
from hfcviz.projections import PROJECTIONS
from hfcviz.reference import Reference
from hfcviz.scans import flat
from hfcviz.slices import centre, slices_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go


def caution(outcome: Outcome, reference: Reference) -> str | None:
    """What to bear in mind when the detectors were trained on the scan, or flag it before it is attacked; None when neither."""
    name = outcome.recipe["scan"]["name"]
    if name in reference.ids and reference.trains[reference.ids.index(name)]:
        return (
            f"The detectors were trained on {name}, so that their verdicts on its versions are better than they would be on "
            "an unknown scan: for a fair one, choose a scan on the Data & model page."
        )
    alarmed = [name for name in outcome.scores if outcome.caught(name)[outcome.row("clean")]]
    if not alarmed:
        return None
    unlike = 2 * len(alarmed) > len(outcome.scores)
    return (
        ("The scan is unlike those that the network and the detectors were trained on. " if unlike else "")
        + f"{', '.join(alarmed)} catch{'' if len(alarmed) > 1 else 'es'} the unchanged scan already, so catching its attacked "
        "versions as well says nothing about the attack."
    )


def scan_figure(outcome: Outcome, class_names: tuple[str, ...], affine: np.ndarray | None = None) -> go.Figure:
    """The scan and its attacked versions with what the network says of each; affine: of the network's grid, for letters."""
    said = captions(outcome, class_names)
    images = {role: flat(outcome.x[outcome.row(role)]) for role in said}
    letters = None
    if affine is not None:
        shape = outcome.x.shape[2:]
        one = planes.whole(shape, affine) if len(shape) == 2 else planes.plane("axial", shape, (0, 0, 0), affine)
        letters = one.letters
    return figures.scan_panels(images, role_labels(outcome), said, letters)


def difference_figure(outcome: Outcome) -> go.Figure:
    """What each attack added to the scan."""
    changes = {role: flat(outcome.x[outcome.row(role)] - outcome.x[0]) for role in attacked(outcome)}
    return figures.difference_panels(changes, role_labels(outcome), outcome.recipe["plan"]["attack"]["eps"])


def depth_figure(outcome: Outcome) -> go.Figure:
    """Distance from the clean distribution (mixture log-likelihood) over depth."""
    scaled = outcome.in_clean_units(outcome.layer_scores["GMM"])
    values = {role: scaled[:, outcome.row(role)] for role in outcome.roles}
    lower = outcome.in_clean_units(outcome.depth_quantiles[:, 0])
    return charts.depth_strip(list(outcome.activations.layers), values, role_labels(outcome), lower)


def detector_figure(outcome: Outcome) -> go.Figure:
    """Each version's score among clean scans."""
    ranks = {
        name: {role: float(row[outcome.row(role)]) for role in outcome.roles} for name, row in outcome.ranks.items()
    }
    return charts.detector_chart(ranks, role_labels(outcome))


def confidence_figure(outcome: Outcome, class_names: tuple[str, ...]) -> go.Figure:
    """Probability of the target over the steps."""
    series = {role: trace.confidence[:, 0] for role, trace in outcome.traces.items()}
    title = f"probability of {class_names[outcome.target]}"
    return charts.trace_lines(series, role_labels(outcome), title, (-0.02, 1.02))


def distance_figure(outcome: Outcome, reference: Reference, layer: str) -> go.Figure:
    """Squared Mahalanobis distance per channel to the target's clean mixture in one layer, over the steps; about 1 is
    typical.
    """
    settings = HFC(**outcome.recipe["plan"]["penalty"] or {}).replace(layers=(layer,), weight=1.0, widest=None)
    constraint, target = reference.constraint(settings), torch.tensor([outcome.target])
    series = {}
    for role, trace in outcome.traces.items():
        z = torch.from_numpy(trace.features[layer][:, 0])
        series[role] = constraint({layer: z}, target.expand(len(z)))[layer].numpy()
    return charts.trace_lines(series, role_labels(outcome), f"distance from clean, {layer}", None)


def layer_figure(outcome: Outcome) -> go.Figure:
    """Which detectors flag each version in which layer."""
    layers, labels = list(outcome.activations.layers), role_labels(outcome)
    caught = {}
    for role in attacked(outcome):
        row = outcome.row(role)
        caught[labels[role]] = np.stack(
            [outcome.layer_scores[name][:, row] > outcome.layer_thresholds[name] for name in outcome.layer_scores]
        )
    return charts.verdict_map(caught, list(outcome.layer_scores), layers)


def all_figures(
    outcome: Outcome, reference: Reference, class_names: tuple[str, ...], seen: Shown | None = None
) -> dict[str, go.Figure]:
    """Every figure of a run by file name: pictures, differences, of a volume its three planes (of its own grid, where `seen` knows
    it), depth, detectors, confidence and a PCA scatter of each layer.
    """
    seen = seen or shown(outcome)
    affine = None if seen.own else seen.scan.affine
    found = {"scan": scan_figure(outcome, class_names, affine), "difference": difference_figure(outcome)}
    if seen.scan.image.ndim == 4:
        found["planes"] = slices_figure(outcome, seen, class_names, centre(seen))
    found |= {
        "depth": depth_figure(outcome),
        "detectors": detector_figure(outcome),
        "confidence": confidence_figure(outcome, class_names),
    }
    for layer in outcome.activations.layers:
        embedding = embed_layer(outcome, reference, layer, PROJECTIONS["PCA"])
        found[f"scatter-{layer}-pca"] = scatter_figure(outcome, reference, layer, embedding, class_names)
    return found
