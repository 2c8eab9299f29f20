"""A frozen network that gives logits and what is known of the output of every layer."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hfcviz.networks import merge_norms
from hfcviz.settings import InputError

STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    # The small number keeps the slope of the root finite where a channel is the same everywhere.
    "spread": lambda flat: (flat.var(-1, unbiased=False) + 1e-12).sqrt(),
    "largest": lambda flat: flat.amax(-1),
}
"""What may be known of a layer's output (N, C_l, places) beside its mean over space: {name: (N, C_l)}."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network in evaluation mode with frozen weights; images in [0, 1] go in, normalisation happens inside.

    Safe to share between threads: a call hangs hooks on the network while it runs, so calls take turns.
    """

    net: nn.Module
    name: str
    class_names: tuple[str, ...]
    layer_names: tuple[str, ...]
    """Module paths in order of depth; the pooled output of the last one is the penultimate feature."""
    head: str
    """Module path that turns the penultimate feature (N, C) into logits."""
    input_shape: tuple[int, ...]
    """(C, *spatial)"""
    mean: float = 0.0
    std: float = 1.0
    further: tuple[str, ...] = ()
    """Names in STATISTICS that `features` gives of every layer beside the mean; see `seeing`."""
    _turn: threading.RLock = field(default_factory=threading.RLock, repr=False, init=False)

    def __post_init__(self) -> None:
        modules = dict(self.net.named_modules())
        for path in (*self.layer_names, self.head):
            if path not in modules:
                raise InputError(f"Model {self.name!r} names the layer {path!r}, but its network has no such module.")
        self.settle()

    def settle(self) -> None:
        # Channels last is the layout in which convolutions are fastest on a CPU: a sixth less time for a step of an attack.
        layout = torch.channels_last if len(self.input_shape) == 3 else torch.channels_last_3d
        self.net.eval().requires_grad_(False).to(memory_format=layout)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, *spatial) in [0, 1], differentiable in x. InputError on a wrong shape."""
        if tuple(x.shape[1:]) != self.input_shape:
            expected, got = _shape("N", *self.input_shape), _shape(*x.shape)
            raise InputError(
                f"Model {self.name!r} takes images of shape {expected}; got {got}: resize or crop them first."
            )
        with self._turn:
            return self.net((x - self.mean) / self.std)

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (N, K) and {layer: mean over space of its output (N, C_l)} in order of depth; one pass, differentiable.

        Further statistics of a layer stand before its mean, as "LAYER STATISTIC", where its output has more than one place.
        """
        found: dict[str, dict[str, Tensor]] = {}

        def keep(name: str, output: Tensor) -> None:
            # Reduced (or copied) at once, so that an in-place activation further on cannot change what was kept.
            flat = output.flatten(2) if output.ndim > 2 else output[..., None]
            wanted = self.further if flat.shape[-1] > 1 else ()
            own = flat.clone() if wanted else flat  # their gradients look at the values again, a mean's does not
            found[name] = {f"{name} {what}": STATISTICS[what](own) for what in wanted}
            found[name][name] = flat.mean(-1)

        with self._turn, _output_hooks({name: functools.partial(keep, name) for name in self.layer_names}, self.net):
            logits = self(x)
        return logits, {what: z for name in self.layer_names for what, z in found[name].items()}

    def seeing(self, *further: str) -> Classifier:
        """The same network, whose `features` also gives these statistics, names in STATISTICS, of every layer."""
        wider = dataclasses.replace(self, further=further)
        object.__setattr__(wider, "_turn", self._turn)  # one network, so calls of both take turns
        return wider

    @functools.cached_property
    def merged(self) -> Classifier:
        """The same classifier with each batch normalisation merged into the convolution before it, for attacks: a tenth
        to a fifth less time for a gradient, and outputs that differ by rounding only. Itself where that cannot be done.
        """
        twin = dataclasses.replace(self, net=merge_norms(self.net))
        generator = torch.Generator().manual_seed(0)
        probe = torch.rand(2, *self.input_shape, generator=generator)
        with torch.no_grad():
            (logits, layers), (same, others) = self.features(probe), twin.features(probe)
        pairs = [(logits, same), *((z, others[name]) for name, z in layers.items())]
        return twin if all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs) else self

    def dropout_logits(self, x: Tensor, passes: int, seed: int) -> Tensor:
        """Logits (passes, N, K) of Monte-Carlo dropout, without gradient.

        The network stays in evaluation mode, where dropout does nothing: hooks multiply its output by masks from a
        private generator. A mask has no batch axis of its own, so all samples meet the same thinned networks and none
        depends on its neighbours. Gal and Ghahramani 2016, "Dropout as a Bayesian approximation",
        https://arxiv.org/abs/1506.02142. InputError if the network has no dropout.
        """
        dropouts = self._dropouts()
        if not dropouts:
            raise InputError(
                f"Model {self.name!r} has no dropout layer, so there is no dropout uncertainty: leave BU out."
            )
        with torch.no_grad():
            if self.thins_head_only:  # everything before the head is the same in every pass: run it once
                return self.thinned_heads(self.features(x)[1][self.layer_names[-1]], passes, seed)
            return self._thinned(functools.partial(self, x), passes, seed)

    @property
    def thins_head_only(self) -> bool:
        """Whether all dropout lies in the head, so that the penultimate features suffice for Monte-Carlo dropout."""
        dropouts = self._dropouts()
        return bool(dropouts) and all(path.startswith(f"{self.head}.") or path == self.head for path in dropouts)

    def thinned_heads(self, feature: Tensor, passes: int, seed: int) -> Tensor:
        """The same as dropout_logits, from penultimate features (N, C), where `thins_head_only`."""
        return self._thinned(functools.partial(self.net.get_submodule(self.head), feature), passes, seed)

    def _dropouts(self) -> dict[str, Any]:
        kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
        return {path: m for path, m in self.net.named_modules() if isinstance(m, kinds) and m.p > 0}

    def _thinned(self, run: Callable[[], Tensor], passes: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)

        def thin(module: Any, output: Tensor) -> Tensor:
            whole_channels = not isinstance(module, nn.Dropout)
            shape = (1, output.shape[1], *[1] * (output.ndim - 2)) if whole_channels else (1, *output.shape[1:])
            kept = (torch.rand(shape, generator=generator) >= module.p).to(output)
            return output * kept / max(1 - module.p, 1e-6)

        actions = {path: functools.partial(thin, module) for path, module in self._dropouts().items()}
        with self._turn, torch.no_grad(), _output_hooks(actions, self.net):
            return torch.stack([run() for _ in range(passes)])

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of everything an output depends on: weights, architecture and settings."""
        settings: list[Any] = [
            repr(self.net),
            self.class_names,
            self.layer_names,
            self.head,
            self.input_shape,
            self.mean,
            self.std,
            *self.further,
        ]
        found = hashlib.sha256(json.dumps(settings).encode())
        for name, tensor in sorted(self.net.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


@contextmanager
def _output_hooks(actions: Mapping[str, Callable[[Tensor], Tensor | None]], net: nn.Module) -> Iterator[None]:
    """While active, `actions[path]` sees the output of module `path`; a tensor that it returns replaces the output."""
    handles = []
    try:
        for path, action in actions.items():
            hook = lambda module, inputs, output, action=action: action(output)  # noqa: E731
            handles.append(net.get_submodule(path).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shape(*sizes: object) -> str:
    return " x ".join(map(str, sizes))
