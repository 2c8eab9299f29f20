"""Train the bundled classifier on `assets/brain2d/slices.npz`, choose the epoch on validation, report it on test.

Weights are rounded to half precision before they are validated or tested, so the stored file is what was measured.
Deterministic for one version of torch and one number of threads. Run from the repository root:

    python -m scripts.train_brain2d [--net resnet] [--epochs 24] [--seed 0] [--out assets/brain2d]
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hfcviz.classifiers import Classifier
from hfcviz.datasets import Split, load_dataset
from hfcviz.models import save_model
from hfcviz.networks import ARCHITECTURES, resnet_layers, vgg_layers

SHAPE: dict[str, Any] = {"spatial_dims": 2, "in_channels": 1, "classes": 2}
NETS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "resnet": (
        "brain2d-resnet18",
        SHAPE | {"widths": (32, 64, 128, 256), "blocks": (2, 2, 2, 2), "dropout": 0.2},
        resnet_layers(),
    ),
    "vgg": (
        "brain2d-vgg16",
        SHAPE | {"widths": (16, 32, 64, 128, 128), "depths": (2, 2, 3, 3, 3), "dropout": 0.2},
        vgg_layers(),
    ),
}
"""By architecture: the model's name, what its builder is given, and its layers. The first is the bundled one."""


def build_net(kind: str) -> torch.nn.Module:
    """A network with fresh weights, in the memory layout that is fastest on a CPU."""
    return ARCHITECTURES[kind](**NETS[kind][1]).to(memory_format=torch.channels_last)


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 1, H, W) in [0, 1], each mirrored left-right or not, shifted up to 6 pixels, with its own gamma and gain."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(x), 1, 1, 1, generator=generator)

    x = torch.where(uniform(0, 1) < 0.5, x.flip(-1), x)
    shifts = torch.randint(-6, 7, (len(x), 2), generator=generator).tolist()
    x = torch.stack([image.roll(shift, dims=(-2, -1)) for image, shift in zip(x, shifts, strict=True)])
    return (uniform(0.95, 1.05) * x ** uniform(0.9, 1.1)).clamp(0, 1)


def rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights with the values that half precision can hold."""
    return {name: t.half().float() if t.is_floating_point() else t.clone() for name, t in state.items()}


def measure(classifier: Classifier, split: Split) -> tuple[float, float]:
    """Accuracy and mean cross-entropy on a split."""
    y = torch.from_numpy(split.y)
    with torch.no_grad():
        logits = torch.cat(
            [classifier(torch.from_numpy(split.images(slice(i, i + 100)))) for i in range(0, len(y), 100)]
        )
    return float((logits.argmax(1) == y).float().mean()), float(functional.cross_entropy(logits, y))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="brain2d", help="name or .npz file")
    parser.add_argument("--net", choices=list(NETS), default="resnet", help="architecture")
    parser.add_argument("--out", type=Path, default=Path("assets/brain2d"))
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=1e-4, help="weight decay of AdamW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(arguments.seed)

    dataset = load_dataset(arguments.data)
    train = dataset.splits["train"]
    name, architecture, layers = NETS[arguments.net]
    net = build_net(arguments.net)
    classifier = Classifier(
        net=build_net(arguments.net),
        name=name if arguments.seed == 0 else f"{name}-seed{arguments.seed}",
        class_names=dataset.class_names,
        layer_names=layers,
        head="fc",
        input_shape=train.x.shape[1:],
        mean=round(float(np.mean(train.x)) / 255, 4),
        std=round(float(np.std(train.x)) / 255, 4),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=arguments.rate, weight_decay=arguments.decay)
    batches = math.ceil(len(train) / arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, arguments.rate, total_steps=arguments.epochs * batches, pct_start=0.2
    )

    best, chosen, started = (math.inf, 0.0, 0), {}, time.monotonic()
    for epoch in range(1, arguments.epochs + 1):
        net.train()
        total = 0.0
        for index in torch.randperm(len(train), generator=generator).split(arguments.batch):
            x = augment(torch.from_numpy(train.images(index.numpy())), generator)
            x = ((x - classifier.mean) / classifier.std).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(net(x), torch.from_numpy(train.y[index.numpy()]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(index)
        candidate = rounded(net.state_dict())
        classifier.net.load_state_dict(candidate)
        accuracy, loss_val = measure(classifier, dataset.splits["val"])
        if (loss_val, -accuracy) < (best[0], -best[1]):
            best, chosen = (loss_val, accuracy, epoch), candidate
        seconds = time.monotonic() - started
        losses = f"train loss {total / len(train):.4f}, val loss {loss_val:.4f}"
        print(f"epoch {epoch}: {losses}, val accuracy {accuracy:.4f}, {seconds:.0f} s", flush=True)

    classifier.net.load_state_dict(chosen)
    accuracy, loss_test = measure(classifier, dataset.splits["test"])
    print(
        f"chosen epoch {best[2]}: val accuracy {best[1]:.4f}, test accuracy {accuracy:.4f}, test loss {loss_test:.4f}"
    )
    settings = {
        key: getattr(arguments, key) for key in ("data", "net", "epochs", "batch", "rate", "decay", "threads", "seed")
    }
    record = {
        **settings,
        "script": "scripts/train_brain2d.py",
        "torch": torch.__version__.split("+")[0],
        "chosen_epoch": best[2],
        "val_accuracy": round(best[1], 4),
        "test_accuracy": round(accuracy, 4),
    }
    save_model(classifier, arguments.out, {"name": arguments.net, **architecture}, record)


if __name__ == "__main__":
    main()
