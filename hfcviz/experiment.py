"""Puts model, attack, constraint and detectors together; the app, the command line and the scripts call this module."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from hfcviz.activations import Activations, extract
from hfcviz.attacks import run, runner_up
from hfcviz.classifiers import Classifier
from hfcviz.detection import Fitted, unavailable
from hfcviz.metrics import percentile_rank
from hfcviz.outcome import FORMAT, Outcome, Plan, from_arrays, to_arrays
from hfcviz.penalties import FittedHFC
from hfcviz.reference import DROPOUT_PASSES, Reference, noisy, shares
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import Store, digest
from hfcviz.traces import Recorder, Trace


def run_experiment(
    classifier: Classifier,
    reference: Reference,
    x: np.ndarray,
    plan: Plan,
    *,
    scan_name: str = "scan",
    store: Store | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Attack one scan, x (C, *spatial) in [0, 1], with and without the penalty of the plan, and judge all versions.

    Both attacks share eps, step size, steps and seed. A result that the store holds already is read from it. Raises
    InputError when the scan or the cohort does not fit the network, or the target is what the network predicts already.
    """
    if reference.recipe.get("weights") != classifier.digest:  # else every verdict would be wrong
        raise InputError(
            f"The cohort must come from the weights of {classifier.name}, but does not: make reference.npz again."
        )
    recipe = make_recipe(classifier, reference, x, plan, scan_name)
    key = digest(recipe, FORMAT)
    if store is not None and (found := store.get(key)) is not None:
        return from_arrays(*found)
    clean = torch.from_numpy(np.asarray(x, dtype=np.float32))[None]
    target = choose_target(extract(classifier, clean).logits[0], classifier.class_names, plan.target)
    # About how many steps of an attack each part takes the time of; many steps, or detectors that are fitted already, change that.
    steps, both = plan.attack.steps, plan.penalty is not None
    costs = {"constraint": 15.0 * both, "detectors": 5.0 if reference.knows_detectors else 150.0}
    costs |= {"attack": steps, "hidden": 1.3 * steps * both, "judge": 40}
    share = shares(progress, {part: cost / sum(costs.values()) for part, cost in costs.items()})
    penalties: dict[str, FittedHFC | None] = {"attack": None}
    if plan.penalty is not None:
        # Before the slower detectors, since it is here that unknown layers and too many components are refused.
        penalties["hidden"] = reference.constraint(plan.penalty, progress=share("constraint"))
    detectors = reference.detectors(progress=share("detectors"))
    versions, traces = [clean, noisy(clean, plan.attack.eps, [plan.seed])], {}
    for role, penalty in penalties.items():
        aim = torch.tensor([target])
        recorder = Recorder(aim, plan.attack.steps)
        step = share(role, f"{plan.label(role)}: ")
        versions.append(
            run(plan.attack, classifier, clean, aim, penalty=penalty, seeds=plan.seed, observe=recorder, progress=step)
        )
        traces[role] = recorder.trace()
    stacked = torch.cat(versions)
    judge = share("judge")
    judge(0, "detectors judge")
    passes = DROPOUT_PASSES if any("BU" in name for name in detectors) else 0
    # The masks of the calibration scans, not the attack's seed: else BU would compare different thinned networks.
    activations = extract(classifier, stacked, dropout_passes=passes, seed=reference.recipe["seed"])
    layer_scores = {name: one.layer_scores(activations) for name, one in detectors.items()}
    layers = list(activations.layers)
    calibration = detectors["GMM"].layer_scores(reference.calibration)
    scores = {
        name: one.combine(by) if (by := layer_scores[name]) else one.score(activations)
        for name, one in detectors.items()
    }
    filmed = {role: score_steps(classifier, detectors, trace, passes, reference) for role, trace in traces.items()}
    outcome = Outcome(
        roles=("clean", "noise", *penalties),
        x=stacked.numpy(),
        activations=activations,
        target=target,
        traces=traces,
        scores=scores,
        ranks={name: percentile_rank(scores[name], one.calibration_scores) for name, one in detectors.items()},
        thresholds={name: float(one.threshold) for name, one in detectors.items()},
        layer_scores={name: np.stack([by[layer] for layer in layers]) for name, by in layer_scores.items() if by},
        layer_thresholds={
            name: np.array([one.layer_thresholds[layer] for layer in layers])
            for name, one in detectors.items()
            if one.layer_thresholds
        },
        depth_quantiles=np.stack([np.quantile(calibration[layer], (0.05, 0.5, 0.95)) for layer in layers]),
        recipe=recipe,
        step_scores={role: own for role, (own, _) in filmed.items()},
        step_depths={role: depths for role, (_, depths) in filmed.items()},
    )
    if store is not None:
        store.put(key, *to_arrays(outcome))
    judge(1, "done")
    return outcome


def score_steps(
    classifier: Classifier, detectors: dict[str, Fitted], trace: Trace, passes: int, reference: Reference
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the detectors say at the F steps of which a trace of one scan keeps a picture: {detector: (F,)}, and of each layer's mixture
    (L, F).

    From the features that the attack saw on its way, which are those of the network but for rounding. Detectors that look at
    dropout are left out where dropout acts before the head, since the features do not suffice for them.
    """
    layers = {name: z[trace.shown, 0] for name, z in trace.features.items()}
    dropout = None
    if passes and classifier.thins_head_only:
        last = torch.from_numpy(layers[classifier.layer_names[-1]])
        dropout = classifier.thinned_heads(last, passes, reference.recipe["seed"]).numpy()
    seen = Activations(trace.logits[trace.shown, 0], layers, dropout)
    left_out = unavailable(seen)
    scores = {name: one.score(seen) for name, one in detectors.items() if name not in left_out}
    return scores, np.stack(list(detectors["GMM"].layer_scores(seen).values()))


def choose_target(logits: np.ndarray, class_names: tuple[str, ...], wanted: str | None) -> int:
    """The class to aim at, from logits (K,); InputError when it is unknown or predicted already."""
    predicted = int(logits.argmax())
    if wanted is None:
        return int(runner_up(logits[None])[0])
    others = ", ".join(name for index, name in enumerate(class_names) if index != predicted)
    if wanted not in class_names:
        raise InputError(f"target must be one of {', '.join(class_names)}; got {wanted!r}.")
    if class_names.index(wanted) == predicted:
        raise InputError(f"target must differ from what the network predicts already ({wanted}); choose {others}.")
    return class_names.index(wanted)


def make_recipe(
    classifier: Classifier, reference: Reference, x: np.ndarray, plan: Plan, scan_name: str
) -> dict[str, Any]:
    """All that a result depends on, as plain values."""
    packages = ("hfcviz", "torch", "monai", "scikit-learn", "numpy")
    return {
        "scan": {"name": scan_name, "sha256": digest(np.ascontiguousarray(x, dtype=np.float32))},
        "model": {"name": classifier.name, "sha256": classifier.digest},
        "detectors": {"sha256": reference.digest, "trained_on": reference.recipe},
        "plan": plan.as_dict(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    from hfcviz import __version__

    return __version__ if package == "hfcviz" else version(package)
