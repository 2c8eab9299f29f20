"""The numbers that the tour names, read from a bundle's first result and published runs; nothing is computed by a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors import safe_open

from hfcviz.bundle import Bundle
from hfcviz.outcome import Outcome
from hfcviz.reference import Reference
from hfcviz.runs import in_255
from hfcviz.tables import Row

STRONG = 0.9
"""An AUC from which on the tour says that a detector works."""
PAIR = ("attack", "hidden")


def facts(bundle: Bundle, outcome: Outcome) -> dict[str, str]:
    """Everything that the texts of the tour fill in, as people read it: {name: text}. outcome: the bundle's first result."""
    return scan_facts(bundle, outcome) | way_facts(bundle, outcome) | judged_facts(outcome) | run_facts(bundle)


def scan_facts(bundle: Bundle, outcome: Outcome) -> dict[str, str]:
    """The scan, what the network sees in each version, and how much was changed."""
    names, chances = bundle.about["class_names"], outcome.activations.probabilities
    layers, recipe = outcome.activations.layers, outcome.recipe
    eps, known = recipe["plan"]["attack"]["eps"], bundle.reference.recipe
    attack, change = outcome.row("attack"), np.abs(outcome.x[outcome.row("attack")] - outcome.x[0])
    return {
        "size": " x ".join(map(str, outcome.x.shape[2:])),
        "before": names[int(chances[0].argmax())],
        "sure": surely(chances[0].max()),
        "after": names[outcome.target],
        "layers": str(len(layers)),
        "channels": ", ".join(str(z.shape[1]) for z in layers.values()),
        "width": str(list(layers.values())[-1].shape[1]),
        "share": f"{eps:.1%}",
        "steps": str(recipe["plan"]["attack"]["steps"]),
        "right": str(known["correct"]),
        "of_test": str(known["test_scans"]),
        "attack_sure": surely(chances[attack, outcome.target]),
        "hidden_sure": surely(chances[outcome.row("hidden"), outcome.target]),
        "attack_linf": f"{change.max() * 255:.2f}/255",
        "attack_mean": f"{change.mean() * 255:.1f}/255",
    }


def head_weights(bundle: Bundle) -> np.ndarray:
    """(K, C) weights of the network's last layer, read alone from its file."""
    with safe_open(str(bundle.folder / "classifier.safetensors"), "numpy") as file:
        names = [name for name in file.keys() if name.startswith(f"{bundle.about['head']}.")]  # noqa: SIM118
        return next(w for w in map(file.get_tensor, names) if w.ndim == 2).astype(np.float64)


def direction(bundle: Bundle, outcome: Outcome) -> np.ndarray:
    """(C,) unit vector along w_target - w_other: where a step down the cross-entropy wants the penultimate feature to go."""
    weights = head_weights(bundle)
    other = int(outcome.activations.probabilities[0].argmax())
    along = weights[outcome.target] - weights[other]
    return along / np.linalg.norm(along)


def ways(bundle: Bundle, outcome: Outcome) -> dict[str, np.ndarray]:
    """{role: (S,)} how far the penultimate feature has come along that direction at each step, in units of the feature."""
    layer, along = last_layer(outcome), direction(bundle, outcome)
    return {role: trace.features[layer][:, 0] @ along for role, trace in outcome.traces.items()}


def clean_range(bundle: Bundle, outcome: Outcome) -> tuple[float, float]:
    """Between which places along that direction nine of ten clean training scans of the target's class lie."""
    reference, layer = bundle.reference, last_layer(outcome)
    clean = reference.train.layers[layer][reference.train_labels == outcome.target]
    low, high = np.quantile(clean @ direction(bundle, outcome), [0.05, 0.95])
    return float(low), float(high)


def last_layer(outcome: Outcome) -> str:
    """Name of the penultimate layer."""
    return list(outcome.activations.layers)[-1]


def way_facts(bundle: Bundle, outcome: Outcome) -> dict[str, str]:
    """The direction of the gradient, and how the feature follows it."""
    along, way, (low, high) = direction(bundle, outcome), ways(bundle, outcome), clean_range(bundle, outcome)
    chances = outcome.traces["attack"].confidence[:, 0].astype(np.float64)
    found = {
        "clean_low": f"{low:.1f}",
        "clean_high": f"{high:.1f}",
        "way_start": f"{way['attack'][0]:.1f}",
        "by_chance": f"{np.sqrt(2 / (np.pi * len(along))):.2f}",  # mean |cosine| of two directions drawn blindly
        "sure_by": str(int(np.argmax(chances > 0.99))),
    }
    for role in PAIR:
        z = outcome.traces[role].features[last_layer(outcome)][:, 0].astype(np.float64)
        moved = z[-1] - z[0]
        found |= {
            f"{role}_cosine": f"{moved @ along / np.linalg.norm(moved):.2f}",
            f"{role}_way": f"{way[role][-1]:.1f}",
        }
    return found | _near_facts(bundle.reference, outcome)


def _near_facts(reference: Reference, outcome: Outcome) -> dict[str, str]:
    """Distances to the nearest clean training scan of the target's class, in all dimensions of the penultimate feature."""
    layer = last_layer(outcome)
    clean = reference.train.layers[layer][reference.train_labels == outcome.target].astype(np.float64)
    apart = np.sqrt(np.maximum(_squared(clean, clean), 0))
    np.fill_diagonal(apart, np.inf)
    found = {"near_usual": f"{np.median(apart.min(1)):.1f}"}
    for role in PAIR:
        z = outcome.activations.layers[layer][outcome.row(role)].astype(np.float64)
        found[f"{role}_near"] = f"{np.sqrt(((clean - z) ** 2).sum(1)).min():.1f}"
    return found


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) squared distances of rows (N, C) and (M, C)."""
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T)


def judged_facts(outcome: Outcome) -> dict[str, str]:
    """What detectors and the mixtures say of the one scan."""
    scores, (low, median, upper) = outcome.layer_scores["GMM"], outcome.depth_quantiles.T
    attack = outcome.row("attack")
    found = {
        "detectors": str(len(outcome.scores)),
        "attack_missed": listed([name for name in outcome.scores if not outcome.caught(name)[attack]]),
        "attack_depth": f"{(scores[-1, attack] - median[-1]) / (upper[-1] - median[-1]):.1f}",
        "hidden_below": str(int((scores[:, outcome.row("hidden")] < low).sum())),
    }
    for role in ("clean", "noise", *PAIR):
        row = outcome.row(role)
        caught = sum(bool(outcome.caught(name)[row]) for name in outcome.scores)
        found |= {f"{role}_caught": str(caught), f"{role}_out": str(int((scores[:, row] > upper).sum()))}
    return found


def usual_run(bundle: Bundle) -> tuple[str, float]:
    """(attack, eps in 255ths) of the published run that is like the bundle's cohort."""
    known = bundle.reference.recipe
    return known["attack_name"], in_255(known["attack"]["eps"])


def rows_at(bundle: Bundle) -> list[Row]:
    """The rows of all published runs at the eps of the cohort."""
    eps = usual_run(bundle)[1]
    return [row for row in bundle.runs.rows if row["eps_255"] == eps]


def run_facts(bundle: Bundle) -> dict[str, str]:
    """What detectors reach over the cohort, for the usual attack, for FGSM, and over all attacks."""
    name, eps = usual_run(bundle)
    rows = rows_at(bundle)

    def those(attack: str, penalty: str) -> dict[str, Row]:
        return {row["detector"]: row for row in rows if row["attack"] == attack and row["penalty"] == penalty}

    plain, hidden, one, all_hidden = (
        those(name, "none"),
        those(name, "HFC"),
        those("FGSM", "HFC"),
        [row for row in rows if row["penalty"] == "HFC"],
    )
    any_row: dict[str, Any] = next(iter(hidden.values()))
    best = max(hidden.values(), key=lambda row: row["auc"])
    lowest = min(hidden.values(), key=lambda row: row["auc"])
    inverted = [row for row in hidden.values() if row["auc_high"] < 0.5]
    attacks = list(dict.fromkeys(row["attack"] for row in all_hidden))
    worst = {name: min(row["auc"] for row in all_hidden if row["detector"] == name) for name in hidden}
    sided = {name: min(row["two_sided"] for row in all_hidden if row["detector"] == name) for name in hidden}
    most = max(sided, key=lambda name: sided[name])
    weakest = min((row for row in all_hidden if row["detector"] == most), key=lambda row: row["two_sided"])
    return {
        "run_eps": f"{eps:g}/255",
        "run_steps": str(any_row["steps"]),
        "run_attacked": str(any_row["attacked"]),
        "run_n": str(any_row["n"]),
        "run_negatives": str(any_row["negatives"]),
        "run_success": f"{next(iter(plain.values()))['success']:.1%}",
        "run_hidden_success": f"{any_row['success']:.1%}",
        "strong": f"{STRONG:g}",
        "run_strong": str(_strong(plain)),
        "run_hidden_strong": str(_strong(hidden)),
        "run_best": best["detector"],
        "run_best_auc": with_interval(best),
        "inverted": lowest["detector"],
        "inverted_auc": with_interval(lowest),
        "inverted_two_sided": f"{lowest['two_sided']:.3f}",
        "inverted_too": listed([row["detector"] for row in inverted if row is not lowest]),
        "bu_plain": with_interval(plain["BU"]),
        "bu_hidden": with_interval(hidden["BU"]),
        "one_strong": str(_strong(one)),
        "one_success": f"{next(iter(one.values()))['success']:.1%}",
        "attacks": str(len(attacks)),
        "always_strong": _number(sum(value >= STRONG for value in worst.values())),
        "always_strong_two_sided": _number(sum(value >= STRONG for value in sided.values())),
        "most_two_sided": most,
        "most_two_sided_least": f"{sided[most]:.2f}",
        "most_two_sided_attack": f"{weakest['attack']}+HFC",
    }


def _strong(rows: dict[str, Row]) -> int:
    return sum(row["auc"] >= STRONG for row in rows.values())


def _number(count: int) -> str:
    return "none" if count == 0 else str(count)


def surely(chance: float) -> str:
    """A probability that does not read as certainty where it is none."""
    return "over 99.9%" if 0.999 < chance < 1 else f"{chance:.1%}"


def with_interval(row: Row) -> str:
    """An AUC with its 95 % bootstrap interval; to three digits, since 0.00 would read as a rounded nothing."""
    return f"{row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f})"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c", or "none"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "none"
