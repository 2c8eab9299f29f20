"""Training that an interruption does not undo: what the training scripts share."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset, Split
from hfcviz.metrics import roc
from scripts.train_brain2d import rounded

CHUNK = 64


def add_flags(parser: argparse.ArgumentParser, *, epochs: int, batch: int, decay: float) -> None:
    """The flags that `fit` reads, with the script's own defaults, but `bf16`."""
    parser.add_argument("--work", type=Path, help="folder of the unfinished training; default: OUT/unfinished")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=decay, help="weight decay of AdamW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)


def balanced_order(labels: np.ndarray, generator: torch.Generator) -> Tensor:
    """Every sample of the larger classes once, those of smaller ones as often as needed to be equally frequent."""
    groups = [torch.from_numpy(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    most = max(map(len, groups))
    filled = []
    for group in groups:
        rounds = [group[torch.randperm(len(group), generator=generator)] for _ in range(-(-most // len(group)))]
        filled.append(torch.cat(rounds)[:most])
    return torch.stack(filled, 1).flatten()


def measure(classifier: Classifier, split: Split) -> dict[str, float]:
    """AUC (each class against all others, and their mean), accuracy, and mean accuracy over classes."""
    with torch.no_grad():
        parts = [classifier(torch.from_numpy(split.images(slice(i, i + CHUNK)))) for i in range(0, len(split), CHUNK)]
    logits = torch.cat(parts)
    right, present = logits.argmax(1).numpy() == split.y, np.unique(split.y)
    # Of two classes, the second alone: the first one's AUC is the same.
    aucs = [_against_others(logits, split.y, int(label)) for label in present[logits.shape[1] == 2 :]]
    return {
        "auc": float(np.mean(aucs)),
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[split.y == label].mean() for label in present])),
        "loss": float(functional.cross_entropy(logits, torch.from_numpy(split.y))),
    }


def _against_others(logits: Tensor, y: np.ndarray, label: int) -> float:
    """AUC of a class's log odds, logits (N, K): of two classes, the difference of the logits."""
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    odds = (logits[:, label] - others.logsumexp(1)).numpy()
    return roc(odds[y != label], odds[y == label]).auc


def fit(
    net: nn.Module,
    classifier: Classifier,
    dataset: Dataset,
    augment: Callable[[Tensor, torch.Generator], Tensor],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Train `net`, and give `classifier`, of the same architecture, the weights of its best epoch on validation: the highest
    AUC, and among equals the lowest loss. Batches hold all classes equally often. Returns the record for `save_model`.

    Weights are rounded to half precision before they are measured, so that the stored file is what was measured. An interrupted
    training goes on after its last whole epoch.
    """
    train, layout = (
        dataset.splits["train"],
        (torch.channels_last, torch.channels_last_3d)[classifier_dims(classifier) - 2],
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=arguments.rate, weight_decay=arguments.decay)
    order = balanced_order(train.y, torch.Generator().manual_seed(0))
    steps = arguments.epochs * math.ceil(len(order) / arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.rate, total_steps=steps, pct_start=0.2)
    best: dict[str, float] = {"auc": 0.0, "loss": math.inf}
    chosen: dict[str, Tensor] = {}
    made_with = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "work")}
    first, unfinished = 1, (arguments.work or arguments.out / "unfinished") / f"{classifier.name}.pt"
    if unfinished.is_file():
        state = torch.load(unfinished, weights_only=True)
        if state["settings"] != made_with:
            raise SystemExit(
                f"{unfinished} was made with other settings: {state['settings']}; delete it or use the same."
            )
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        best, chosen, first = state["best"], state["chosen"], state["epoch"] + 1

    started = time.monotonic()
    for epoch in range(first, arguments.epochs + 1):
        # One generator an epoch, so that a resumed training sees what an uninterrupted one sees.
        generator = torch.Generator().manual_seed(1000 * arguments.seed + epoch)
        torch.manual_seed(1000 * arguments.seed + epoch)
        net.train()
        total = 0.0
        order = balanced_order(train.y, generator)
        for index in order.split(arguments.batch):
            x = augment(torch.from_numpy(train.images(index.numpy())), generator)
            x = ((x - classifier.mean) / classifier.std).contiguous(memory_format=layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
                logits = net(x)
            loss = functional.cross_entropy(logits.float(), torch.from_numpy(train.y[index.numpy()]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(index)
        candidate = rounded(net.state_dict())
        classifier.net.load_state_dict(candidate)
        found = measure(classifier, dataset.splits["val"])
        if (found["auc"], -found["loss"]) > (best["auc"], -best["loss"]):
            best, chosen = found | {"epoch": epoch}, candidate
        values = ", ".join(f"val {name} {value:.4f}" for name, value in found.items())
        print(
            f"epoch {epoch}: train loss {total / len(order):.4f}, {values}, {time.monotonic() - started:.0f} s",
            flush=True,
        )
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        part = unfinished.with_suffix(".part")
        torch.save(state | {"best": best, "chosen": chosen, "epoch": epoch, "settings": made_with}, part)
        part.replace(unfinished)

    classifier.net.load_state_dict(chosen)
    test = measure(classifier, dataset.splits["test"])
    print(f"chosen epoch {best['epoch']}: val {best}, test {test}")
    unfinished.unlink()
    record = {key: getattr(arguments, key) for key in ("epochs", "batch", "rate", "decay", "threads", "bf16", "seed")}
    return record | {
        "data": dataset.name,
        "torch": torch.__version__.split("+")[0],
        "chosen_epoch": best["epoch"],
        "val": {name: round(value, 4) for name, value in best.items() if name != "epoch"},
        "test": {name: round(value, 4) for name, value in test.items()},
    }


def classifier_dims(classifier: Classifier) -> int:
    """2 for images, 3 for volumes."""
    return len(classifier.input_shape) - 1


def moments(train: Split) -> tuple[float, float]:
    """Mean and standard deviation of the training images in [0, 1], of every eighth of them."""
    some = train.x[::8]
    return round(float(np.mean(some)) / 255, 4), round(float(np.std(some)) / 255, 4)
