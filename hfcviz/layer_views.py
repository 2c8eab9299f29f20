"""From an outcome and its cohort to the scatters of one layer or of all; shared by the app and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np

from hfcviz import hovers, scatters
from hfcviz.activations import Activations
from hfcviz.cohort import Judged
from hfcviz.outcome import Outcome, role_labels
from hfcviz.projections import PCA, TSNE, UMAP, Embedding, aligned, project
from hfcviz.reference import Reference
from hfcviz.settings import Progress, silent

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = 150
"""Points of each group in a scatter: enough to see the cloud, few enough to read."""


def embed_layer(
    outcome: Outcome,
    reference: Reference,
    layer: str,
    method: PCA | TSNE | UMAP,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Embedding:
    """Place the shown cohort, the scan's own versions and, where the view is exact, their paths; rows as the figures read them."""
    parts = [z for _, _, z, _ in _cohort(reference, layer)]
    clean = sum(len(z) for z in parts[: len(np.unique(reference.train_labels))])
    parts.append(outcome.activations.layers[layer])
    if isinstance(method, PCA):
        parts += [trace.features[layer][:, 0] for trace in outcome.traces.values()]
    z = np.concatenate(parts)
    return project(method, z, np.arange(len(z)) < clean, seed=seed, progress=progress)


def scatter_figure(
    outcome: Outcome,
    reference: Reference,
    layer: str,
    embedding: Embedding,
    class_names: tuple[str, ...],
    *,
    judged: Judged | None = None,
    chosen: AbstractSet[str] = scatters.NOBODY,
) -> go.Figure:
    """The scatter of embed_layer's positions. judged: of the same cohort, for what the mouse reads; chosen: selected ids."""
    groups, own = _placed(outcome, reference, layer, embedding.xy, embedding.exact, class_names, judged)
    return scatters.layer_scatter(groups, own, embedding.axes, ticks=embedding.exact, chosen=chosen)


def grid_figure(
    outcome: Outcome,
    reference: Reference,
    embeddings: Mapping[str, Embedding],
    class_names: tuple[str, ...],
    *,
    judged: Judged | None = None,
    chosen: AbstractSet[str] = scatters.NOBODY,
) -> go.Figure:
    """All layers at once, {layer: embed_layer's positions}, each turned to lie like the one before. Training images are left out:
    the cloud of held-out clean scans stands for them.
    """
    panels = {}
    turned = aligned([embedding.xy for embedding in embeddings.values()])
    for (layer, embedding), xy in zip(embeddings.items(), turned, strict=True):
        groups, own = _placed(outcome, reference, layer, xy, embedding.exact, class_names, judged)
        panels[layer] = [group for group in groups if group.hollow or group.role != "clean"], own
    return scatters.layer_grid(panels, chosen=chosen)


def _placed(
    outcome: Outcome,
    reference: Reference,
    layer: str,
    xy: np.ndarray,
    exact: bool,
    class_names: tuple[str, ...],
    judged: Judged | None,
) -> tuple[list[scatters.Group], list[scatters.Own]]:
    labels, position = role_labels(outcome), 0
    base, eps = reference.recipe["attack_name"], reference.recipe["attack"]["eps"] * 255
    names = {"noise": f"noise, {eps:g}/255", "attack": f"{base}, {eps:g}/255", "hidden": f"{base}+HFC, {eps:g}/255"}
    groups, own = [], []
    for role, index, z, ids in _cohort(reference, layer):
        part = xy[position : position + len(z)]
        position += len(z)
        if role in ("train", "clean"):
            label = f"{class_names[index]}, {'training' if role == 'train' else 'held out'}"
            kind = "training image" if role == "train" else "clean"
            hover = _hover(reference, judged, role, kind, index, ids, class_names, layer)
            groups.append(scatters.Group(label, "clean", part, ids, index, role == "clean", hover))
        else:
            hover = _hover(reference, judged, role, names[role], index, ids, class_names, layer)
            groups.append(scatters.Group(names[role], role, part, ids, hover=hover))
    points = {role: xy[position + row] for row, role in enumerate(outcome.roles)}
    position += len(outcome.roles)
    paths = {}
    for role, trace in outcome.traces.items() if exact else ():
        paths[role] = xy[position : position + len(trace.linf)]
        position += len(trace.linf)
    for role in outcome.roles:
        said = hovers.of_outcome(outcome, role, class_names, layer)
        own.append(scatters.Own(labels[role], role, points[role], paths.get(role), said))
    return groups, own


def _hover(
    reference: Reference,
    judged: Judged | None,
    role: str,
    kind: str,
    index: int,
    ids: list[str],
    class_names: tuple[str, ...],
    layer: str,
) -> list[str]:
    if role == "train":
        rows = np.flatnonzero(reference.train_labels == index)[:SHOWN]
        seen: Activations = reference.train.take(rows)
        return hovers.of_activations(ids, [index] * len(ids), seen, kind, class_names)
    if judged is not None:
        texts = dict(zip(judged.ids, hovers.of_cohort(judged, role, kind, class_names, layer), strict=True))
        return [texts[name] for name in ids]
    rows = np.array([reference.ids.index(name) for name in ids], dtype=int)
    seen = reference.cohort[role].take(rows)
    return hovers.of_activations(ids, reference.labels[rows].tolist(), seen, kind, class_names)


def _cohort(reference: Reference, layer: str) -> list[tuple[str, int, np.ndarray, list[str]]]:
    """(role, class, features, ids) of what every scatter shows: training classes, held-out classes, noise, attack,
    hidden.
    """
    held_out = np.flatnonzero(~reference.trains)
    found = []
    for index in np.unique(reference.train_labels):
        rows = np.flatnonzero(reference.train_labels == index)[:SHOWN]
        names = [f"training image {row}" for row in rows]
        found.append(("train", int(index), reference.train.layers[layer][rows], names))
    for index in np.unique(reference.labels):
        rows = held_out[reference.labels[held_out] == index][: SHOWN // 2]
        found.append(
            ("clean", int(index), reference.cohort["clean"].layers[layer][rows], [reference.ids[row] for row in rows])
        )
    rows = held_out[:SHOWN]
    for role in ("noise", "attack", "hidden"):
        found.append((role, -1, reference.cohort[role].layers[layer][rows], [reference.ids[row] for row in rows]))
    return found
