"""The penalties that compete with HFC: their terms against SciPy and scikit-learn, their gradients, and what an attack does under them."""

import math

import numpy as np
import pytest
import torch
from networks import images, tiny_cnn
from scipy.spatial.distance import cdist
from sklearn.neighbors import KernelDensity, NearestNeighbors

from hfcviz.activations import Activations, extract
from hfcviz.attacks import ATTACKS, run
from hfcviz.settings import InputError
from hfcviz.studies.rivals import RIVALS, Closest, Density, Dimension, RandomImage, bandwidth

CLASSES = 3
WIDTHS = {"early": 4, "late": 6}


def clean_features(count=90, seed=0):
    """Two layers whose classes lie apart and differ in spread and number; and the classes, in no order."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.minimum(np.arange(count) % 4, 2))
    layers = {
        name: (draw.normal(size=(count, width)) * (1 + labels[:, None]) + 3 * labels[:, None]).astype("f4")
        for name, width in WIDTHS.items()
    }
    return Activations(np.zeros((count, CLASSES), "f4"), layers), labels


def given(count=24, seed=5):
    """Features of attacked scans, their targets and their seeds."""
    draw = np.random.default_rng(seed)
    layers = {
        name: torch.tensor(draw.normal(2, 3, (count, width)), dtype=torch.float32) for name, width in WIDTHS.items()
    }
    return layers, torch.tensor(draw.integers(0, CLASSES, count)), [int(s) for s in draw.integers(0, 2**32, count)]


def own_class(clean, labels, name, target):
    return clean.layers[name][labels == int(target)].astype(float)


def spread(rows):
    return float(np.mean([channel.var() for channel in rows.T]))


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_random_is_the_scaled_distance_to_the_image_that_the_seed_draws(weight):
    clean, labels = clean_features()
    layers, target, seeds = given()
    terms = RandomImage(weight=weight).fit(clean, labels)(layers, target, seeds)
    assert list(terms) == list(WIDTHS)
    for name, width in WIDTHS.items():
        for i, (aim, seed) in enumerate(zip(target, seeds, strict=True)):
            rows = own_class(clean, labels, name, aim)
            expected = weight * np.square(layers[name][i].numpy() - rows[seed % len(rows)]).sum() / width / spread(rows)
            np.testing.assert_allclose(terms[name][i], expected, rtol=1e-4)


def test_random_pulls_all_layers_to_the_same_image():
    clean, labels = clean_features()
    _, _, seeds = given()
    one = {
        name: torch.from_numpy(z[labels == 2][seeds[0] % (labels == 2).sum()][None]) for name, z in clean.layers.items()
    }
    terms = RandomImage().fit(clean, labels)(one, torch.tensor([2]), seeds[:1])
    assert all(float(term) == 0 for term in terms.values())


def test_closest_is_the_scaled_distance_to_the_nearest_of_the_target_class():
    clean, labels = clean_features()
    layers, target, seeds = given()
    terms = Closest(weight=3.0).fit(clean, labels)(layers, target, seeds)
    for name, width in WIDTHS.items():
        for i, aim in enumerate(target):
            rows = own_class(clean, labels, name, aim)
            nearest = cdist(layers[name][i : i + 1].double().numpy(), rows, "sqeuclidean").min()
            np.testing.assert_allclose(terms[name][i], 3 * nearest / width / spread(rows), rtol=1e-3, atol=1e-5)


def test_kde_is_twice_the_negative_log_density_that_scikit_learn_finds_over_the_width():
    clean, labels = clean_features()
    layers, target, seeds = given()
    terms = Density(weight=2.0).fit(clean, labels)(layers, target, seeds)
    assert list(terms) == ["late"]  # the penultimate feature alone
    width = bandwidth(clean.layers["late"], labels)
    for i, aim in enumerate(target):
        density = KernelDensity(bandwidth=width).fit(own_class(clean, labels, "late", aim))
        expected = -2 * 2 / 6 * density.score_samples(layers["late"][i : i + 1].double().numpy())
        np.testing.assert_allclose(terms["late"][i], expected[0], rtol=1e-3)


def test_the_bandwidth_is_the_likeliest_by_leaving_each_image_out():
    clean, labels = clean_features(60)
    z = clean.layers["late"].astype(float)
    pairs = [
        cdist(z[labels == c], z[labels == c], "sqeuclidean")[~np.eye((labels == c).sum(), dtype=bool)] for c in range(3)
    ]
    median = math.sqrt(np.median(np.concatenate(pairs)))

    def likelihood(width):
        total = 0.0
        for c in range(CLASSES):
            rows = z[labels == c]
            for i in range(len(rows)):
                total += KernelDensity(bandwidth=width).fit(np.delete(rows, i, 0)).score(rows[i : i + 1])
        return total

    best = max(median * np.geomspace(0.01, 1, 21), key=likelihood)
    assert bandwidth(clean.layers["late"], labels) == pytest.approx(best)
    assert median * 0.01 < best < median  # or the choice would be no test


def dimensionality(z, rows, k, skip=0):
    """-1 / mean of log(r_i / r_k), in double precision."""
    r = (
        NearestNeighbors(n_neighbors=k + skip)
        .fit(rows.astype(float))
        .kneighbors(np.asarray(z, dtype=float))[0][:, skip:]
    )
    return -1 / np.log(r / r[:, -1:]).mean(1)


def test_lid_is_the_dimensionality_over_that_of_clean_images():
    clean, labels = clean_features()
    layers, target, seeds = given()
    terms = Dimension(weight=2.0, k=7).fit(clean, labels)(layers, target, seeds)
    for name in WIDTHS:
        rows = clean.layers[name]
        expected = 2 * dimensionality(layers[name], rows, 7) / dimensionality(rows, rows, 7, skip=1).mean()
        np.testing.assert_allclose(terms[name], expected, rtol=1e-3)


@pytest.mark.parametrize("name", RIVALS)
def test_a_batch_equals_one_by_one(name):
    clean, labels = clean_features()
    layers, target, seeds = given()
    fitted = RIVALS[name].fit(clean, labels)
    together = fitted(layers, target, seeds)
    for i in range(len(target)):
        alone = fitted({layer: z[i : i + 1] for layer, z in layers.items()}, target[i : i + 1], seeds[i : i + 1])
        for layer, values in alone.items():
            torch.testing.assert_close(values[0], together[layer][i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RIVALS)
def test_a_small_step_down_the_gradient_lowers_every_samples_term(name):
    clean, labels = clean_features()
    layers, target, seeds = given()
    fitted = RIVALS[name].fit(clean, labels)
    moved = {layer: z.clone().requires_grad_() for layer, z in layers.items()}
    terms = fitted(moved, target, seeds)
    sum(term.sum() for term in terms.values()).backward()
    for layer, before in terms.items():
        slope = moved[layer].grad
        assert torch.isfinite(slope).all() and (slope.abs().sum(1) > 0).all()
        step = 1e-3 / slope.norm(dim=1, keepdim=True)
        after = fitted({**layers, layer: layers[layer] - step * slope}, target, seeds)[layer]
        expected = -1e-3 * slope.norm(dim=1)
        torch.testing.assert_close(after - before.detach(), expected, rtol=0.1, atol=2e-5)


@pytest.mark.parametrize("name", RIVALS)
def test_no_samples_give_no_terms(name):
    clean, labels = clean_features()
    empty = {layer: torch.empty(0, width) for layer, width in WIDTHS.items()}
    terms = RIVALS[name].fit(clean, labels)(empty, torch.empty(0, dtype=torch.long), [])
    assert all(term.shape == (0,) for term in terms.values())


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_an_attack_lowers_the_penalty_that_it_carries(name, spatial_dims):
    classifier = tiny_cnn(spatial_dims)
    clean, labels = extract(classifier, images(classifier, 60, seed=9)), np.arange(60) % 2
    fitted = RIVALS[name].replace(weight=30.0).fit(clean, labels)
    x, target = images(classifier, 6, seed=1, low=0.2, high=0.8), torch.tensor([0, 1] * 3)
    attack = ATTACKS["PGD"].replace(eps=16 / 255, steps=15)

    def total(penalty):
        moved = run(attack, classifier, x, target, penalty=penalty, seeds=range(6))
        layers = {layer: torch.from_numpy(z) for layer, z in extract(classifier, moved).layers.items()}
        return sum(term for term in fitted(layers, target, list(range(6))).values())

    assert (total(fitted) < total(None)).sum() >= 5
    assert total(fitted).mean() < total(None).mean()


def test_what_cannot_be_fitted_is_refused():
    clean, labels = clean_features()
    with pytest.raises(InputError, match=r"Dimension.k must be smaller .* got 90 for 90"):
        Dimension(k=90).fit(clean, labels)
    alone = np.where(np.arange(90) == 0, 2, np.arange(90) % 2)
    with pytest.raises(InputError, match=r"2 clean images of each class; class 2 has 1"):
        Density().fit(clean, alone)
