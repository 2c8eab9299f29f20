"""Architectures of classifiers, for images and volumes, from MONAI's blocks."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode


class NothingDrawn(TorchFunctionMode):
    """While active, filling a tensor with random numbers does nothing. On the meta device it would have no effect but
    to load PyTorch's compiler, which takes seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0]
        return func(*args, **(kwargs or {}))


def build_resnet(
    spatial_dims: int = 2,
    in_channels: int = 1,
    classes: int = 2,
    widths: Sequence[int] = (32, 64, 128, 256),
    blocks: Sequence[int] = (2, 2, 2, 2),
    dropout: float = 0.2,
) -> nn.Module:
    """A residual network of basic blocks with dropout before its last layer; the defaults are a slim ResNet-18.

    He et al. 2016, "Deep residual learning", https://arxiv.org/abs/1512.03385, as built by MONAI.
    """
    from monai.networks.nets import ResNet

    net = ResNet(
        "basic",
        list(blocks),
        list(widths),
        spatial_dims=spatial_dims,
        n_input_channels=in_channels,
        conv1_t_stride=2,
        num_classes=classes,
    )
    net.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], classes))
    return net


def resnet_layers(blocks: Sequence[int] = (2, 2, 2, 2)) -> tuple[str, ...]:
    """Paths of all block outputs of `build_resnet`, in order of depth; its head is "fc"."""
    return tuple(f"layer{stage}.{i}" for stage, count in enumerate(blocks, 1) for i in range(count))


def build_vgg(
    spatial_dims: int = 2,
    in_channels: int = 1,
    classes: int = 2,
    widths: Sequence[int] = (16, 32, 64, 128, 128),
    depths: Sequence[int] = (2, 2, 3, 3, 3),
    dropout: float = 0.5,
) -> nn.Module:
    """A plain stack of 3x3 convolutions, halved by max pooling before every block but the first; the defaults are a
    VGG-16 of a quarter of its width, with batch normalisation and one linear layer behind a global mean.

    Simonyan & Zisserman 2015, "Very deep convolutional networks", https://arxiv.org/abs/1409.1556. Where we differ: the two
    wide hidden layers of the head, nine tenths of its weights, are left out.
    """
    from monai.networks.blocks import Convolution
    from monai.networks.layers.factories import Pool

    net, width = nn.Sequential(), in_channels
    for number, (wide, depth) in enumerate(zip(widths, depths, strict=True), 1):
        block = nn.Sequential() if number == 1 else nn.Sequential(Pool[Pool.MAX, spatial_dims](2))
        for _ in range(depth):
            block.append(Convolution(spatial_dims, width, wide, adn_ordering="NA", act="relu", norm="batch"))
            width = wide
        net.add_module(f"block{number}", block)
    net.add_module("pool", nn.Sequential(Pool[Pool.ADAPTIVEAVG, spatial_dims](1), nn.Flatten()))
    net.add_module("fc", nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes)))
    return net


def vgg_layers(depths: Sequence[int] = (2, 2, 3, 3, 3)) -> tuple[str, ...]:
    """Paths of all block outputs of `build_vgg`, in order of depth; its head is "fc"."""
    return tuple(f"block{number}" for number in range(1, len(depths) + 1))


def build_densenet(
    spatial_dims: int = 3,
    in_channels: int = 1,
    classes: int = 2,
    first: int = 16,
    growth: int = 12,
    blocks: Sequence[int] = (2, 3, 4, 3),
    dropout: float = 0.2,
) -> nn.Module:
    """A network of dense blocks, each of whose layers sees the outputs of all before it; the defaults are a small one for
    volumes, several times cheaper than a residual network, as it lowers the resolution at once. `first` channels leave the
    first convolution, each layer adds `growth`.

    Huang et al. 2017, "Densely connected convolutional networks", https://arxiv.org/abs/1608.06993, as built by MONAI. Where we
    differ: dropout stands before the last layer only.
    """
    from monai.networks.nets import DenseNet

    net = DenseNet(spatial_dims, in_channels, classes, first, growth, tuple(blocks))
    last = net.class_layers
    return nn.Sequential(
        OrderedDict(
            [
                *net.features.named_children(),
                ("relu", last.relu),
                ("pool", nn.Sequential(last.pool, last.flatten)),
                ("fc", nn.Sequential(nn.Dropout(dropout), last.out)),
            ]
        )
    )


def densenet_layers(blocks: Sequence[int] = (2, 3, 4, 3)) -> tuple[str, ...]:
    """Paths of all block and transition outputs of `build_densenet`, and of its last activation, in order of depth; its
    head is "fc".
    """
    between = [name for number in range(1, len(blocks)) for name in (f"denseblock{number}", f"transition{number}")]
    return (*between, f"denseblock{len(blocks)}", "relu")


def merge_norms(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode where each convolution does the work of the batch normalisation after it.

    After it means: the next module of the same parent, or `bnN` beside `convN`. Whether the network really runs them in
    that order is for the caller to see: compare the outputs.
    """
    net = copy.deepcopy(net).eval()
    for parent in list(net.modules()):
        children = dict(parent.named_children())
        follows = dict(zip(children, list(children)[1:], strict=False))
        for name, conv in children.items():
            beside = name.replace("conv", "bn")
            norm = beside if beside != name and beside in children else follows.get(name, "")
            if isinstance(conv, nn.Conv2d | nn.Conv3d) and isinstance(
                children.get(norm), nn.BatchNorm2d | nn.BatchNorm3d
            ):
                if conv.out_channels != children[norm].num_features:
                    continue
                setattr(parent, name, fuse_conv_bn_eval(conv, children[norm]))
                setattr(parent, norm, nn.Identity())
    return net


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "resnet": build_resnet,
    "vgg": build_vgg,
    "densenet": build_densenet,
}
"""Networks that a model folder can name."""
