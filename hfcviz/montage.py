"""Chosen layers in chosen projections as one figure for a paper, and a first draft of its caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hfcviz import layer_views
from hfcviz.montage_figures import lettered, letters
from hfcviz.outcome import Outcome, attacked, role_labels
from hfcviz.projections import PROJECTIONS, Embedding
from hfcviz.reference import Reference, shares
from hfcviz.settings import InputError, Progress, silent

if TYPE_CHECKING:
    import plotly.graph_objects as go

Embeddings = dict[tuple[str, str], Embedding]
"""{(layer, method): positions}."""
MOST = 24
"""Panels of one figure."""
SEED = 0
"""Of t-SNE and UMAP."""


def check_choice(outcome: Outcome, layers: Sequence[str], methods: Sequence[str]) -> None:
    """InputError for a layer or a projection that is unknown, for none at all, and for too many panels."""
    known = {"layers": (layers, list(outcome.activations.layers)), "projections": (methods, list(PROJECTIONS))}
    for what, (given, members) in known.items():
        wrong = [name for name in given if name not in members]
        if wrong or not given:
            raise InputError(
                f"The {what} of a figure must be of {', '.join(members)}; got {', '.join(wrong) or 'none'}."
            )
    if len(layers) * len(methods) > MOST:
        raise InputError(
            f"A figure must have at most {MOST} panels; got {len(layers) * len(methods)}: choose fewer layers."
        )


def embeddings(
    outcome: Outcome,
    reference: Reference,
    layers: Sequence[str],
    methods: Sequence[str],
    known: Callable[[str, str], Embedding | None] = lambda layer, method: None,
    *,
    progress: Progress = silent,
) -> Embeddings:
    """Positions for every panel; `known` gives those that need not be computed. InputError as `check_choice`."""
    check_choice(outcome, layers, methods)
    found: Embeddings = {
        (layer, method): one for layer in layers for method in methods if (one := known(layer, method))
    }
    missing = [(layer, method) for layer in layers for method in methods if (layer, method) not in found]
    share = shares(progress, {f"{layer} {method}": 1 / len(missing) for layer, method in missing})
    for layer, method in missing:
        step = share(f"{layer} {method}", f"{layer}: ")
        found[layer, method] = layer_views.embed_layer(
            outcome, reference, layer, PROJECTIONS[method], seed=SEED, progress=step
        )
    return found


def montage(
    outcome: Outcome,
    reference: Reference,
    class_names: tuple[str, ...],
    layers: Sequence[str],
    methods: Sequence[str],
    found: Mapping[tuple[str, str], Embedding],
) -> go.Figure:
    """The figure, a row for each layer and a column for each projection; its layout.meta holds the draft of its "caption"."""
    check_choice(outcome, layers, methods)
    grid = [
        [layer_views.scatter_figure(outcome, reference, layer, found[layer, method], class_names) for method in methods]
        for layer in layers
    ]
    figure = lettered(grid, layers, methods)
    figure.update_layout(meta={"caption": caption(figure, outcome, reference, class_names, layers, methods, found)})
    return figure


def caption(
    figure: go.Figure,
    outcome: Outcome,
    reference: Reference,
    class_names: tuple[str, ...],
    layers: Sequence[str],
    methods: Sequence[str],
    found: Mapping[tuple[str, str], Embedding],
) -> str:
    """A draft in plain words for what `montage` gave: what stands in which panel, how many points of what, attack and budget, seeds,
    network, data set, and what each projection was fitted on.
    """
    recipe, labels, trained = outcome.recipe, role_labels(outcome), reference.recipe
    plan, cohort, target = recipe["plan"], trained["attack"], class_names[outcome.target]
    names, width = letters(len(layers) * len(methods)), len(methods)
    rows = [f"{_span(names[at * width : (at + 1) * width])}, {layer}" for at, layer in enumerate(layers)]
    counts = [f"{trace.name} (n = {len(trace.x)})" for trace in figure.data if trace.showlegend]
    chances = outcome.activations.probabilities[:, outcome.target]
    reached = [f"{chances[outcome.row(role)]:.1%} by {labels[role]}" for role in attacked(outcome)]
    attack = plan["attack"]
    sentences = [
        f"Features of {recipe['model']['name']}, averaged over space, in {_listed(methods)}; {'; '.join(rows)}",
        f"Small points: the cohort of {trained['dataset']}: {', '.join(counts)}; attacked by {trained['attack_name']} with eps "
        f"{_in_255(cohort['eps'])}, {_steps(cohort)}, seed {trained['seed']}",
        f"Large points, in the same colours: the scan {recipe['scan']['name']}, attacked by "
        f"{_listed([labels[role] for role in attacked(outcome)])} toward {target} with eps {_in_255(attack['eps'])} (L-inf), "
        f"{_steps(attack)}, seed {plan['seed']}{_constraint(plan)}; "
        f"its confidence in {target} became {_listed(reached)}",
    ]
    if "PCA" in methods:
        sentences.append("Lines: its way over the steps")
    for method in methods:
        note = found[layers[0], method].note
        sentences.append(note if method == "PCA" or "seed" in note else f"{note}, seed {SEED}")
    return ". ".join(sentences) + "."


def _steps(attack: Mapping[str, Any]) -> str:
    return f"{attack['steps']} step{'s' * (attack['steps'] != 1)} of {_in_255(attack['step_size'])}"


def _in_255(share: float) -> str:
    return f"{share * 255:.3g}/255"


def _constraint(plan: Mapping[str, Any]) -> str:
    if not plan["penalty"]:
        return ""
    penalty = plan["penalty"]
    where = _listed(penalty["layers"]) if penalty["layers"] else "all layers"
    return f", without and with {plan['penalty_name']} (K = {penalty['components']}, weight {penalty['weight']:g}, {where})"


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
