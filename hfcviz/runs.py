"""Judged cohorts on disk, and what a folder of them says: an evaluation's own folder, or one that comes with hfcviz."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.attacks import ATTACKS
from hfcviz.cohort import Judged, success_interval
from hfcviz.detectors import DETECTORS
from hfcviz.penalties import PENALTIES
from hfcviz.projections import Embedding
from hfcviz.settings import InputError
from hfcviz.store import Arrays, load_arrays, save_arrays
from hfcviz.tables import Row

PENALTY_OF = {"attack": "none", "hidden": "HFC"}
"""What the tables call the penalty of a role."""


@dataclass(frozen=True, eq=False)
class Runs:
    """The judged cohorts of a folder, one for each attack and eps; each is read when it is asked for."""

    folder: Path

    @cached_property
    def names(self) -> list[tuple[str, float]]:
        """(attack, eps in 255ths) of each, by eps and in the order of ATTACKS."""
        found = []
        for path in self.folder.glob("*.npz"):
            name, _, eps = path.stem.rpartition(" ")
            with contextlib.suppress(ValueError):  # "PGD copy.npz" is none
                if name in ATTACKS:
                    found.append((name, float(eps)))
        return sorted(found, key=lambda one: (one[1], list(ATTACKS).index(one[0])))

    def load(self, name: str, eps_255: float) -> Judged:
        """One of them. InputError when it is missing or damaged."""
        return load_judged(run_path(self.folder, name, eps_255))

    @cached_property
    def rows(self) -> list[Row]:
        """The table's rows of all of them; each attack x penalty x eps x detector once."""
        return in_order(row for name, eps in self.names for row in rows_of(self.load(name, eps)))


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows by eps, attack, detector and penalty."""
    orders = {"attack": list(ATTACKS), "detector": list(DETECTORS), "penalty": list(PENALTIES)}
    return sorted(rows, key=lambda row: (row["eps_255"], *(order.index(row[key]) for key, order in orders.items())))


def run_path(folder: Path, name: str, eps_255: float) -> Path:
    """Where the judged cohort of an attack lies."""
    return folder / f"{name} {eps_255:.10g}.npz"


def in_255(eps: float) -> float:
    """An eps in 255ths, to the digits that the name of its file has."""
    return float(f"{eps * 255:.10g}")


def rows_of(judged: Judged) -> list[Row]:
    """The table's rows of one cohort: what it is of, the columns of `cohort.compare`, those of `cohort.overall`."""
    recipe = judged.recipe
    attack = recipe["attack"]
    head = {"dataset": recipe["dataset"], "model": recipe["model"], "attack": recipe["attack_name"]}
    return [
        head
        | {"penalty": PENALTY_OF[row["role"]], "eps_255": in_255(attack["eps"]), "steps": attack["steps"]}
        | {key: value for key, value in row.items() if key not in ("role", "layers")}
        | judged.overall[row["role"]]
        | {"layers": row["layers"]}
        for row in judged.rows
    ]


def without_features(judged: Judged) -> Judged:
    """The same with the PCA view alone: a twentieth of the size."""
    return replace(judged, features={})


def verdicts_only(judged: Judged, cohort: str) -> Judged:
    """The same without pictures and features, for what the mouse reads in a scatter; cohort: the digest of its Reference."""
    return replace(judged, features={}, views={}, rows=[], recipe=judged.recipe | {"cohort": cohort})


def save_judged(path: Path, judged: Judged) -> None:
    """Write a judged cohort as one .npz: numbers only, no images; features in half precision."""
    arrays: Arrays = {"labels": judged.labels, "targets": judged.targets}
    for name, by_role in judged.scores.items():
        arrays |= {f"score/{name}/{role}": values for role, values in by_role.items()}
    arrays |= {f"fooled/{role}": values for role, values in judged.fooled.items()}
    arrays |= {f"linf/{role}": values for role, values in judged.linf.items()}
    arrays |= {f"view/{layer}": view.xy.astype(np.float32) for layer, view in judged.views.items()}
    arrays |= {f"predicted/{role}": values for role, values in judged.predicted.items()}
    arrays |= {f"confidence/{role}": values for role, values in judged.confidence.items()}
    for role, by_layer in judged.likelihood.items():
        arrays |= {f"likelihood/{role}/{layer}": values for layer, values in by_layer.items()}
    for role, features in judged.features.items():
        arrays |= {f"feature/{role}/{layer}": z.astype(np.float16) for layer, z in features.items()}
    about = {
        "ids": list(judged.ids),
        "roles": judged.roles,
        "detectors": list(judged.scores),
        "thresholds": judged.thresholds,
        "layers": list(judged.layer_names),
        "views": {layer: view.about for layer, view in judged.views.items()},
        "rows": judged.rows,
        "overall": judged.overall,
        "recipe": judged.recipe,
    }
    save_arrays(path, arrays, about)


def load_judged(path: Path) -> Judged:
    """Read what save_judged wrote; InputError when the file is missing or damaged."""
    arrays, about = load_arrays(path)
    try:
        return _unpacked(arrays, about)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} holds no judged cohort ({error}): delete it and make it again.") from error


def _unpacked(arrays: Arrays, about: dict[str, Any]) -> Judged:
    roles, layers = about["roles"], about["layers"]

    def those(kind: str) -> dict[str, np.ndarray]:
        return {role: arrays[f"{kind}/{role}"] for role in roles if f"{kind}/{role}" in arrays}

    def those_by_layer(kind: str) -> dict[str, dict[str, np.ndarray]]:
        return {
            role: {layer: arrays[f"{kind}/{role}/{layer}"] for layer in layers}
            for role in roles
            if f"{kind}/{role}/{layers[0]}" in arrays
        }

    return Judged(
        ids=tuple(about["ids"]),
        labels=arrays["labels"],
        targets=arrays["targets"],
        scores={name: {role: arrays[f"score/{name}/{role}"] for role in roles} for name in about["detectors"]},
        thresholds=about["thresholds"],
        fooled=those("fooled"),
        rows=about["rows"],
        # Older files have a bootstrap's interval, which has no width where all or none reach the target.
        overall={role: row | success_interval(row) for role, row in about["overall"].items()},
        linf=those("linf"),
        layer_names=tuple(layers),
        views={
            layer: Embedding.of(arrays[f"view/{layer}"], view, exact=True) for layer, view in about["views"].items()
        },
        features=those_by_layer("feature"),
        recipe=about["recipe"],
        predicted=those("predicted"),
        confidence=those("confidence"),
        likelihood=those_by_layer("likelihood"),
    )
