"""Train a chest X-ray classifier (normal or pneumonia) on the images of Kermany et al. 2018, doi.org/10.17632/rscbjbr9sj.

    python -m scripts.train_chest kermany_pneumonia_224.zip --net resnet --out assets/chest

The zip holds ROOT/{train,test}/{NORMAL,PNEUMONIA}/file; any other set of grey images, of two classes or more, is trained by
the same recipe (--name says what to call that network). 15 % of the training patients are the validation part; the
epoch with the best validation AUC is kept, and reported on test. Batches hold all classes equally often. Weights are
rounded to half precision before they are validated or tested, so the stored file is what was measured. An interrupted
training goes on after its last whole epoch (from --work).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hfcviz.classifiers import Classifier
from hfcviz.datasets import load_dataset
from hfcviz.models import save_model
from hfcviz.networks import ARCHITECTURES, resnet_layers, vgg_layers
from scripts.training import add_flags, fit, moments

NETS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "resnet": ({"widths": (32, 64, 128, 256), "blocks": (2, 2, 2, 2), "dropout": 0.3}, resnet_layers()),
    "vgg": ({"widths": (16, 32, 64, 128, 128), "depths": (2, 2, 3, 3, 3), "dropout": 0.5}, vgg_layers()),
}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", help="of the network; default: chest-resnet18 or chest-vgg16")
    parser.add_argument("--net", choices=list(NETS), default="resnet")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input in pixels")
    parser.add_argument("--out", type=Path, required=True)
    add_flags(parser, epochs=10, batch=32, decay=0.02)
    parser.add_argument(
        "--bf16", action="store_true", help="bfloat16 products: half the time where the processor has them"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    shape = (1, arguments.size, arguments.size)
    dataset = load_dataset(arguments.data, fit=shape)
    settings, layers = NETS[arguments.net]
    settings = settings | {"classes": len(dataset.class_names)}
    build = ARCHITECTURES[arguments.net]
    net = build(**settings).to(memory_format=torch.channels_last)
    mean, std = moments(dataset.splits["train"])
    classifier = Classifier(
        net=build(**settings),
        name=arguments.name or {"resnet": "chest-resnet18", "vgg": "chest-vgg16"}[arguments.net],
        class_names=dataset.class_names,
        layer_names=layers,
        head="fc",
        input_shape=shape,
        mean=mean,
        std=std,
    )
    record = fit(net, classifier, dataset, augment, arguments)
    record["script"] = "scripts/train_chest.py"
    save_model(classifier, arguments.out, {"name": arguments.net, **settings}, record)


if __name__ == "__main__":
    main()
