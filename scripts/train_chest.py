"""Train a chest X-ray classifier (normal or pneumonia) on the images of Kermany et al. 2018, doi.org/10.17632/rscbjbr9sj.

    python -m scripts.train_chest kermany_pneumonia_224.zip --net resnet --out assets/chest

The zip holds ROOT/{train,test}/{NORMAL,PNEUMONIA}/file. 15 % of the training patients are the validation part; the
epoch with the best validation AUC is kept, and reported on test. Batches hold both classes equally often. Weights are
rounded to half precision before they are validated or tested, so the stored file is what was measured. An interrupted
training goes on after its last whole epoch (from --work).
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

from hfcviz.datasets import Split, load_dataset
from hfcviz.metrics import roc
from hfcviz.models import Classifier, save_model
from hfcviz.networks import ARCHITECTURES, resnet_layers, vgg_layers
from scripts.train_brain2d import rounded

NETS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "resnet": ({"widths": (32, 64, 128, 256), "blocks": (2, 2, 2, 2), "dropout": 0.3}, resnet_layers()),
    "vgg": ({"widths": (16, 32, 64, 128, 128), "depths": (2, 2, 3, 3, 3), "dropout": 0.5}, vgg_layers()),
}
CHUNK = 64


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 1, H, W) in [0, 1], each turned by up to 8 degrees, scaled by up to 15 % and shifted by up to 8 %, with a
    sharpness, gamma, contrast and gain of its own. Not mirrored: the heart lies on one side.

    Sharpness and greys differ between the classes of the training part (they come from machines of their own), and would
    be learned in place of the lungs.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(x), generator=generator)

    angle, scale = uniform(-8, 8) * math.pi / 180, uniform(0.85, 1.15)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    moves = torch.stack([cos, -sin, uniform(-0.08, 0.08), sin, cos, uniform(-0.08, 0.08)], 1).view(-1, 2, 3)
    grid = functional.affine_grid(moves, list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    soft = functional.avg_pool2d(functional.avg_pool2d(moved, 3, 1, 1), 3, 1, 1)
    amount, contrast, gain, gamma = (
        uniform(*limits).view(-1, 1, 1, 1) for limits in ((-0.5, 1.0), (0.7, 1.3), (0.8, 1.2), (0.6, 1.6))
    )
    moved = (moved + amount * (soft - moved)).clamp(1e-4, 1) ** gamma  # below 0 the image is sharpened
    middle = moved.mean((2, 3), keepdim=True)
    return (gain * (middle + contrast * (moved - middle))).clamp(0, 1)


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
    """AUC of the second class, accuracy, and mean accuracy over classes."""
    with torch.no_grad():
        parts = [classifier(torch.from_numpy(split.images(slice(i, i + CHUNK)))) for i in range(0, len(split), CHUNK)]
    logits = torch.cat(parts).numpy()
    score, right = logits[:, 1] - logits[:, 0], logits.argmax(1) == split.y
    return {
        "auc": roc(score[split.y == 0], score[split.y == 1]).auc,
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[split.y == label].mean() for label in np.unique(split.y)])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--net", choices=list(NETS), default="resnet")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input in pixels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="folder of the unfinished training; default: OUT/unfinished")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay of AdamW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--bf16", action="store_true", help="bfloat16 products: half the time where the processor has them"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    shape = (1, arguments.size, arguments.size)
    dataset = load_dataset(arguments.data).fitted(shape)
    train = dataset.splits["train"]
    settings, layers = NETS[arguments.net]
    build = ARCHITECTURES[arguments.net]
    net = build(**settings).to(memory_format=torch.channels_last)
    classifier = Classifier(
        net=build(**settings),
        name={"resnet": "chest-resnet18", "vgg": "chest-vgg16"}[arguments.net],
        class_names=dataset.class_names,
        layer_names=layers,
        head="fc",
        input_shape=shape,
        mean=round(float(np.mean(train.x)) / 255, 4),
        std=round(float(np.std(train.x[::8])) / 255, 4),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=arguments.rate, weight_decay=arguments.decay)
    order = balanced_order(train.y, torch.Generator().manual_seed(0))
    steps = arguments.epochs * math.ceil(len(order) / arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.rate, total_steps=steps, pct_start=0.2)
    best: dict[str, float] = {"auc": 0.0}
    chosen: dict[str, Tensor] = {}
    made_with = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "work")}
    first, unfinished = 1, (arguments.work or arguments.out / "unfinished") / f"{arguments.net}.pt"
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
            x = ((x - classifier.mean) / classifier.std).contiguous(memory_format=torch.channels_last)
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
        if found["auc"] > best["auc"]:
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
    record = {key: getattr(arguments, key) for key in ("epochs", "batch", "rate", "decay", "threads", "bf16", "seed")}
    record |= {
        "script": "scripts/train_chest.py",
        "data": dataset.name,
        "torch": torch.__version__.split("+")[0],
        "chosen_epoch": best["epoch"],
        "val": {name: round(value, 4) for name, value in best.items() if name != "epoch"},
        "test": {name: round(value, 4) for name, value in test.items()},
    }
    save_model(classifier, arguments.out, {"name": arguments.net, **settings}, record)
    unfinished.unlink()


if __name__ == "__main__":
    main()
