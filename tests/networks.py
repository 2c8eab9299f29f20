"""Tiny hand-made classifiers for tests: deterministic, and made without touching the global random state."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from hfcviz.classifiers import Classifier


@torch.random.fork_rng()
def linear(shape: tuple[int, ...] = (1, 4, 4), classes: int = 2, seed: int = 0) -> Classifier:
    """Logits = W @ pixels + b exactly, with W in `net.fc.weight`; its one layer "flat" is the pixels themselves."""
    net = nn.Sequential(OrderedDict(flat=nn.Flatten(), fc=nn.Linear(torch.Size(shape).numel(), classes)))
    return Classifier(_drawn(net, seed, 1.0), f"linear-{seed}", _names(classes), ("flat",), "fc", shape)


@torch.random.fork_rng()
def tiny_cnn(spatial_dims: int = 2, classes: int = 2, seed: int = 0) -> Classifier:
    """A random conv net for images or volumes: blocks of 4, 6 and 8 channels, batch normalisation, dropout in its head."""
    conv = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2]
    norm = (nn.BatchNorm2d, nn.BatchNorm3d)[spatial_dims - 2]
    pool = (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[spatial_dims - 2]
    net = nn.Sequential(
        OrderedDict(
            block1=nn.Sequential(conv(1, 4, 3, padding=1), norm(4), nn.ReLU()),
            block2=nn.Sequential(conv(4, 6, 3, stride=2, padding=1), nn.ReLU()),
            block3=nn.Sequential(conv(6, 8, 3, stride=2, padding=1), nn.ReLU()),
            pool=nn.Sequential(pool(1), nn.Flatten()),
            fc=nn.Sequential(nn.Dropout(0.5), nn.Linear(8, classes)),
        )
    )
    shape = (1, *[12 if spatial_dims == 2 else 8] * spatial_dims)
    layers = ("block1", "block2", "block3")
    return Classifier(
        _drawn(net, seed, 1.7), f"cnn{spatial_dims}d-{seed}", _names(classes), layers, "fc", shape, mean=0.4, std=0.3
    )


def images(classifier: Classifier, count: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    """(count, C, *spatial) images that the classifier takes, uniform between low and high."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, *classifier.input_shape, generator=generator)


def _names(classes: int) -> tuple[str, ...]:
    return tuple("abcdefgh"[:classes])


def _drawn(net: nn.Module, seed: int, gain: float) -> nn.Module:
    """All weights drawn anew, and running statistics unlike a fresh network's, so that train mode would show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if tensor.ndim > 1:
                tensor.normal_(0, gain / tensor[0].numel() ** 0.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.uniform_(*((0.5, 1.5) if "running_var" in name else (-0.2, 0.2)), generator=generator)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.weight += 1
    return net
