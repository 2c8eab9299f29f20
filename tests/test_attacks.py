"""Attacks: what each must reach on an exactly linear network, the ball, independence of samples, and what must stay untouched."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import images, linear, tiny_cnn
from scipy.ndimage import gaussian_filter

from hfcviz.activations import extract
from hfcviz.attacks import ATTACKS, LOSSES, Attack, diversified, run, runner_up, uniform_noise
from hfcviz.penalties import HFC
from hfcviz.settings import InputError
from hfcviz.traces import Recorder, Trace

EPS = 8 / 255
EXACT = [name for name, attack in ATTACKS.items() if not attack.smoothing]
"""Attacks that follow the sign of the gradient itself."""


def constraint(classifier, **settings):
    """HFC fitted on random images under arbitrary labels."""
    x = images(classifier, 40, seed=99)
    return HFC(**settings).fit(extract(classifier, x), np.arange(40) % len(classifier.class_names))


NETWORKS = {"2-D": tiny_cnn(2), "3-D": tiny_cnn(3, classes=3)}
CONSTRAINTS = {name: constraint(classifier) for name, classifier in NETWORKS.items()}


def rows(classifier):
    """w_target - w_other for target 1 of two classes, in the shape of an image."""
    weight = classifier.net.fc.weight
    return (weight[1] - weight[0]).view(classifier.input_shape)


def gaps(classifier, x):
    """Logit of class 1 minus that of class 0."""
    logits = classifier(x)
    return logits[:, 1] - logits[:, 0]


# On a linear network the answer is known


@pytest.mark.parametrize("name", EXACT)
def test_on_a_linear_network_every_attack_ends_in_the_corner_of_the_ball(name):
    classifier = linear()
    x = images(classifier, 5)
    found = run(ATTACKS[name].replace(eps=EPS), classifier, x, torch.ones(5, dtype=torch.long))
    corner = (x + EPS * rows(classifier).sign()).clamp(0, 1)
    torch.testing.assert_close(found, corner, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", EXACT)
def test_on_a_linear_network_the_logit_gap_grows_by_eps_times_the_l1_norm(name):
    classifier = linear((1, 3, 4, 5))
    x = images(classifier, 3, low=0.2, high=0.8)
    found = run(ATTACKS[name].replace(eps=EPS), classifier, x, torch.ones(3, dtype=torch.long))
    gained = gaps(classifier, found) - gaps(classifier, x)
    torch.testing.assert_close(gained, torch.full((3,), EPS * float(rows(classifier).abs().sum())), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", EXACT)
def test_the_smallest_eps_that_flips_a_linear_network_is_its_exact_linf_distance(name):
    classifier = linear(seed=3)
    x = images(classifier, 20, low=0.3, high=0.7)
    distance = gaps(classifier, x).abs() / rows(classifier).abs().sum()
    one = x[int(distance.argmax())][None]
    exact, target = float(distance.max()), 1 - classifier(one).argmax(1)
    assert 0.01 < exact < 0.3, "no pixel may reach black or white"
    for factor, flipped in ((0.999, False), (1.001, True)):
        found = run(ATTACKS[name].replace(eps=factor * exact), classifier, one, target)
        assert bool(classifier(found).argmax(1) == target) is flipped


@pytest.mark.parametrize("shape", [(1, 24, 20), (2, 12, 14, 16)], ids=["2-D", "3-D"])
def test_on_a_linear_network_a_smoothed_gradient_ends_in_the_corner_of_the_smoothed_weights(shape):
    classifier = linear(shape)
    x = images(classifier, 2, low=0.2, high=0.8)
    found = run(ATTACKS["TIM"].replace(eps=EPS), classifier, x, torch.ones(2, dtype=torch.long))
    weights = rows(classifier).detach().numpy()
    wide = gaussian_filter(weights, 3, mode="constant", truncate=2.5, axes=range(1, weights.ndim))
    far = np.abs(wide) > 1e-6 * np.abs(wide).max()
    expected = np.broadcast_to(EPS * np.sign(wide), found.shape)[:, far]
    np.testing.assert_allclose((found - x).numpy()[:, far], expected, atol=1e-6)
    assert (np.sign(wide) != np.sign(weights)).mean() > 0.1, "else nothing is smoothed"


@pytest.mark.parametrize("target", [0, 1, 2])
def test_among_three_classes_the_first_step_follows_the_gradient_of_the_loss(target):
    classifier = linear(classes=3)
    x = images(classifier, 4, low=0.2, high=0.8)
    weight = classifier.net.fc.weight
    p = classifier(x).softmax(1)
    gradient = (p @ weight - weight[target]).view_as(x)  # sum_c p_c w_c - w_t
    found = run(ATTACKS["FGSM"].replace(eps=EPS), classifier, x, torch.full((4,), target))
    torch.testing.assert_close(found, x - EPS * gradient.sign())

    others = classifier(x)
    others[:, target] = -torch.inf
    rival = (weight[others.argmax(1)] - weight[target]).view_as(x)
    found = run(ATTACKS["C&W"].replace(eps=EPS, steps=1), classifier, x, torch.full((4,), target))
    torch.testing.assert_close(found, x - EPS * rival.sign())


def test_a_penalty_adds_its_own_gradient_to_the_step():
    classifier = linear()
    clean = images(classifier, 60, seed=5)
    fitted = HFC(weight=3, regularisation=0.1).fit(extract(classifier, clean), np.arange(60) % 2)
    x = images(classifier, 4, seed=6, low=0.2, high=0.8)
    z = clean[1::2].flatten(1).double().numpy()
    covariance = np.cov(z.T, bias=True) + 0.1 * z.var(0).mean() * np.eye(16)
    pull = np.linalg.solve(covariance, (x.flatten(1).numpy() - z.mean(0)).T).T
    push = -(1 - classifier(x).softmax(1)[:, 1:]).numpy() * rows(classifier).flatten().numpy()
    expected = push + 3 / 16 * 2 * pull
    step = (
        x - run(ATTACKS["FGSM"].replace(eps=EPS), classifier, x, torch.ones(4, dtype=torch.long), penalty=fitted)
    ) / EPS
    sure = np.abs(expected) > 1e-3
    np.testing.assert_allclose(step.flatten(1).numpy()[sure], np.sign(expected)[sure], atol=1e-4)
    assert (np.sign(push) != np.sign(expected)).mean() > 0.1, "the penalty had no say"


def test_losses_are_those_of_the_books():
    logits = torch.tensor([[1.0, 4.0, 2.0]] * 3)
    target = torch.tensor([0, 1, 2])
    assert LOSSES["margin"](logits, target).tolist() == [3.0, -2.0, 2.0]
    total = math.log(math.e + math.e**4 + math.e**2)
    expected = torch.tensor([total - 1, total - 4, total - 2])
    torch.testing.assert_close(LOSSES["cross-entropy"](logits, target), expected)


def test_momentum_accumulates_gradients_over_their_l1_norm():
    classifier = tiny_cnn(3, classes=3)
    x, target = images(classifier, 4), torch.tensor([0, 1, 2, 0])
    # Steps so coarse that the gradients change, and with them the weight that a norm gives each.
    attack = Attack(eps=0.9, steps=4, step_size=0.3, momentum=0.7, random_start=False)
    for i in range(4):
        now, velocity = x[i : i + 1].clone(), torch.zeros(1, *x.shape[1:])
        for _ in range(4):
            now.requires_grad_()
            loss = -classifier(now).log_softmax(1)[0, target[i]]
            (g,) = torch.autograd.grad(loss, now)
            velocity = 0.7 * velocity + g / g.abs().sum()
            now = (now.detach() - 0.3 * velocity.sign()).clamp(0, 1)
            now = x[i] + (now - x[i]).clamp(-0.9, 0.9)
        found = run(attack, classifier, x[i : i + 1], target[i : i + 1])
        torch.testing.assert_close(found, now, atol=1e-6, rtol=0)
        plain = run(attack.replace(momentum=0), classifier, x[i : i + 1], target[i : i + 1])
        assert not torch.allclose(found, plain, atol=1e-3), "momentum changed nothing"


@pytest.mark.parametrize("dims", NETWORKS)
@pytest.mark.parametrize("name", ATTACKS)
def test_the_probability_of_the_target_rises(name, dims):
    classifier = NETWORKS[dims]
    x = images(classifier, 6)
    before = classifier(x).softmax(1)
    for target in range(len(classifier.class_names)):
        attack = ATTACKS[name].replace(eps=EPS, steps=min(8, ATTACKS[name].steps))
        found = run(attack, classifier, x, torch.full((6,), target))
        assert (classifier(found).softmax(1)[:, target] > before[:, target]).all()


# The ball


@pytest.mark.parametrize("dims", NETWORKS)
@pytest.mark.parametrize("penalty", ["none", "HFC"])
@pytest.mark.parametrize("name", ATTACKS)
def test_eps_zero_gives_the_clean_images_bit_by_bit(name, penalty, dims):
    classifier = NETWORKS[dims]
    x = images(classifier, 2)
    fitted = CONSTRAINTS[dims] if penalty == "HFC" else None
    found = run(ATTACKS[name].replace(eps=0, steps=2), classifier, x, torch.tensor([0, 1]), penalty=fitted, seeds=4)
    assert torch.equal(found, x)


@pytest.mark.parametrize("dims", NETWORKS)
@pytest.mark.parametrize("penalty", ["none", "HFC"])
@pytest.mark.parametrize("name", ATTACKS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    eps=st.floats(0, 1, width=32),
    steps=st.integers(1, 4),
    step_size=st.none() | st.floats(0, 1, width=32),
    seed=st.integers(0, 99),
)
def test_results_stay_in_the_ball_and_in_the_grey_range(name, penalty, dims, eps, steps, step_size, seed):
    classifier = NETWORKS[dims]
    x = images(classifier, 2, seed)
    x[:, :, 0], x[:, :, -1] = 0, 1
    fitted = CONSTRAINTS[dims] if penalty == "HFC" else None
    attack = ATTACKS[name].replace(eps=eps, steps=steps, step_size=step_size)
    found = run(attack, classifier, x, torch.tensor([0, 1]), penalty=fitted, seeds=seed)
    assert found.shape == x.shape and found.dtype == x.dtype
    assert float((found - x).abs().max()) <= eps + 1e-6
    assert float(found.min()) >= 0 and float(found.max()) <= 1


def test_automatic_step_is_two_and_a_half_eps_over_steps_and_never_more_than_eps():
    assert Attack(eps=0.1, steps=40).step == pytest.approx(0.00625)
    assert Attack(eps=0.1, steps=1).step == 0.1
    assert Attack(eps=0.1, steps=40, step_size=0.02).step == 0.02


# Random start


def test_the_random_start_is_uniform_in_the_whole_ball():
    noise = uniform_noise((1, 100, 100), 0.1, [3])
    assert noise.shape == (1, 1, 100, 100)
    shares = torch.histc(noise, 10, -0.1, 0.1) / noise.numel()
    assert noise.abs().max() <= 0.1
    assert ((shares - 0.1).abs() < 0.015).all()


def test_the_seed_alone_decides_the_random_start():
    classifier = tiny_cnn()
    x = images(classifier, 1)
    attack = Attack(eps=EPS, steps=1, step_size=0)
    start = [run(attack, classifier, x, torch.tensor([1]), seeds=seed) for seed in (5, 5, 6)]
    assert torch.equal(start[0], start[1])
    assert not torch.allclose(start[0], start[2], atol=EPS / 4)
    assert (start[0] - x).abs().max() > EPS / 2
    steady = [run(ATTACKS["BIM"].replace(steps=1), classifier, x, torch.tensor([1]), seeds=seed) for seed in (5, 6)]
    assert torch.equal(*steady)


# Samples do not meet


@pytest.mark.parametrize("penalty", ["none", "HFC"])
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("dims", NETWORKS)
def test_a_batch_gives_what_its_samples_give_one_by_one(name, penalty, dims):
    classifier = NETWORKS[dims]
    x = images(classifier, 5) * torch.linspace(0.2, 1, 5).view(-1, *[1] * len(classifier.input_shape))
    target, seeds = torch.arange(5) % len(classifier.class_names), [11, 3, 7, 3, 20]
    fitted = CONSTRAINTS[dims] if penalty == "HFC" else None
    attack = ATTACKS[name].replace(eps=EPS, steps=min(5, ATTACKS[name].steps))
    together = run(attack, classifier, x, target, penalty=fitted, seeds=seeds)
    for size in (1, 2):
        pieces = run(attack, classifier, x, target, penalty=fitted, seeds=seeds, batch_size=size)
        torch.testing.assert_close(pieces, together, atol=1e-6, rtol=0)
    for i in range(5):
        alone = run(attack, classifier, x[i : i + 1], target[i : i + 1], penalty=fitted, seeds=seeds[i])
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-6, rtol=0)


# What must stay untouched


class Stop(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("penalty", ["none", "HFC"])
def test_network_input_and_global_state_stay_as_they_were_even_when_stopped(fails, penalty):
    classifier = tiny_cnn()
    x = images(classifier, 3)
    before, target = x.clone(), torch.tensor([0, 1, 0])
    weights = {name: tensor.clone() for name, tensor in classifier.net.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()

    def progress(share, what):
        if fails and share > 0.4:
            raise Stop

    fitted = CONSTRAINTS["2-D"] if penalty == "HFC" else None
    try:
        run(Attack(steps=4), classifier, x, target, penalty=fitted, seeds=1, batch_size=2, progress=progress)
    except Stop:
        assert fails
    else:
        assert not fails

    assert torch.equal(x, before) and not x.requires_grad and target.tolist() == [0, 1, 0]
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.is_grad_enabled()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in classifier.net.state_dict().items())
    for module in classifier.net.modules():
        assert not module.training
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
    assert all(not p.requires_grad and p.grad is None for p in classifier.net.parameters())


def test_the_result_carries_no_graph():
    classifier = tiny_cnn()
    x = images(classifier, 2).requires_grad_()
    found = run(Attack(steps=2), classifier, x, torch.tensor([0, 1]))
    assert not found.requires_grad and x.grad is None


# Observer and progress


@pytest.mark.parametrize("dims", NETWORKS)
def test_the_trace_holds_every_state_from_start_to_result(dims):
    classifier = NETWORKS[dims]
    x, target, seeds = images(classifier, 3), torch.tensor([0, 1, 1]), [4, 5, 6]
    recorder = Recorder(target, 4)
    attack = Attack(eps=EPS, steps=4)
    found = run(attack, classifier, x, target, penalty=CONSTRAINTS[dims], seeds=seeds, batch_size=2, observe=recorder)
    trace = recorder.trace()

    start = (x + uniform_noise(x.shape[1:], EPS, seeds)).clamp(0, 1)
    assert trace.linf.shape == trace.confidence.shape == (5, 3)
    for place, state in ((0, start), (-1, found)):
        np.testing.assert_allclose(trace.linf[place], (state - x).flatten(1).abs().amax(1), atol=1e-7)
        logits, layers = classifier.features(state)
        np.testing.assert_allclose(trace.confidence[place], logits.softmax(1)[torch.arange(3), target], rtol=1e-4)
        np.testing.assert_allclose(trace.terms["cross-entropy"][place], -np.log(trace.confidence[place]), rtol=1e-3)
        terms = CONSTRAINTS[dims](layers, target)
        assert list(trace.features) == list(layers) and set(trace.terms) == {"cross-entropy", *layers}
        for name, z in layers.items():
            np.testing.assert_allclose(trace.features[name][place], z, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(trace.terms[name][place], terms[name], rtol=1e-3)
    assert trace.features["block2"].shape == (5, 3, 6)


def test_looking_on_changes_nothing():
    classifier = tiny_cnn()
    x, target = images(classifier, 2), torch.tensor([0, 1])
    attack = Attack(eps=EPS, steps=3)
    watched = run(attack, classifier, x, target, observe=Recorder(target, 3))
    assert torch.equal(run(attack, classifier, x, target), watched)


def test_a_trace_survives_storage():
    classifier = tiny_cnn()
    target = torch.tensor([0, 1])
    recorder = Recorder(target, 2)
    run(Attack(steps=2), classifier, images(classifier, 2), target, penalty=CONSTRAINTS["2-D"], observe=recorder)
    trace = recorder.trace()
    arrays = trace.to_arrays("hidden")
    back = Trace.from_arrays(arrays | {"hidden2/linf": np.zeros(1)}, "hidden")
    for field in dataclasses.fields(Trace):
        np.testing.assert_equal(getattr(back, field.name), getattr(trace, field.name))


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_progress_climbs_from_zero_to_one(batch_size):
    classifier = tiny_cnn()
    shares = []
    target = torch.tensor([0, 1, 0])
    run(
        Attack(steps=3),
        classifier,
        images(classifier, 3),
        target,
        batch_size=batch_size,
        progress=lambda share, what: shares.append((share, what)),
    )
    fractions = [share for share, _ in shares]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] == pytest.approx(1) and fractions[-1] <= 1
    assert all("step" in what for _, what in shares)


# What people get wrong


def test_no_images_give_no_images():
    classifier = tiny_cnn()
    x = torch.empty(0, *classifier.input_shape)
    assert run(Attack(), classifier, x, torch.empty(0, dtype=torch.long)).shape == x.shape


@pytest.mark.parametrize(
    ("target", "seeds", "sentence"),
    [
        ([0, 2], 0, "target must be between 0 and 1"),
        ([-1, 0], 0, "target must be between 0 and 1"),
        ([0], 0, "got 1 targets for 2 scans"),
        ([0, 1, 1], 0, "got 3 targets for 2 scans"),
        ([0, 1], [1], "got 1 seeds for 2 scans"),
        ([0, 1], [1, 2, 3], "got 3 seeds for 2 scans"),
    ],
)
def test_targets_and_seeds_that_do_not_fit_are_refused(target, seeds, sentence):
    classifier = tiny_cnn()
    with pytest.raises(InputError, match=sentence):
        run(Attack(), classifier, images(classifier, 2), torch.tensor(target), seeds=seeds)


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan, math.inf])
def test_images_outside_the_grey_range_are_refused(value):
    classifier = tiny_cnn()
    x = images(classifier, 2)
    x[1, 0, 3, 3] = value
    with pytest.raises(InputError, match="between 0 and 1"):
        run(Attack(), classifier, x, torch.tensor([0, 1]))


def test_images_of_another_shape_are_refused():
    with pytest.raises(InputError, match="takes images of shape"):
        run(Attack(), tiny_cnn(), torch.zeros(1, 1, 5, 5), torch.tensor([0]))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"eps": 3.0}, "Attack.eps must be between 0 and 1; got 3.0"),
        ({"eps": math.nan}, "Attack.eps must be a finite number; got nan"),
        ({"eps": "much"}, "Attack.eps must be a number; got 'much'"),
        ({"steps": 0}, "Attack.steps must be between 1 and 1000; got 0"),
        ({"steps": 2.5}, "Attack.steps must be a whole number; got 2.5"),
        ({"step_size": -0.1}, "Attack.step_size must be between 0 and 1; got -0.1"),
        ({"momentum": 3}, "Attack.momentum must be between 0 and 2; got 3"),
        ({"random_start": 1}, "Attack.random_start must be true or false; got 1"),
        ({"loss": "mse"}, "Attack.loss must be one of cross-entropy, margin; got 'mse'"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(changes, sentence):
    with pytest.raises(InputError) as error:
        Attack(**changes)
    assert str(error.value).startswith(sentence) and str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([3, 2, 1], 1), ([1, 2, 3], 1), ([2, 3, -1], 0), ([-5, -9, -7], 2), ([1, 1], 1), ([0, 4, 4], 2), ([0, 0, 0], 1)],
)
def test_the_runner_up_is_never_the_prediction_even_where_logits_are_equal(logits, expected):
    logits = np.array([logits], dtype=np.float32)
    before = logits.copy()
    assert runner_up(logits).tolist() == [expected]
    assert runner_up(logits) != logits.argmax(1)
    assert np.array_equal(logits, before)


# Input diversity


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("shape", [(1, 40, 50), (2, 20, 30, 24)], ids=["2-D", "3-D"])
def test_a_diverse_copy_is_the_whole_image_a_little_smaller_somewhere_in_black(shape):
    places, sizes = set(), set()
    for seed in range(30):
        (copy,) = diversified(torch.full((1, *shape), 0.5), 1.0, generators(seed))
        assert copy.shape == shape
        inside = (copy[0] != 0).nonzero()
        low, high = inside.amin(0), inside.amax(0) + 1
        block = copy[(slice(None), *map(slice, low.tolist(), high.tolist()))]
        assert (block == 0.5).all() and copy.sum() == block.sum()
        share = (high - low) / torch.tensor(shape[1:])
        assert 0.88 <= share.min() and share.max() <= 1
        places.add(tuple(low.tolist()))
        sizes.add(tuple((high - low).tolist()))
    assert len(places) > 5 and len(sizes) > 2


def test_a_diverse_copy_keeps_left_and_right_top_and_bottom():
    ramp = torch.linspace(0.1, 1, 40).view(1, 1, 1, 40).expand(1, 1, 30, 40) + torch.linspace(0, 3, 30).view(
        1, 1, 30, 1
    )
    for seed in range(5):
        (copy,) = diversified(ramp, 1.0, generators(seed))[0]
        inside = copy[copy.sum(1) > 0][:, copy.sum(0) > 0]
        assert (inside.diff(dim=0) >= 0).all() and (inside.diff(dim=1) >= 0).all()
        assert inside[0, 0] < 0.2 and inside[-1, -1] > 3.7


def test_the_chance_of_a_diverse_copy_is_as_set_and_each_sample_has_its_own_luck():
    x = torch.full((300, 1, 60, 60), 0.5)
    changed = (diversified(x, 0.5, generators(*range(300))) != x).flatten(1).any(1)
    assert 0.4 < float(changed.float().mean()) < 0.52, "less a few copies of full size"
    assert diversified(x, 0.0, generators(*range(300))) is x


@pytest.mark.parametrize("shape", [(1, 40, 30), (1, 24, 24, 24)], ids=["2-D", "3-D"])
def test_input_diversity_moves_the_attack_and_its_seed_decides_how(shape):
    classifier = linear(shape)
    x = images(classifier, 1)
    target = torch.tensor([1])
    diverse = ATTACKS["DIM"].replace(diversity=1.0, steps=3)
    one, same, other = (run(diverse, classifier, x, target, seeds=seed) for seed in (1, 1, 2))
    plain = run(diverse.replace(diversity=0.0), classifier, x, target)
    assert torch.equal(one, same)
    assert not torch.equal(one, other) and not torch.equal(one, plain)
