"""Classifiers: pooled layers, the penultimate feature, Monte-Carlo dropout, files. Oracles are computed by hand here."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from hfcviz.classifiers import Classifier
from hfcviz.models import MODELS, load_model, save_model
from hfcviz.networks import (
    build_densenet,
    build_resnet,
    build_vgg,
    densenet_layers,
    merge_norms,
    resnet_layers,
    vgg_layers,
)
from hfcviz.settings import InputError

ROOT = Path(__file__).resolve().parent.parent
TINY = {"in_channels": 1, "classes": 3, "widths": (4, 6, 8, 10), "blocks": (1, 1, 1, 2), "dropout": 0.4}


def tiny(spatial_dims: int = 2, **changes) -> Classifier:
    torch.manual_seed(0)
    net = build_resnet(spatial_dims=spatial_dims, **(TINY | changes))
    # Running statistics unlike those of a fresh network, so that train mode would show.
    for module in net.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    shape = (1, *[32] * spatial_dims)
    return Classifier(net, "tiny", ("a", "b", "c"), resnet_layers((1, 1, 1, 2)), "fc", shape, mean=0.3, std=0.2)


def images(classifier: Classifier, count: int = 4) -> torch.Tensor:
    return torch.rand(count, *classifier.input_shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_layers_are_spatial_means_in_order_of_depth(spatial_dims):
    classifier = tiny(spatial_dims)
    x = images(classifier)
    logits, layers = classifier.features(x)
    assert list(layers) == ["layer1.0", "layer2.0", "layer3.0", "layer4.0", "layer4.1"]

    net, h = classifier.net, (x - 0.3) / 0.2
    h = net.maxpool(net.act(net.bn1(net.conv1(h))))
    for name, width in zip(layers, (4, 6, 8, 10, 10), strict=True):
        h = net.get_submodule(name)(h)
        assert layers[name].shape == (4, width)
        torch.testing.assert_close(layers[name], h.mean(dim=tuple(range(2, h.ndim))))
    torch.testing.assert_close(logits, classifier(x))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_head_of_the_last_layer_gives_the_logits(spatial_dims):
    classifier = tiny(spatial_dims)
    logits, layers = classifier.features(images(classifier))
    torch.testing.assert_close(classifier.net.fc(layers["layer4.1"]), logits)


class InPlace(nn.Module):
    """Layers whose outputs a later in-place ReLU overwrites."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.middle, self.fc = (
            nn.Conv2d(1, 3, 3),
            nn.ReLU(inplace=True),
            nn.Linear(3, 5),
            nn.Linear(5, 2),
        )

    def forward(self, x):
        h = self.relu(self.conv(x)).mean((2, 3))
        return self.fc(self.relu(self.middle(h)))


def test_layers_are_kept_as_they_were_before_an_in_place_activation():
    torch.manual_seed(1)
    net = InPlace()
    classifier = Classifier(net, "in place", ("a", "b"), ("conv", "middle"), "fc", (1, 9, 9))
    x = torch.randn(6, 1, 9, 9)
    layers = classifier.features(x)[1]
    convolved = net.conv(x)
    torch.testing.assert_close(layers["conv"], convolved.mean((2, 3)))
    middle = net.middle(convolved.relu().mean((2, 3)))
    torch.testing.assert_close(layers["middle"], middle)
    assert (middle < 0).any() and (convolved < 0).any()


def test_gradients_reach_the_image_and_equal_a_finite_difference():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)).double()
    classifier = Classifier(net, "smooth", ("a", "b"), ("1", "3"), "4", (1, 6, 6), mean=0.4, std=0.3)

    def value(x):
        logits, layers = classifier.features(x)
        return logits[:, 0].sum() + sum((v**2).sum() for v in layers.values())

    x = torch.rand(2, 1, 6, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(value, (x,))


def test_the_network_and_the_global_random_state_stay_as_they_were():
    torch.manual_seed(3)
    net = build_resnet(**TINY).train()
    classifier = Classifier(net, "tiny", ("a", "b", "c"), resnet_layers((1, 1, 1, 2)), "fc", (1, 32, 32))
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())

    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state, x = torch.get_rng_state(), images(classifier)
    classifier(x), classifier.features(x), classifier.dropout_logits(x, 3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_hooks_go_away_even_when_the_network_fails():
    classifier = tiny()
    classifier.net.fc = nn.Linear(99, 3)
    with pytest.raises(RuntimeError):
        classifier.features(images(classifier))
    assert not any(module._forward_hooks for module in classifier.net.modules())


def test_a_wrong_input_shape_names_both_shapes():
    with pytest.raises(InputError, match=r"N x 1 x 32 x 32; got 2 x 1 x 31 x 32"):
        tiny()(torch.zeros(2, 1, 31, 32))
    with pytest.raises(InputError, match="got 1 x 32 x 32"):
        tiny()(torch.zeros(1, 32, 32))


def test_an_unknown_layer_is_refused():
    with pytest.raises(InputError, match="'layer9', but its network has no such module"):
        Classifier(build_resnet(**TINY), "tiny", ("a", "b", "c"), ("layer9",), "fc", (1, 32, 32))


class DropoutInBody(nn.Module):
    """Dropout of single values, of whole channels, and in the head."""

    def __init__(self):
        super().__init__()
        self.conv, self.channels, self.values = nn.Conv2d(1, 6, 3), nn.Dropout2d(0.5), nn.Dropout(0.3)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 2))

    def forward(self, x):
        return self.head(self.pool(self.values(self.channels(self.conv(x)))).flatten(1))


def body_dropout() -> Classifier:
    torch.manual_seed(4)
    return Classifier(DropoutInBody(), "body", ("a", "b"), ("conv", "pool"), "head", (1, 8, 8))


@pytest.mark.parametrize("make", [tiny, body_dropout])
def test_dropout_passes_do_not_depend_on_the_rest_of_the_batch(make):
    classifier = make()
    x = images(classifier, 5)
    together = classifier.dropout_logits(x, 6, seed=11)
    alone = torch.cat([classifier.dropout_logits(x[i : i + 1], 6, seed=11) for i in range(5)], dim=1)
    assert together.shape == (6, 5, len(classifier.class_names))
    torch.testing.assert_close(together, alone)
    assert torch.equal(together, classifier.dropout_logits(x, 6, seed=11))
    assert not torch.allclose(together, classifier.dropout_logits(x, 6, seed=12))
    assert together.std(dim=0).min() > 0


def test_dropout_passes_average_to_the_ordinary_logits_with_the_right_spread():
    """For a linear head after dropout p, the mean is exact and the variance is p/(1-p) * sum (w_i z_i)^2."""
    classifier = tiny()
    x = images(classifier, 2)
    logits, layers = classifier.features(x)
    passes = classifier.dropout_logits(x, 20_000, seed=5)
    weights = classifier.net.fc[1].weight
    expected = 0.4 / 0.6 * ((layers["layer4.1"][:, None, :] * weights) ** 2).sum(-1)
    torch.testing.assert_close(passes.var(dim=0), expected, rtol=0.05, atol=0)
    error = (passes.mean(dim=0) - logits).abs() / (expected / 20_000).sqrt()
    assert error.max() < 4.5


def test_channel_dropout_drops_whole_channels():
    torch.manual_seed(6)
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Dropout2d(0.5), nn.Flatten(), nn.Identity())
    classifier = Classifier(net, "channels", tuple("abcdefgh"), ("0",), "3", (1, 3, 3))
    passes = classifier.dropout_logits(torch.rand(1, 1, 3, 3) + 1, 20, seed=0).reshape(20, 8, 9)
    dropped = (passes == 0).sum(-1)
    assert set(dropped.unique().tolist()) == {0, 9}


def test_a_network_without_dropout_says_so():
    classifier = tiny(dropout=0.0)
    with pytest.raises(InputError, match="has no dropout"):
        classifier.dropout_logits(images(classifier), 2, seed=0)


def test_digest_changes_with_weights_and_settings_only():
    first, second = tiny(), tiny()
    assert first.digest == second.digest and len(first.digest) == 64
    second = tiny()
    second.net.fc[1].bias[0] += 1e-6
    assert second.digest != first.digest
    other = Classifier(first.net, "tiny", first.class_names, first.layer_names, "fc", first.input_shape, 0.3, 0.21)
    assert other.digest != first.digest
    assert tiny(dropout=0.1).digest != first.digest


def architecture(**changes) -> dict:
    return {"name": "resnet", **TINY, **changes}


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_model_comes_back_exactly(tmp_path, half):
    classifier = tiny()
    if half:
        state = {k: v.half().float() if v.is_floating_point() else v for k, v in classifier.net.state_dict().items()}
        classifier.net.load_state_dict(state)
    save_model(classifier, tmp_path / "m", architecture(), {"seed": 1})
    state = torch.get_rng_state()
    loaded = load_model(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), state)
    x = images(classifier)
    assert torch.equal(loaded(x), classifier(x))
    assert loaded.digest == classifier.digest
    assert (loaded.name, loaded.class_names, loaded.input_shape) == ("tiny", ("a", "b", "c"), (1, 32, 32))
    assert {p.dtype for p in loaded.net.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.net.parameters()) and not loaded.net.training
    size = (tmp_path / "m" / "classifier.safetensors").stat().st_size
    floats = sum(v.numel() for v in classifier.net.state_dict().values())
    assert size < (3 if half else 6) * floats + 10_000


def test_missing_and_damaged_models_are_input_errors(tmp_path):
    with pytest.raises(InputError, match=r"does not exist; bundled: brain2d-resnet18"):
        load_model("nothing here")
    folder = tmp_path / "m"
    classifier = tiny()
    save_model(classifier, folder, architecture())
    weights, about = folder / "classifier.safetensors", folder / "classifier.json"
    good_weights, good_about = weights.read_bytes(), about.read_text()

    for bad in (b"", good_weights[:100], good_weights[:-50], b"\x80\x04pickle" * 50):
        weights.write_bytes(bad)
        with pytest.raises(InputError, match="damaged"):
            load_model(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"classifier\.safetensors, which does not exist"):
        load_model(folder)
    weights.write_bytes(good_weights)

    described = json.loads(good_about)
    wider = described | {"architecture": architecture(widths=[4, 6, 8, 12])}
    unknown = described | {"architecture": {"name": "transformer"}}
    strange = described | {"architecture": architecture(depth=3)}
    lacking = {key: value for key, value in described.items() if key != "input_shape"}
    flat = described | {"std": 0.0}
    for bad in ("{", "[]", *map(json.dumps, (wider, unknown, strange, lacking, flat))):
        about.write_text(bad)
        with pytest.raises(InputError) as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)
    about.write_text(good_about)
    assert load_model(folder).digest == classifier.digest

    classifier.net.fc[1].bias[0] = torch.nan
    save_model(classifier, folder, architecture())
    with pytest.raises(InputError, match="finite"):
        load_model(folder)


@pytest.mark.parametrize("name", MODELS)
def test_bundled_models_load_and_keep_their_promises(name):
    classifier = load_model(name)
    record = json.loads((MODELS[name] / "classifier.json").read_text())["training"]
    if name == "brain2d-resnet18":
        assert record["test_accuracy"] >= 0.97
    else:
        assert record["test"]["auc"] >= 0.95
    assert classifier.name == name
    x = torch.rand(2, *classifier.input_shape)
    logits, layers = classifier.features(x)
    assert logits.shape == (2, len(classifier.class_names))
    assert list(layers) == list(classifier.layer_names) and len(layers) >= 5
    torch.testing.assert_close(
        classifier.net.get_submodule(classifier.head)(layers[classifier.layer_names[-1]]), logits
    )
    assert classifier.dropout_logits(x, 4, seed=0).std(dim=0).min() > 0


def test_loading_a_model_does_not_load_the_compiler_of_pytorch():
    # It costs seconds before the first picture.
    code = "import sys; from hfcviz.models import load_model; load_model('brain2d-resnet18'); print('torch._dynamo' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_vgg_halves_before_every_block_but_the_first_and_its_head_sees_the_last_layer(spatial_dims):
    widths, depths = (2, 3, 4), (1, 2, 1)
    net = build_vgg(spatial_dims, 2, 3, widths, depths)
    shape = (2, *[16] * spatial_dims)
    classifier = Classifier(net, "vgg", ("a", "b", "c"), vgg_layers(depths), "fc", shape)
    x = torch.rand(2, *shape)
    sizes = []
    handles = [
        net.get_submodule(f"block{n}").register_forward_hook(lambda m, i, o: sizes.append(o.shape)) for n in (1, 2, 3)
    ]
    logits, layers = classifier.features(x)
    for handle in handles:
        handle.remove()
    assert [tuple(size) for size in sizes] == [(2, w, *[16 >> n] * spatial_dims) for n, w in enumerate(widths)]
    assert list(layers) == ["block1", "block2", "block3"]
    torch.testing.assert_close(net.fc[1](layers["block3"]), logits)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    assert len(convolutions) == 4 and all(m.kernel_size == (3,) * spatial_dims for m in convolutions)


def test_a_vgg_comes_back_from_its_folder(tmp_path):
    settings = {"widths": (2, 3, 4), "depths": (1, 2, 1)}
    classifier = Classifier(build_vgg(**settings), "vgg", ("a", "b"), vgg_layers(settings["depths"]), "fc", (1, 16, 16))
    save_model(classifier, tmp_path, {"name": "vgg", **settings})
    x = torch.rand(3, 1, 16, 16)
    assert torch.equal(load_model(tmp_path)(x), classifier(x))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_densenet_keeps_what_came_before_and_its_head_sees_the_last_activation(spatial_dims):
    net = build_densenet(spatial_dims, 2, 3, first=4, growth=3, blocks=(2, 1))
    shape = (2, *[16] * spatial_dims)
    classifier = Classifier(net, "dense", ("a", "b", "c"), densenet_layers((2, 1)), "fc", shape)
    logits, layers = classifier.features(torch.rand(2, *shape))
    # By hand: 4 + 2 x 3 channels leave the first block, a transition halves them, 5 + 3 leave the second.
    assert {name: z.shape[1] for name, z in layers.items()} == {
        "denseblock1": 10,
        "transition1": 5,
        "denseblock2": 8,
        "relu": 8,
    }
    assert layers["relu"].min() >= 0
    torch.testing.assert_close(net.fc[1](layers["relu"]), logits)


def test_a_densenet_comes_back_from_its_folder(tmp_path):
    settings = {"spatial_dims": 3, "first": 4, "growth": 3, "blocks": (2, 1)}
    classifier = Classifier(
        build_densenet(**settings), "dense", ("a", "b"), densenet_layers((2, 1)), "fc", (1, 16, 16, 16)
    )
    save_model(classifier, tmp_path, {"name": "densenet", **settings})
    x = torch.rand(2, 1, 16, 16, 16)
    assert torch.equal(load_model(tmp_path)(x), classifier(x))


def test_norms_behind_their_convolution_in_a_densenet_are_merged_and_all_others_kept():
    net = _shifted_norms(build_densenet(3, 1, 2, first=4, growth=3, blocks=(2, 1)))
    merged = merge_norms(net)
    x = torch.rand(2, 1, 16, 16, 16)
    torch.testing.assert_close(merged(x), net(x), rtol=1e-4, atol=1e-5)
    kept = [name for name, module in merged.named_modules() if isinstance(module, nn.BatchNorm3d)]
    # norm0 and each norm2 follow their convolution; norm1, the transition's norm and norm5 stand before one.
    assert len(kept) == 5 and not any(name.endswith(("norm0", "norm2")) for name in kept)


def _shifted_norms(net: nn.Module) -> nn.Module:
    """The network in evaluation mode with running statistics unlike those of a fresh one."""
    for module in net.eval().modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


def test_threads_that_share_a_network_do_not_meet_in_its_hooks():
    classifier = tiny()
    x = images(classifier, 8)
    alone = [classifier.features(one[None])[1]["layer4.1"] for one in x]
    wrong = []

    def ask(row: int) -> None:
        for _ in range(30):
            if not torch.equal(classifier.features(x[row][None])[1]["layer4.1"], alone[row]):
                wrong.append(row)

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Attacks look at a twin


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_merged_twin_computes_the_same_with_no_norm_left(spatial_dims):
    classifier = tiny(spatial_dims)
    twin, x = classifier.merged, images(classifier)
    norms = (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    assert any(isinstance(module, norms) for module in classifier.net.modules())
    assert not any(isinstance(module, norms) for module in twin.net.modules())
    (logits, layers), (same, others) = classifier.features(x), twin.features(x)
    torch.testing.assert_close(same, logits, rtol=1e-4, atol=1e-5)
    for name, z in layers.items():
        torch.testing.assert_close(others[name], z, rtol=1e-4, atol=1e-5)
    assert not any(weight.requires_grad for weight in twin.net.parameters())
    assert classifier.merged is twin


def test_where_the_order_of_modules_misleads_nothing_is_merged():
    class Crossed(torch.nn.Module):
        """Its norm is declared behind the convolution, but runs before it."""

        def __init__(self):
            super().__init__()
            self.conv, self.bn = torch.nn.Conv2d(1, 1, 3), torch.nn.BatchNorm2d(1)
            self.pool, self.fc = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(1, 2)

        def forward(self, x):
            return self.fc(self.pool(self.conv(self.bn(x))).flatten(1))

    torch.manual_seed(0)
    net = Crossed()
    net.bn.running_mean.fill_(0.7)
    net.bn.running_var.fill_(0.2)
    classifier = Classifier(net, "crossed", ("a", "b"), ("conv",), "fc", (1, 8, 8))
    assert classifier.merged is classifier


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_spread_and_largest_value_stand_before_the_mean_of_each_layer_and_are_what_numpy_says(spatial_dims):
    model = tiny(spatial_dims)
    x = torch.rand(3, *model.input_shape)
    logits, layers = model.seeing("spread", "largest").features(x)
    plain_logits, plain = model.features(x)
    first, *_, last = model.layer_names
    assert list(layers)[:3] == [f"{first} spread", f"{first} largest", first]
    assert list(layers)[-1] == last  # still the penultimate feature; its output has a single place, so no spread
    assert f"{last} spread" not in layers
    assert torch.equal(logits, plain_logits) and all(torch.equal(layers[name], plain[name]) for name in plain)
    kept = {}
    module = model.net.get_submodule(first)
    handle = module.register_forward_hook(lambda m, i, output: kept.update(whole=output.flatten(2).double().numpy()))
    model(x)
    handle.remove()
    assert layers[f"{first} spread"].numpy() == pytest.approx(kept["whole"].std(-1), abs=1e-5)
    assert layers[f"{first} largest"].numpy() == pytest.approx(kept["whole"].max(-1))


def test_further_statistics_have_finite_gradients_before_an_in_place_activation_and_on_constant_images():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    model = Classifier(net, "in place", ("a", "b"), ("0", "3"), "4", (1, 4, 4)).seeing("spread", "largest")
    x = torch.cat([torch.rand(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.5)]).requires_grad_()
    _, layers = model.features(x)
    assert list(layers) == ["0 spread", "0 largest", "0", "3"]  # the last one has a single place
    (gradient,) = torch.autograd.grad(sum(z.sum() for z in layers.values()), x)
    assert bool(gradient.isfinite().all()) and float(gradient[0].abs().max()) > 0


def test_a_network_that_sees_more_takes_turns_with_itself_and_has_a_digest_of_its_own():
    model = tiny()
    wider = model.seeing("spread")
    assert wider.net is model.net and wider._turn is model._turn
    assert wider.digest != model.digest and model.seeing().digest == model.digest
    x = torch.rand(2, *model.input_shape)
    assert torch.equal(wider.dropout_logits(x, 3, 0), model.dropout_logits(x, 3, 0))
    assert not any(module._forward_hooks for module in wider.net.modules())
