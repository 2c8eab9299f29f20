"""Train a 3-D classifier on a set of volumes: the bundled one, or an .npz in the MedMNIST layout.

    python -m scripts.train_volumes brain3d --name brain3d-densenet --out assets/brain3d --mirror --epochs 30 --batch 8 --rate 0.002
    python -m scripts.train_volumes out/hippocampus-end.npz --name hippocampus-end --out out/hippocampus-end --blocks 3 4 --rate 0.002

The epoch with the best validation AUC is kept, and reported on test. An interrupted training goes on after its last whole
epoch (from --work). `scripts/prepare_hippocampus.py` makes a set of real volumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from hfcviz.classifiers import Classifier
from hfcviz.datasets import load_dataset
from hfcviz.models import save_model
from hfcviz.networks import build_densenet, densenet_layers
from scripts.training import add_flags, fit, moments


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Volumes (N, C, X, Y, Z) in [0, 1], each shifted by up to 1/16 of its sides, with a gamma and gain of its own."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(x), 1, 1, 1, 1, generator=generator)

    most = x.shape[-1] // 16
    shifts = torch.randint(-most, most + 1, (len(x), 3), generator=generator).tolist()
    x = torch.stack([volume.roll(shift, dims=(1, 2, 3)) for volume, shift in zip(x, shifts, strict=True)])
    return (uniform(0.9, 1.1) * x ** uniform(0.85, 1.15)).clamp(0, 1)


def mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    """`augment`, and every other volume mirrored along its first axis: left and right of a head in RAS+."""
    chosen = torch.rand(len(x), 1, 1, 1, 1, generator=generator) < 0.5
    return augment(torch.where(chosen, x.flip(2), x), generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="name of a bundled set, or an .npz file")
    parser.add_argument("--name", required=True, help="what the model is called")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mirror", action="store_true", help="left and right may be exchanged")
    parser.add_argument("--first", type=int, default=16, help="channels of the first convolution")
    parser.add_argument("--growth", type=int, default=12, help="channels that each layer adds")
    parser.add_argument("--blocks", type=int, nargs="+", default=(2, 3, 4, 3), help="layers of each dense block")
    add_flags(parser, epochs=40, batch=16, decay=0.02)
    parser.set_defaults(
        bf16=False
    )  # on a CPU, PyTorch 2.13 gives NaN gradients for small volumes in channels-last layout
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    dataset = load_dataset(arguments.data)
    train, blocks = dataset.splits["train"], tuple(arguments.blocks)
    architecture = {
        "spatial_dims": 3,
        "in_channels": train.x.shape[1],
        "classes": len(dataset.class_names),
        "first": arguments.first,
        "growth": arguments.growth,
        "blocks": blocks,
        "dropout": 0.2,
    }
    mean, std = moments(train)
    classifier = Classifier(
        net=build_densenet(**architecture),
        name=arguments.name,
        class_names=dataset.class_names,
        layer_names=densenet_layers(blocks),
        head="fc",
        input_shape=train.x.shape[1:],
        mean=mean,
        std=std,
    )
    net = build_densenet(**architecture).to(memory_format=torch.channels_last_3d)
    record = fit(net, classifier, dataset, mirrored if arguments.mirror else augment, arguments)
    record["script"] = "scripts/train_volumes.py"
    save_model(classifier, arguments.out, {"name": "densenet", **architecture}, record)


if __name__ == "__main__":
    main()
