"""Cost of a step of each attack against one bare forward and backward of the network: `python -m benchmarks.run`.

Bare means: the network's own forward, cross-entropy, the gradient to the images, weights frozen. All variants take turns,
forwards and backwards, and each turn gives one ratio, so that a busy machine disturbs both sides alike. Exit code 1 means
that a median ratio is above its limit.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from hfcviz.attacks import Attack, run
from hfcviz.classifiers import Classifier
from hfcviz.mixtures import Mixture
from hfcviz.models import load_model
from hfcviz.penalties import HFC, FittedHFC

STEPS = {2: {1: 10, 8: 4, 32: 2}, 3: {1: 5, 8: 1}}
"""Steps of one turn, by batch size, of networks for images and for volumes."""
NETWORKS = ("brain2d-resnet18", "brain3d-densenet")
COMPARISONS = (("PGD", "bare", 1.15), ("PGD+HFC, K=8", "PGD", 1.3), ("PGD+HFC, K=64", "PGD", None))
"""What is compared with what, and the largest ratio allowed."""


def main() -> int:
    """Measure, print a table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=15, help="turns of each variant (default 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    machine = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "repeats": options.repeats,
    }
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    print(
        f"{'step of':<14} {'against':<8} {'batch':>5} {'ms':>8} {'ms':>8} {'ratio':>6} {'(least-most)':>14} {'limit':>6}"
    )
    rows = []
    for name in NETWORKS:
        classifier = load_model(name)
        print(f"{name}, input {' x '.join(map(str, classifier.input_shape))}")
        for batch in STEPS[len(classifier.input_shape) - 1]:
            for row in compare(classifier, batch, options.repeats):
                rows.append({"network": name, **row})
                limit = "" if row["limit"] is None else f"{row['limit']:6.2f}  {'met' if row['met'] else 'MISSED'}"
                span = f"({row['least']:.2f}-{row['most']:.2f})"
                print(
                    f"{row['step']:<14} {row['against']:<8} {batch:>5} {row['ms']:8.1f} {row['against_ms']:8.1f} "
                    f"{row['ratio']:6.2f} {span:>14} {limit}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["met"] for row in rows) else 1


def compare(classifier: Classifier, batch: int, repeats: int) -> list[dict]:
    """One row a comparison at one batch size."""
    variants, steps = make_variants(classifier, batch), STEPS[len(classifier.input_shape) - 1][batch]
    for variant in variants.values():
        variant(1)  # the first call allocates
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats):
        for name in list(variants)[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            variants[name](steps)
            seconds[name].append((time.perf_counter() - start) / steps)
    rows = []
    for step, against, limit in COMPARISONS:
        ratios = [a / b for a, b in zip(seconds[step], seconds[against], strict=True)]
        ratio = statistics.median(ratios)
        rows.append(
            {
                "step": step,
                "against": against,
                "batch": batch,
                "ms": 1000 * statistics.median(seconds[step]),
                "against_ms": 1000 * statistics.median(seconds[against]),
                "ratio": ratio,
                "least": min(ratios),
                "most": max(ratios),
                "limit": limit,
                "met": limit is None or ratio <= limit,
            }
        )
    return rows


def make_variants(classifier: Classifier, batch: int) -> dict[str, Callable[[int], Tensor]]:
    """Functions of the number of steps; the targets in a batch are mixed."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, *classifier.input_shape, generator=generator)
    target = torch.arange(batch) % len(classifier.class_names)
    widths = {name: z.shape[1] for name, z in classifier.features(x[:1])[1].items()}

    def bare(steps: int) -> Tensor:
        for _ in range(steps):
            images = x.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(classifier.net(images), target)
            (gradient,) = torch.autograd.grad(loss, images)
        return gradient

    def attacked(penalty: FittedHFC | None) -> Callable[[int], Tensor]:
        return lambda steps: run(Attack(steps=steps), classifier, x, target, penalty=penalty)

    def constraint(components: int) -> FittedHFC:
        classes = range(len(classifier.class_names))
        mixtures = {
            name: [random_mixture(components, width, generator) for _ in classes] for name, width in widths.items()
        }
        return FittedHFC(HFC(components=components), mixtures)

    return {
        "bare": bare,
        "PGD": attacked(None),
        "PGD+HFC, K=8": attacked(constraint(8)),
        "PGD+HFC, K=64": attacked(constraint(64)),
    }


def random_mixture(components: int, width: int, generator: torch.Generator) -> Mixture:
    """A mixture of the size of a fitted one: what a step costs does not hang on the values."""
    factors = torch.eye(width) + torch.rand(components, width, width, generator=generator) / width
    means = torch.rand(components, width, generator=generator)
    return Mixture(torch.full((components,), 1 / components).log(), means, factors, torch.zeros(components))


if __name__ == "__main__":
    raise SystemExit(main())
