"""Our attack against torchattacks and foolbox, our constraint against a plain loop, and the cost of the detectors:
`python -m benchmarks.rivals`.

All variants of a comparison take turns, forwards and backwards, and each turn gives one ratio, so that a busy machine
disturbs both sides alike. Exit code 1 means that a median ratio misses its limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.run import NETWORKS, random_mixture
from hfcviz.activations import extract
from hfcviz.attacks import Attack, run
from hfcviz.bundle import open_bundle
from hfcviz.classifiers import Classifier
from hfcviz.models import load_model
from hfcviz.penalties import HFC, FittedHFC

LIBRARIES = Path(__file__).resolve().parent.parent / ".venv" / "bench"
STEPS, EPS = 10, 8 / 255


def turns(variants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each variant in each turn."""
    for variant in variants.values():
        variant()  # the first call allocates
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats):
        for name in list(variants)[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            variants[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def say(what: str, ratios: list[float], limit: float, most: bool, note: str = "") -> bool:
    """Print a median ratio and whether it keeps its limit."""
    ratio = statistics.median(ratios)
    met = ratio <= limit if most else ratio >= limit
    rule = f"{'at most' if most else 'at least'} {limit:g}: {'met' if met else 'MISSED'}"
    print(f"{what}: {ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f}), {rule}{note}", flush=True)
    return met


def attacks(classifier: Classifier, repeats: int) -> list[bool]:
    """Images per second of 10 steps of targeted PGD with random start."""
    sys.path.append(str(LIBRARIES))
    import foolbox
    import torchattacks

    class Plain(torch.nn.Module):
        """The network as the others take it."""

        def forward(self, x: Tensor) -> Tensor:
            return classifier(x)

    model, found = Plain().eval(), []
    fooled = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    theirs = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=2.5 * EPS / STEPS, random_start=True)
    other = torchattacks.PGD(model, eps=EPS, alpha=2.5 * EPS / STEPS, steps=STEPS, random_start=True)
    other.set_mode_targeted_by_label(quiet=True)
    for batch in (1, 8, 32):
        x = torch.rand(batch, *classifier.input_shape, generator=torch.Generator().manual_seed(0))
        target = torch.arange(batch) % len(classifier.class_names)
        criterion = foolbox.criteria.TargetedMisclassification(target)
        variants = {
            "hfcviz": lambda x=x, target=target: run(Attack(eps=EPS, steps=STEPS), classifier, x, target),
            "torchattacks": lambda x=x, target=target: other(x, target),
            "foolbox": lambda x=x, criterion=criterion: theirs(fooled, x, criterion, epsilons=EPS),
        }
        seconds = turns(variants, repeats)
        rates = {name: batch / statistics.median(times) for name, times in seconds.items()}
        faster = max(("torchattacks", "foolbox"), key=lambda name: rates[name])
        ratios = [b / a for a, b in zip(seconds["hfcviz"], seconds[faster], strict=True)]
        note = "; images/s " + ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
        found.append(say(f"PGD, batch {batch}, speed against the faster of the others", ratios, 1.0, False, note))
    return found


def constraint(classifier: Classifier, repeats: int, components: int = 64) -> list[bool]:
    """Forward and backward of the constraint alone against one loop over samples, layers and components."""
    generator, batch = torch.Generator().manual_seed(0), 8
    layers = {
        name: torch.rand(batch, z.shape[1], generator=generator)
        for name, z in classifier.features(torch.zeros(1, *classifier.input_shape))[1].items()
    }
    mixtures = {
        name: [random_mixture(components, z.shape[1], generator) for _ in classifier.class_names]
        for name, z in layers.items()
    }
    target = torch.arange(batch) % len(classifier.class_names)
    ours = FittedHFC(HFC(components=components), mixtures)

    def backward(penalty: Callable[[dict[str, Tensor], Tensor], Tensor]) -> None:
        moved = {name: z.detach().requires_grad_() for name, z in layers.items()}
        torch.autograd.grad(penalty(moved, target), list(moved.values()))

    def looped(moved: dict[str, Tensor], target: Tensor) -> Tensor:
        total = torch.zeros(())
        for name, z in moved.items():
            for row, label in zip(z, target.tolist(), strict=True):
                m = mixtures[name][label]
                squares = [((row - m.means[k]) @ m.factors[k]).square().sum() for k in range(components)]
                heights = [m.log_weights[k] + m.log_norms[k] - 0.5 * squares[k] for k in range(components)]
                best = int(torch.stack(heights).argmax())
                total = total + squares[best] / z.shape[1]
        return total

    variants = {
        "ours": lambda: backward(lambda moved, target: torch.stack(list(ours(moved, target).values())).sum()),
        "loop": lambda: backward(looped),
    }
    seconds = turns(variants, repeats)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["loop"], strict=True)]
    return [say(f"HFC, K={components}, batch {batch}, speed against a plain loop", ratios, 5.0, False)]


def scoring(classifier: Classifier, repeats: int, batch: int = 32) -> list[bool]:
    """One pass of the network and all detectors but those that need dropout passes, against a step of PGD."""
    bundle = open_bundle()
    x = torch.from_numpy(bundle.dataset.splits["test"].images(slice(0, batch)))
    target = torch.arange(batch) % len(classifier.class_names)
    names = tuple(name for name in bundle.reference.detectors() if "BU" not in name)
    detectors = bundle.reference.detectors(names)
    features = extract(classifier, x)
    variants = {
        "pass": lambda: extract(classifier, x),
        "detectors": lambda: [one.score(features) for one in detectors.values()],
        "step": lambda: run(Attack(steps=1), classifier, x, target),
    }
    seconds = turns(variants, repeats)
    ratios = [a / b for a, b in zip(seconds["detectors"], seconds["step"], strict=True)]
    passes = statistics.median(a / b for a, b in zip(seconds["pass"], seconds["step"], strict=True))
    note = f"; the one pass of the network itself costs {passes:.2f} steps"
    return [say(f"{len(names)} detectors, batch {batch}, cost in steps of PGD", ratios, 0.25, True, note)]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=7, help="turns of each variant (default 7)")
    repeats = parser.parse_args().repeats
    classifier = load_model(NETWORKS[0])
    print(f"{classifier.name}, torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} turns")
    found = [*scoring(classifier, repeats), *constraint(classifier, repeats), *attacks(classifier, repeats)]
    return 0 if all(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
