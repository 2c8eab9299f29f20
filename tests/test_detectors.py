"""Detectors against scikit-learn and closed forms, on Gaussian cases made here; and what they may not see."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from hfcviz.activations import Activations, concatenate
from hfcviz.detection import Fitted, Training, fit_detectors, unavailable
from hfcviz.detectors import DETECTORS, GMM, KD, LID, Detector
from hfcviz.metrics import roc
from hfcviz.settings import InputError

WIDTHS = {"early": 6, "middle": 12, "late": 8}
LAYERED = tuple(name for name in DETECTORS if "BU" not in name)


def samples(count: int, seed: int, *, away: float = 0.0, spread: float = 1.0, doubt: float = 0.2) -> Activations:
    """Two Gaussian classes at 4 and -4 on the first axis of each layer, sd 1 (times `spread`), predicted without error.

    away: shift of all samples along the last axis, where the classes do not differ; doubt: sd of the dropout logits.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    layers = {}
    for name, width in WIDTHS.items():
        layers[name] = spread * rng.normal(size=(count, width))
        layers[name][:, 0] += np.where(labels == 1, 4, -4)
        layers[name][:, -1] += away
    logits = np.stack([1.0 - labels, labels], axis=1)
    dropout = logits + doubt * rng.normal(size=(20, count, 2))
    return Activations(logits.astype("f4"), {name: z.astype("f4") for name, z in layers.items()}, dropout.astype("f4"))


@pytest.fixture(scope="module")
def training() -> Training:
    adversarial = samples(80, 3, away=5, doubt=1)
    return Training(samples(300, 1), np.arange(300) % 2, samples(160, 2), adversarial, samples(200, 4))


@pytest.fixture(scope="module")
def fitted(training: Training) -> dict[str, Fitted]:
    return fit_detectors(training)


def one_layer(z: np.ndarray, predicted: np.ndarray | int = 0) -> Activations:
    """Samples of one layer, "z", with the given predictions among two classes."""
    logits = np.eye(2, dtype="f4")[np.broadcast_to(predicted, len(z))]
    return Activations(logits, {"z": np.asarray(z, dtype="f4")})


def fit_one(detector: Detector, clean: Activations, calibration: Activations | None = None) -> Fitted:
    """A detector at one layer whose clean samples are of the classes that they are predicted as."""
    few = clean.take(slice(20))
    other = Activations(few.logits, {"z": few.layers["z"] + 1})
    whole = Training(clean, clean.predicted, few, other, few if calibration is None else calibration)
    name = type(detector).__name__
    return fit_detectors(whole, [name], detectors={name: detector})[name]


def layer(one: Fitted, a: Activations) -> np.ndarray:
    return one.layer_scores(a)["z"]


def gaussian(count: int, width: int, seed: int) -> Activations:
    rng = np.random.default_rng(seed)
    predicted = np.arange(count) % 2
    z = rng.normal(size=(count, width)) @ (np.eye(width) + 0.3 * rng.normal(size=(width, width)))
    return one_layer(z + 5 * predicted[:, None], predicted)


# Each detector's formula


def test_kd_is_scikit_learns_kernel_density_under_the_predicted_class() -> None:
    clean, calibration, new = gaussian(120, 5, 0), gaussian(60, 5, 1), gaussian(40, 5, 2)
    one = fit_one(KD(bandwidth=0.3), clean, calibration)
    of_class = [clean.layers["z"][clean.predicted == c] for c in (0, 1)]
    distances = [
        cdist(z, of_class[c]) for c, z in ((c, calibration.layers["z"][calibration.predicted == c]) for c in (0, 1))
    ]
    width = 0.3 * np.median(np.concatenate(distances))
    for c in (0, 1):
        oracle = KernelDensity(bandwidth=width).fit(of_class[c].astype(float))
        for a in (new, one_layer(new.layers["z"] + 50)):  # also where every kernel underflows
            asked = one_layer(a.layers["z"], c)
            np.testing.assert_allclose(
                layer(one, asked), -oracle.score_samples(asked.layers["z"].astype(float)), rtol=1e-6
            )
    np.testing.assert_array_equal(one.score(new), layer(one, new))


def test_kd_finds_the_bandwidth_that_makes_held_out_samples_likeliest() -> None:
    clean, calibration = gaussian(200, 4, 0), gaussian(100, 4, 1)
    chosen = layer(fit_one(KD(), clean, calibration), calibration).sum()
    others = [layer(fit_one(KD(bandwidth=b), clean, calibration), calibration).sum() for b in np.geomspace(0.02, 1, 30)]
    assert chosen <= min(others) + 0.01 * abs(min(others))
    assert chosen < np.median(others) - 10  # so that the line above says something


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_lid_of_a_uniform_cube_is_its_dimension(dimension: int) -> None:
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0][:dimension]  # the cube lies askew in 8 dimensions
    clean, new = rng.uniform(size=(2000, dimension)) @ turn, rng.uniform(0.3, 0.7, size=(500, dimension)) @ turn
    one = fit_one(LID(k=20), one_layer(clean, np.arange(2000) % 2))
    assert np.median(layer(one, one_layer(new))) == pytest.approx(dimension, rel=0.1)


@pytest.mark.parametrize("rounding", [0.0, 1e-6])
def test_lid_skips_a_samples_own_copy(rounding: float) -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(200, 4)).astype("f4")
    one = fit_one(LID(k=10), one_layer(clean, np.arange(200) % 2))
    distances = NearestNeighbors(n_neighbors=11).fit(clean.astype(float)).kneighbors(clean.astype(float))[0][:, 1:]
    oracle = -1 / np.log(distances / distances[:, -1:]).mean(1)
    again = one_layer(clean + rounding * rng.normal(size=clean.shape))
    np.testing.assert_allclose(layer(one, again), oracle, rtol=1e-6 if rounding == 0 else 1e-3)


def test_maha_of_a_gaussian_is_chi_squared_and_takes_the_nearest_class() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(6, 6)) + 2 * np.eye(6)

    def drawn(count: int) -> np.ndarray:
        return rng.normal(size=(count, 6)) @ mix + np.where(np.arange(count) % 2, 100, 0)[:, None]

    one = fit_one(DETECTORS["MAHA"], one_layer(drawn(8000), np.arange(8000) % 2))
    new = drawn(4000)
    squares = layer(one, one_layer(new))
    assert squares.mean() == pytest.approx(6, rel=0.05)
    assert squares.var() == pytest.approx(12, rel=0.12)
    assert np.mean(squares > 12.592) == pytest.approx(0.05, abs=0.012)  # chi-squared, 6 degrees of freedom, 95 %
    np.testing.assert_array_equal(squares, layer(one, one_layer(new, 1)))


@pytest.mark.parametrize("components", [1, 3])
def test_gmm_is_scikit_learns_mixture_of_the_predicted_class(components: int) -> None:
    clean, new = gaussian(200, 5, 0), gaussian(50, 5, 1)
    one = fit_one(GMM(components=components, regularisation=0.01), clean)
    for c in (0, 1):
        rows = clean.layers["z"][clean.predicted == c].astype(float)
        oracle = GaussianMixture(components, reg_covar=0.01 * rows.var(0).mean(), random_state=0, max_iter=50).fit(rows)
        asked = one_layer(new.layers["z"], c)
        np.testing.assert_allclose(layer(one, asked), -oracle.score_samples(asked.layers["z"].astype(float)), rtol=1e-6)


def test_bu_is_the_variance_of_the_probabilities_summed_over_classes(fitted: dict[str, Fitted]) -> None:
    sure, torn = np.array([[50.0, 0]] * 4), np.array([[50.0, 0], [0, 50]] * 2)
    half = np.array([[0.0, 0], [math.log(3), 0]] * 2)  # probabilities 1/2 and 3/4
    a = Activations(np.zeros((3, 2), "f4"), {}, np.stack([sure, torn, half], axis=1).astype("f4"))
    np.testing.assert_allclose(fitted["BU"].score(a), [0, 0.5, 2 / 64], atol=1e-7)
    assert fitted["BU"].layer_scores(a) == {}


# What all have in common


@pytest.mark.parametrize("name", DETECTORS)
def test_each_separates_a_shifted_gaussian_and_points_the_right_way(name: str, fitted: dict[str, Fitted]) -> None:
    one, clean, attacked = fitted[name], samples(200, 11), samples(200, 12, away=5, doubt=1)
    assert roc(one.score(clean), one.score(attacked)).auc > (0.9 if name == "LID" else 0.95)
    for before, after in zip(one.layer_scores(clean).values(), one.layer_scores(attacked).values(), strict=True):
        assert roc(before, after).auc > (0.7 if name == "LID" else 0.85)


@pytest.mark.parametrize("name", ["KD", "MAHA", "GMM"])
def test_hiding_at_the_class_centre_stays_inverted(name: str, fitted: dict[str, Fitted]) -> None:
    one, clean, hidden = fitted[name], samples(200, 11), samples(200, 12, spread=0.3)
    assert roc(one.score(clean), one.score(hidden)).auc < 0.2
    for before, after in zip(one.layer_scores(clean).values(), one.layer_scores(hidden).values(), strict=True):
        assert roc(before, after).auc < 0.2


@pytest.mark.parametrize("name", DETECTORS)
def test_nothing_to_see_is_half(name: str, fitted: dict[str, Fitted]) -> None:
    assert roc(fitted[name].score(samples(600, 11)), fitted[name].score(samples(600, 12))).auc == pytest.approx(
        0.5, abs=0.06
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_thresholds_flag_a_tenth_of_fresh_clean_samples(name: str, fitted: dict[str, Fitted]) -> None:
    one, fresh = fitted[name], samples(2000, 21)
    assert np.mean(one.score(fresh) > one.threshold) == pytest.approx(0.1, abs=0.07)
    assert np.mean(one.calibration_scores > one.threshold) == pytest.approx(0.1, abs=0.006)
    for where, scores in one.layer_scores(fresh).items():
        assert np.mean(scores > one.layer_thresholds[where]) == pytest.approx(0.1, abs=0.07)


@pytest.mark.parametrize("name", ["KD", "GMM"])
def test_the_predicted_class_is_the_one_that_counts(name: str, fitted: dict[str, Fitted]) -> None:
    a = samples(100, 11)
    wrong = Activations(a.logits[:, ::-1], a.layers, a.dropout)  # in the one class, called the other
    assert fitted[name].score(wrong).min() > fitted[name].score(a).max()
    np.testing.assert_array_equal(fitted["MAHA"].score(wrong), fitted["MAHA"].score(a))


@pytest.mark.parametrize("name", DETECTORS)
def test_one_by_one_equals_all_at_once_beyond_a_block(name: str, fitted: dict[str, Fitted]) -> None:
    one, a = fitted[name], concatenate([samples(1500, 11), samples(10, 12, away=40)])
    rows = [0, 1023, 1024, 1499, 1505]
    alone = [a.take([row]) for row in rows]
    np.testing.assert_allclose(
        np.concatenate([one.score(row) for row in alone]), one.score(a)[rows], rtol=1e-9, atol=1e-12
    )
    for where, scores in one.layer_scores(a).items():
        np.testing.assert_allclose(
            [one.layer_scores(row)[where][0] for row in alone], scores[rows], rtol=1e-9, atol=1e-12
        )
    assert one.score(a.take([])).shape == (0,)


@pytest.mark.parametrize("name", LAYERED)
def test_the_verdict_is_the_layers_combined(name: str, fitted: dict[str, Fitted]) -> None:
    one, a = fitted[name], samples(30, 11, away=2)
    by_layer = one.layer_scores(a)
    assert list(by_layer) == list(one.layer_thresholds) == list(WIDTHS)
    np.testing.assert_array_equal(one.combine(by_layer), one.score(a))
    if name in ("KD", "SVM"):
        np.testing.assert_array_equal(by_layer["late"], one.score(a))
    if name == "DNN":
        np.testing.assert_allclose(np.mean(list(by_layer.values()), axis=0), one.score(a))


def test_kd_and_bu_are_joined_by_a_logistic_regression_on_standard_scores(
    training: Training, fitted: dict[str, Fitted]
) -> None:
    def pair(a: Activations) -> np.ndarray:
        return np.stack([fitted["KD"].score(a), fitted["BU"].score(a)], 1)

    known = pair(training.negatives), pair(training.adversarial)
    both, labels = np.concatenate(known), np.repeat([0, 1], [len(part) for part in known])
    mean, sd = both.mean(0), both.std(0)
    oracle = LogisticRegression(class_weight="balanced", max_iter=1000).fit((both - mean) / sd, labels)
    new = samples(40, 13, away=2)
    expected = ((pair(new) - mean) / sd) @ oracle.coef_[0] + oracle.intercept_[0]
    np.testing.assert_allclose(fitted["KD+BU"].score(new), expected, rtol=1e-4)
    assert fitted["KD+BU"].layer_scores(new) == {}


def test_the_order_of_layers_does_not_matter_but_for_the_last(training: Training, fitted: dict[str, Fitted]) -> None:
    def turned(a: Activations) -> Activations:
        return Activations(a.logits, {name: a.layers[name] for name in ("middle", "early", "late")}, a.dropout)

    parts = {f.name: getattr(training, f.name) for f in dataclasses.fields(Training)}
    again = fit_detectors(Training(**{n: turned(p) if isinstance(p, Activations) else p for n, p in parts.items()}))
    new = samples(50, 11, away=2)
    backwards = Activations(new.logits, dict(reversed(new.layers.items())), new.dropout)
    for name, one in fitted.items():
        np.testing.assert_array_equal(one.score(backwards), one.score(new))
        np.testing.assert_allclose(again[name].score(new), one.score(new), rtol=1e-6, atol=1e-9)


def test_the_same_seed_gives_the_same_scores(training: Training, fitted: dict[str, Fitted]) -> None:
    again, new = fit_detectors(training), samples(50, 11, away=2)
    for name, one in fitted.items():
        np.testing.assert_array_equal(again[name].score(new), one.score(new))
        assert again[name].threshold == one.threshold
    assert not np.array_equal(fit_detectors(training, ["DNN"], seed=1)["DNN"].score(new), fitted["DNN"].score(new))


def test_what_is_judged_does_not_reach_what_judges(training: Training, fitted: dict[str, Fitted]) -> None:
    unsupervised, new = ["KD", "LID", "MAHA", "GMM"], samples(50, 11, away=2)
    changed = dataclasses.replace(training, adversarial=samples(80, 33, away=-9), negatives=samples(90, 34, away=3))
    again = fit_detectors(changed, unsupervised)
    for name in unsupervised:
        assert again[name].layer_thresholds == fitted[name].layer_thresholds
    assert again["KD"].threshold == fitted["KD"].threshold

    # The calibration part sets thresholds, and the kernel's width, and nothing else.
    supervised = ["LID", "MAHA", "SVM", "DNN", "GMM"]
    again = fit_detectors(dataclasses.replace(training, calibration=samples(100, 35, away=7)), supervised)
    for name in supervised:
        np.testing.assert_array_equal(again[name].score(new), fitted[name].score(new))
        assert again[name].threshold != fitted[name].threshold

    before = {name: one.threshold for name, one in fitted.items()}
    for one in fitted.values():
        one.score(samples(50, 36, away=100))
    assert before == {name: one.threshold for name, one in fitted.items()}


def test_confident_samples_stay_apart(fitted: dict[str, Fitted]) -> None:
    far = concatenate([samples(1, 11, away=away) for away in (40, 80, 160, 320)])
    for name in ("KD", "MAHA", "DNN", "GMM"):
        assert (np.diff(fitted[name].score(far)) > 0).all(), name


# Data that do not fit


@pytest.mark.parametrize("name", LAYERED)
def test_a_dead_layer_gives_finite_scores(name: str, training: Training) -> None:
    def dead(a: Activations) -> Activations:
        return Activations(a.logits, {"early": np.zeros((len(a), 5), "f4"), "late": a.layers["late"]}, a.dropout)

    parts = (dead(p) for p in (training.clean, training.negatives, training.adversarial, training.calibration))
    clean, negatives, adversarial, calibration = parts
    one = fit_detectors(Training(clean, training.labels, negatives, adversarial, calibration), [name])[name]
    a = dead(samples(40, 11))
    a.layers["early"][0] = 1.0
    assert all(np.isfinite(scores).all() for scores in [one.score(a), *one.layer_scores(a).values()])


def test_bu_is_left_out_without_dropout_unless_asked_for(training: Training) -> None:
    bare = Activations(training.calibration.logits, training.calibration.layers)
    without = dataclasses.replace(training, calibration=bare)
    assert tuple(fit_detectors(without)) == LAYERED
    assert "no dropout" in unavailable(bare)["BU"]
    assert unavailable(training.calibration) == {}
    with pytest.raises(InputError, match="no dropout"):
        fit_detectors(without, ["KD", "BU"])
    for name in ("BU", "KD+BU"):
        with pytest.raises(InputError, match="BU needs dropout passes"):
            fit_detectors(training, [name])[name].score(bare)


def spoilt(a: Activations, value: float) -> Activations:
    layers = {name: z.copy() for name, z in a.layers.items()}
    layers["middle"][1, 2] = value
    return Activations(a.logits, layers, a.dropout)


@pytest.mark.parametrize(
    ("detector", "clean", "message"),
    [
        (LID(k=20), 20, r"LID\.k must be smaller than the number of clean images; got 20 for 20"),
        (GMM(components=11), 20, r"GMM\.components must be at most .* got 11 for 10"),
        (KD(), 3, "at least 2 clean training images of class 1; got 1"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_said(
    detector: Detector, clean: int, message: str, training: Training
) -> None:
    few = dataclasses.replace(training, clean=training.clean.take(slice(clean)), labels=training.labels[:clean])
    name = type(detector).__name__
    with pytest.raises(InputError, match=message):
        fit_detectors(few, [name], detectors={name: detector})


def test_bad_training_data_are_said(training: Training, fitted: dict[str, Fitted]) -> None:
    for part in ("clean", "negatives", "adversarial", "calibration"):
        for value in (math.nan, math.inf):
            changed = dataclasses.replace(training, **{part: spoilt(getattr(training, part), value)})
            with pytest.raises(InputError, match="layer middle must be finite"):
                fit_detectors(changed, ["KD"])
    for part in ("negatives", "adversarial", "calibration"):
        changed = dataclasses.replace(training, **{part: getattr(training, part).take([0])})
        with pytest.raises(InputError, match=f"at least 2 {part} samples; got 1"):
            fit_detectors(changed, ["MAHA"])
    with pytest.raises(InputError, match="must be one of KD, BU, KD\\+BU, LID, MAHA, SVM, DNN, GMM; got 'XYZ'"):
        fit_detectors(training, ["XYZ"])
    with pytest.raises(InputError, match="layer middle must be finite"):
        fitted["DNN"].score(spoilt(samples(5, 1), math.nan))
    with pytest.raises(InputError, match="need features of layer early"):
        fitted["MAHA"].score(one_layer(np.zeros((3, 2))))


def test_progress_grows_to_1_and_may_cancel(training: Training) -> None:
    seen: list[float] = []
    fit_detectors(training, ["KD", "MAHA"], progress=lambda fraction, what: seen.append(fraction))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1], len(seen)) == (0, 1, 7)

    def stop(fraction: float, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_detectors(training, progress=stop)
