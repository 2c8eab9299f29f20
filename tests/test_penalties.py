"""The hierarchical feature constraint: its terms against SciPy, its choice of layers, and what an attack does under it."""

import numpy as np
import pytest
import torch
from networks import images, linear, tiny_cnn
from scipy.spatial.distance import mahalanobis

from hfcviz.activations import Activations, extract
from hfcviz.attacks import ATTACKS, Attack, run
from hfcviz.mixtures import fit_mixture
from hfcviz.penalties import HFC, PENALTIES, load_constraint, save_constraint
from hfcviz.settings import InputError
from hfcviz.store import save_arrays


def clean_features(count=90, classes=3, seed=0):
    """Two layers of 4 and 6 channels whose classes lie apart; and the classes."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    layers = {
        name: (draw.normal(size=(count, width)) @ draw.normal(size=(width, width)) + 3 * labels[:, None]).astype("f4")
        for name, width in (("early", 4), ("late", 6))
    }
    return Activations(np.zeros((count, classes), "f4"), layers), labels


def tensors(activations):
    return {name: torch.as_tensor(z) for name, z in activations.layers.items()}


def squared_distances(z, clean, regularisation=1e-3):
    """Squared Mahalanobis distance of each row of z to the Gaussian of the clean rows, by SciPy."""
    z, clean = np.asarray(z, dtype=float), np.asarray(clean, dtype=float)
    covariance = np.cov(clean.T, bias=True) + regularisation * clean.var(0).mean() * np.eye(clean.shape[1])
    inverse = np.linalg.inv(covariance)
    return np.array([mahalanobis(one, clean.mean(0), inverse) ** 2 for one in z])


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_term_is_weight_over_width_times_the_squared_distance_to_the_target_class(target):
    clean, labels = clean_features()
    terms = HFC(weight=2.5).fit(clean, labels)(tensors(clean), torch.full((90,), target))
    assert list(terms) == ["early", "late"]
    for name, width in (("early", 4), ("late", 6)):
        z = clean.layers[name]
        expected = 2.5 / width * squared_distances(z, z[labels == target])
        np.testing.assert_allclose(terms[name], expected, rtol=2e-3, atol=1e-3)


def test_mixed_targets_in_a_batch_equal_one_by_one():
    clean, labels = clean_features()
    fitted = HFC(components=3).fit(clean, labels)
    layers, target = tensors(clean), torch.tensor([2, 0, 1, 1, 2, 0, 0] * 12 + [1] * 6)
    together = fitted(layers, target)
    for i in range(0, 90, 7):
        alone = fitted({name: z[i : i + 1] for name, z in layers.items()}, target[i : i + 1])
        for name, values in alone.items():
            torch.testing.assert_close(values[0], together[name][i])


def test_gradients_reach_every_sample_whatever_its_target():
    clean, labels = clean_features()
    fitted = HFC().fit(clean, labels)
    layers = {name: z.requires_grad_() for name, z in tensors(clean).items()}
    target = torch.arange(90) // 30
    sum(term.sum() for term in fitted(layers, target).values()).backward()
    for name, z in layers.items():
        for i in (0, 40, 80):
            own = clean.layers[name][labels == int(target[i])].astype(float)
            covariance = np.cov(own.T, bias=True) + 1e-3 * own.var(0).mean() * np.eye(z.shape[1])
            expected = 2 / z.shape[1] * np.linalg.solve(covariance, z[i].detach().numpy() - own.mean(0))
            np.testing.assert_allclose(z.grad[i], expected, rtol=1e-2, atol=1e-3)


def test_no_samples_give_no_terms():
    clean, labels = clean_features()
    empty = {name: z[:0] for name, z in tensors(clean).items()}
    terms = HFC().fit(clean, labels)(empty, torch.empty(0, dtype=torch.long))
    assert all(term.shape == (0,) for term in terms.values())


# Layers


WIDTHS = {"a": 64, "b": 256, "c": 512, "d": 1024}


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, ("a", "b", "c", "d")),
        ({"layers": ("c", "a")}, ("a", "c")),
        ({"widest": 512}, ("a", "b", "c")),
        ({"layers": ("b", "d"), "widest": 512}, ("b",)),
    ],
)
def test_layers_in_use_are_the_chosen_ones_no_wider_than_allowed_in_order_of_depth(settings, chosen):
    assert HFC(**settings).choose(WIDTHS) == chosen


def test_an_unknown_layer_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"HFC.layers must be among a, b, c, d; got x, y"):
        HFC(layers=("a", "x", "y")).choose(WIDTHS)


def test_leaving_no_layer_is_refused_with_the_narrowest_of_the_chosen():
    with pytest.raises(InputError, match=r"HFC.widest must leave at least one layer; got 32.*64"):
        HFC(widest=32).choose(WIDTHS)
    with pytest.raises(InputError, match=r"HFC.widest must leave at least one layer; got 100.*512"):
        HFC(widest=100, layers=("c", "d")).choose(WIDTHS)


def test_a_layer_left_out_has_no_term():
    clean, labels = clean_features()
    assert list(HFC(layers=("late",)).fit(clean, labels)(tensors(clean), torch.zeros(90, dtype=torch.long))) == ["late"]


# Fitting


def test_a_class_with_fewer_images_than_components_is_refused():
    clean, labels = clean_features(9)
    with pytest.raises(InputError, match="needs at least 4 clean images a class; got 3"):
        HFC(components=4).fit(clean, labels)


def test_features_that_are_not_numbers_are_refused():
    clean, labels = clean_features()
    clean.layers["late"][3, 3] = np.nan
    with pytest.raises(InputError, match="finite"):
        HFC().fit(clean, labels)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"components": 0}, "HFC.components must be between 1 and 256; got 0"),
        ({"weight": -1}, "HFC.weight must be between 0 and 1000; got -1"),
        ({"regularisation": 0}, "HFC.regularisation must be between 1e-08 and 1; got 0"),
        ({"widest": 0}, "HFC.widest must be at least 1; got 0"),
        ({"layers": "late"}, "HFC.layers must be a list of names; got 'late'"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(changes, sentence):
    with pytest.raises(InputError) as error:
        HFC(**changes)
    assert str(error.value).startswith(sentence)


def test_the_seed_decides_mixtures_of_many_components():
    clean, labels = clean_features()
    fitted = HFC(components=4).fit(clean, labels, seed=3)
    for name, mixtures in fitted.mixtures.items():
        for label, mixture in enumerate(mixtures):
            expected = fit_mixture(clean.layers[name][labels == label], 4, 1e-3, seed=3)
            assert torch.equal(mixture.means, expected.means)


def test_fitting_reports_every_layer_from_zero_to_one():
    clean, labels = clean_features()
    heard = []
    HFC().fit(clean, labels, progress=lambda share, what: heard.append((share, what)))
    shares = [share for share, _ in heard]
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    assert any("early" in what for _, what in heard) and any("late" in what for _, what in heard)


def test_none_and_the_papers_default_are_on_offer():
    assert PENALTIES == {"none": None, "HFC": HFC(components=1, weight=1.0)}


# Under attack


def striped(classifier, count, seed):
    """Noise images, those of odd rows with bright stripes; classes 0 and 1."""
    x = images(classifier, count, seed, low=0.2, high=0.6)
    x[1::2, :, ::3] += 0.3
    return x, np.arange(count) % 2


def test_weight_zero_is_exactly_the_plain_attack():
    classifier = tiny_cnn()
    fitted = HFC(weight=0).fit(extract(classifier, striped(classifier, 40, 0)[0]), np.arange(40) % 2)
    x, target = images(classifier, 4), torch.tensor([0, 1, 1, 0])
    for attack in ATTACKS.values():
        assert torch.equal(
            run(attack.replace(steps=3), classifier, x, target, penalty=fitted),
            run(attack.replace(steps=3), classifier, x, target),
        )


@pytest.mark.parametrize("dims", [2, 3])
def test_under_the_constraint_every_layer_ends_closer_to_the_clean_target_class(dims):
    classifier = tiny_cnn(dims)
    x, labels = striped(classifier, 200, 0)
    clean = extract(classifier, x)
    fitted = HFC().fit(clean, labels)
    scans = striped(classifier, 20, 1)[0][::2]
    target, attack = torch.ones(10, dtype=torch.long), Attack(eps=16 / 255, steps=20)
    plain = extract(classifier, run(attack, classifier, scans, target))
    hidden = extract(classifier, run(attack, classifier, scans, target, penalty=fitted))
    for name, z in clean.layers.items():
        far, near = (squared_distances(a.layers[name], z[labels == 1]) for a in (plain, hidden))
        assert np.median(near) < 0.7 * np.median(far), name


def test_on_a_linear_network_a_heavy_constraint_leads_to_the_clean_mean_of_the_target():
    classifier = linear()
    centre = images(classifier, 1, seed=8, low=0.4, high=0.6)
    clean = (centre + 0.02 * torch.randn(80, *centre.shape[1:], generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    labels = np.arange(80) % 2
    fitted = HFC(weight=1000, regularisation=1).fit(extract(classifier, clean), labels)
    x = images(classifier, 3, low=0.4, high=0.6)
    found = run(Attack(eps=0.3, steps=100, step_size=0.005), classifier, x, torch.tensor([0, 1, 1]), penalty=fitted)
    for row, label in enumerate((0, 1, 1)):
        torch.testing.assert_close(found[row], clean[labels == label].mean(0), atol=0.01, rtol=0)


def test_a_constraint_comes_back_from_its_file_to_the_last_bit(tmp_path):
    clean, labels = clean_features()
    fitted = HFC(components=2, weight=3.0, layers=("late", "early")).fit(clean, labels)
    save_constraint(fitted, tmp_path / "mixtures.npz", "a cohort")
    found, made_for = load_constraint(tmp_path / "mixtures.npz")
    assert made_for == "a cohort"
    assert found.settings == fitted.settings and list(found.mixtures) == list(fitted.mixtures)
    target = torch.from_numpy(labels)
    for name, term in fitted(tensors(clean), target).items():
        assert torch.equal(found(tensors(clean), target)[name], term)


def test_a_file_without_mixtures_is_refused_in_a_sentence(tmp_path):
    save_arrays(tmp_path / "mixtures.npz", {}, {"settings": {"layers": []}})
    with pytest.raises(InputError, match=r"^mixtures\.npz holds no mixtures .* make it again\.$"):
        load_constraint(tmp_path / "mixtures.npz")
