"""The study of what would catch HFC: hand-made cases with known answers, and the whole study on a tiny network."""

from collections import Counter, OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import case, one_thread  # noqa: F401
from networks import images, linear
from sklearn.metrics import roc_auc_score
from torch import nn

from hfcviz.activations import Activations, extract
from hfcviz.attacks import ATTACKS
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset, Split
from hfcviz.detection import Training, fit_detectors
from hfcviz.jobs import Cancelled
from hfcviz.metrics import roc
from hfcviz.penalties import HFC
from hfcviz.settings import InputError
from hfcviz.store import Store
from hfcviz.studies.attackers import ATTACKERS, Typical
from hfcviz.studies.catalogue import STUDIES, perform
from hfcviz.studies.defences import DEFENCES, above, off_centre, pictures, scores, seen, widened
from hfcviz.studies.defender import HELD_OUT, WORST, Defender, check, draw
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget
from hfcviz.studies.squeezing import SQUEEZES, blurred, distances, fewer_levels, median

BUDGET = Budget(scans=40, eps=12 / 255, steps=3)
WHOLE = Defender(
    attacks=("PGD", "PGD+HFC", "C&W+HFC", "HFC twice eps", "HFC free statistics"), detectors=("MAHA", "SVM")
)
FEW = Defender(("as they are", "two-sided"), ("PGD", "C&W", "HFC deep layers"), ("KD", "BU", "KD+BU"))


def tiny_lab(folder, dims=2, budget=BUDGET, classifier=None) -> Lab:
    made = case(dims)
    return Lab(classifier or made.classifier, made.dataset, budget, Store(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All defences, on the tiny 2-D network."""
    lab = tiny_lab(tmp_path_factory.mktemp("store"))
    return lab, perform("defender", lab, WHOLE)


def activations(z: np.ndarray, predicted: np.ndarray, width: int = 2) -> Activations:
    return Activations(np.eye(width, dtype=np.float32)[predicted], {"one": z.astype(np.float32)})


# -- cases with a known answer ----------------------------------------------------------------------------------------


def test_samples_at_the_class_centre_invert_the_mahalanobis_distance_and_two_sides_catch_them_all():
    rng, centres = np.random.default_rng(0), np.array([[0.0] * 20, [9.0] * 20])

    def clean(count):
        labels = np.arange(count) % 2
        return centres[labels] + rng.normal(size=(count, 20)), labels

    (z, labels), (neg, seen_as), (cal, cal_as) = clean(400), clean(80), clean(200)
    driven_out = activations(neg + 7.0, seen_as)
    training = Training(activations(z, labels), labels, activations(neg, seen_as), driven_out, activations(cal, cal_as))
    maha = fit_detectors(training, ("MAHA",))["MAHA"]
    negatives, judged_as = clean(60)
    scores = maha.score(activations(negatives, judged_as))
    means = np.array([z[labels == c].mean(0) for c in (0, 1)])
    hidden = maha.score(activations(means[np.arange(30) % 2], np.arange(30) % 2))
    assert roc(scores, hidden).auc < 0.01
    two = [off_centre(values, maha.calibration_scores) for values in (scores, hidden)]
    assert roc(*two).auc > 0.98


def test_off_centre_is_the_rank_from_the_middle_and_goes_on_beyond_the_clean_scores():
    calibration = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 18])  # middle 4.5, 10 % each
    found = off_centre(np.array([4.5, 4.0, 1.5, 7.5, 18.0, -0.01, -4.5, 31.5]), calibration)
    assert found == pytest.approx([0, 5, 30, 30, 45, 50 + 0.01 / 4.5, 51, 51])
    assert off_centre(np.array([2.0]), np.array([1.0, 1.0])) == pytest.approx([51])  # of no width


def test_above_is_the_rank_and_goes_on_beyond_the_highest_clean_score_alone():
    calibration = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 18])
    assert above(np.array([-9.0, 0.5, 18.0, 31.5]), calibration) == pytest.approx([0, 10, 95, 101])


def test_joined_to_squeezing_a_scan_is_as_suspicious_as_the_more_suspicious_of_the_two_ranks(whole):
    lab, _ = whole
    one = replace(DEFENCES["detector or transforms"], detectors=("MAHA", "SVM"))
    usual, squeezes = replace(DEFENCES["as they are"], detectors=("MAHA", "SVM")), DEFENCES["image transforms"]
    kinds = ("clean", "noise", "C&W+HFC")
    ranks = {}
    for kind in kinds:
        pairs = [
            (scores(lab, who, kind)[name], scores(lab, who, "calibration")[name])
            for who, name in ((usual, "SVM"), (squeezes, "largest of three"))
        ]
        ranks[kind] = [
            np.mean(values[:, None] > own, 1) + np.mean(values[:, None] == own, 1) / 2 for values, own in pairs
        ]
        joined = scores(lab, one, kind)["SVM"]
        inside = joined < 100
        assert joined[inside] == pytest.approx(100 * np.max(ranks[kind], 0)[inside])
        assert (np.max(ranks[kind], 0)[~inside] == 1).all()


def checkerboards(count: int, seed: int, strength: float) -> torch.Tensor:
    """Images of one grey each, with a checkerboard of this strength that changes no mean."""
    grey = 0.3 + 0.4 * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    board = torch.ones(6, 6)
    board[::2, ::2] = board[1::2, 1::2] = -1
    waves = 1 + 0.1 * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(seed + 100))
    return grey + strength * waves * board


def test_what_the_mean_does_not_see_the_spread_separates_perfectly():
    net = nn.Sequential(
        OrderedDict(body=nn.Identity(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(1, 2))
    )
    with torch.no_grad():
        net.fc.weight.copy_(torch.tensor([[-9.0], [9.0]]))
        net.fc.bias.copy_(torch.tensor([4.5, -4.5]))
    network = Classifier(net, "grey", ("dark", "light"), ("body",), "fc", (1, 6, 6))
    y = (checkerboards(90, 1, 0)[:, 0, 0, 0] > 0.5).long().numpy()
    parts = {"train": checkerboards(90, 1, 0.02), "val": checkerboards(60, 2, 0.02), "test": checkerboards(60, 3, 0.02)}
    truth = {"train": y} | {
        part: (x.mean((1, 2, 3)) > 0.5).long().numpy() for part, x in parts.items() if part != "train"
    }
    splits = {
        part: Split((x.numpy() * 255).round().astype(np.uint8), truth[part], tuple(f"{part}{i}" for i in range(len(x))))
        for part, x in parts.items()
    }
    lab = Lab(network, Dataset("grey", ("dark", "light"), splits, ""), Budget(scans=40), Store("/nowhere/at/all"))
    clean = widened(lab).chosen().x
    hidden = (clean + 0.1 * torch.sign(clean - clean.mean((2, 3), keepdim=True))).clamp(0, 1)
    looks = [extract(widened(lab).classifier, x) for x in (clean, hidden)]
    assert list(looks[0].layers) == ["body spread", "body largest", "body"]
    auc = {name: roc(looks[0].layers[name][:, 0], looks[1].layers[name][:, 0]).auc for name in looks[0].layers}
    assert auc["body spread"] == 1
    assert auc["body"] == pytest.approx(0.5, abs=0.02)
    assert list(seen(lab, "free statistics", "clean").layers) == ["body spread", "body largest"]
    assert list(seen(lab, "means", "clean").layers) == ["body"]


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 4, 4, 4)])
def test_squeezing_leaves_a_constant_image_alone(shape):
    greys = torch.tensor([0.0, 3 / 15, 1.0]).view(3, *[1] * len(shape)) * torch.ones(3, *shape)
    for name, squeeze in SQUEEZES.items():
        assert torch.allclose(squeeze(greys), greys, atol=1e-6), name
    found = distances(linear(shape), greys)
    assert {*found} == {*SQUEEZES, "largest of three"}
    assert all(values == pytest.approx([0, 0, 0], abs=1e-5) for values in found.values())


def test_squeezing_scores_are_distances_of_probabilities_worked_out_by_hand():
    network = linear((1, 4, 4), classes=3, seed=2)
    x = images(network, 5, seed=4)
    w, b = (t.numpy().astype(np.float64) for t in (network.net.fc.weight, network.net.fc.bias))

    def probabilities(x):
        e = np.exp(x.reshape(len(x), -1).astype(np.float64) @ w.T + b)
        return e / e.sum(1, keepdims=True)

    pixels = x.numpy()
    edge = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(edge, (3, 3), axis=(2, 3))
    by_hand = {"16 grey levels": np.rint(pixels * 15) / 15, "median": np.median(windows, axis=(-2, -1))}
    found = distances(network, x, batch_size=2)
    for name, squeezed in by_hand.items():
        assert found[name] == pytest.approx(np.abs(probabilities(squeezed) - probabilities(pixels)).sum(1), abs=1e-5)
    assert np.array_equal(found["largest of three"], np.max([found[name] for name in SQUEEZES], axis=0))


def test_squeezes_keep_samples_and_channels_apart_and_volumes_whole():
    spot = torch.zeros(2, 2, 5, 5, 5)
    spot[1, 1, 2, 2, 2] = 1
    for squeeze in (fewer_levels, median, blurred):
        assert float(squeeze(spot)[0].abs().max()) == 0
        assert float(squeeze(spot)[1, 0].abs().max()) == 0
    assert float(median(spot).max()) == 0
    weights = np.exp(-(np.arange(-2, 3) ** 2) / 2) / np.exp(-(np.arange(-4, 5) ** 2) / 2).sum()
    assert blurred(spot)[1, 1].numpy() == pytest.approx(np.einsum("i,j,k->ijk", weights, weights, weights), abs=1e-3)


def test_the_typical_attacker_rests_at_the_median_distance_and_is_drawn_back_from_both_sides():
    rng = np.random.default_rng(1)
    labels = np.arange(202) % 2  # 101 of each class, so that the median is one of them
    z = rng.normal(size=(202, 4)) + 5 * labels[:, None]
    clean = activations(z, labels)
    penalty = Typical(weight=3.0).fit(clean, labels)
    mean, spread = z[labels == 0].mean(0), np.cov(z[labels == 0].T, bias=True)
    squared = np.einsum("ni,ij,nj->n", z[labels == 0] - mean, np.linalg.inv(spread), z[labels == 0] - mean) / 4
    tests = torch.tensor(np.stack([mean, z[labels == 0][np.argsort(squared)[50]], mean + 30]), dtype=torch.float32)
    terms = penalty({"one": tests}, torch.tensor([0, 0, 0]), [])["one"]
    # The constraint adds 1/1000 of the variance to the covariance, which moves distances by as much.
    assert terms.numpy()[:2] == pytest.approx([3 * np.median(squared), 0], abs=0.02)
    assert float(terms[2]) > 100


# -- attacks and defences by name -------------------------------------------------------------------------------------


def test_the_first_attack_is_what_all_studies_train_on_and_shares_of_eps_are_heeded():
    budget = Budget()
    assert ATTACKERS["PGD"].attack(budget.eps, budget.steps) == budget.attack
    assert ATTACKERS["HFC twice eps"].attack(8 / 255, 20) == ATTACKS["PGD"].replace(eps=16 / 255, steps=20)
    assert ATTACKERS["HFC twice eps"].attack(0.7, 20).eps == 1
    assert ATTACKERS["C&W+HFC"].attack(8 / 255, 20).loss == "margin"


def test_only_the_deeper_half_is_constrained_where_it_says_so():
    assert ATTACKERS["HFC deep layers"].carried(("a", "b", "c")) == HFC(layers=("b", "c"))
    assert ATTACKERS["PGD+HFC"].carried(("a", "b", "c")) == HFC()


def test_defences_learn_from_known_attacks_alone():
    for one in DEFENCES.values():
        assert {ATTACKERS[name].group for name in one.taught} <= {"known"}


# -- the whole study --------------------------------------------------------------------------------------------------


def test_every_defence_meets_every_attack_on_the_scans_that_judge(whole):
    lab, found = whole
    judges = int((~lab.chosen().trains).sum())
    cells = Counter((r["defence"], r["detector"], r["attack"]) for r in found.rows)
    assert set(cells.values()) == {1}
    assert {r["attack"] for r in found.rows} == {*WHOLE.attacks, WORST}
    assert {r["defence"] for r in found.rows} == {*DEFENCES}
    assert {r["n"] for r in found.rows} == {judges} and {r["negatives"] for r in found.rows} == {2 * judges}
    counts = Counter(r["defence"] for r in found.rows if r["attack"] == "PGD")
    assert counts == dict.fromkeys(DEFENCES, 2) | {"image transforms": 4}


def test_the_detectors_as_they_are_score_as_in_the_laboratory(whole):
    lab, found = whole
    for attack, penalty, name in ((BUDGET.attack, None, "PGD"), (BUDGET.attack, HFC(), "PGD+HFC")):
        for detector, (negatives, attacked) in lab.scores(BUDGET.attack, attack, penalty).items():
            if detector not in WHOLE.detectors:
                continue
            (row,) = [
                r for r in found.rows if (r["defence"], r["detector"], r["attack"]) == ("as they are", detector, name)
            ]
            truth = np.r_[np.zeros(len(negatives)), np.ones(len(attacked))]
            assert row["auc"] == pytest.approx(roc_auc_score(truth, np.r_[negatives, attacked]))
            assert row["auc_low"] <= row["auc"] <= row["auc_high"]
            flagged = lab.detectors(BUDGET.attack)[detector].threshold
            assert row["caught"] == pytest.approx((attacked > flagged).mean())
            half = len(negatives) // 2
            assert row["false_clean"] == pytest.approx((negatives[:half] > flagged).mean())
            assert row["false_noise"] == pytest.approx((negatives[half:] > flagged).mean())


def test_defences_taught_hfc_are_trained_on_both_attacks_of_the_scans_that_train(whole):
    lab, found = whole
    trains = np.flatnonzero(lab.chosen().trains)
    parts = [lab.chosen().clean, lab.noise(BUDGET.eps).seen]
    parts += [lab.version(BUDGET.attack).seen, lab.version(BUDGET.attack, HFC()).seen]
    z = [list(part.layers.values())[-1].astype(np.float64) for part in parts]
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    y = np.repeat([0, 0, 1, 1], len(trains))
    model = make_pipeline(StandardScaler(), SVC(C=1.0, class_weight="balanced"))
    model.fit(np.concatenate([part[trains] for part in z]), y)
    judges = np.flatnonzero(~lab.chosen().trains)
    scores = [model.decision_function(part[judges]) for part in (z[0], z[1], z[3])]
    truth = np.repeat([0, 0, 1], len(judges))
    (row,) = [
        r for r in found.rows if (r["defence"], r["detector"], r["attack"]) == ("trained on HFC", "SVM", "PGD+HFC")
    ]
    assert row["auc"] == pytest.approx(roc_auc_score(truth, np.concatenate(scores)))


def test_the_worst_row_is_the_smallest_over_held_out_attacks_and_the_sentence_names_the_best_of_those(whole):
    _, found = whole
    worst = {}
    for row in found.rows:
        if row["group"] == HELD_OUT:
            key = row["defence"], row["detector"]
            worst[key] = min(worst.get(key, 2), row["auc"])
    assert {(r["defence"], r["detector"]): r["auc"] for r in found.rows if r["attack"] == WORST} == worst
    defence, detector = max(worst, key=worst.get)
    assert f'Of {len(worst)} defences, {detector} of "{defence}" is the surest' in found.shows
    assert f"its AUC is {worst[defence, detector]:.2f}" in found.shows
    ranking = [row["auc"] for row in found.rows[: len(worst)]]
    assert ranking == sorted(worst.values(), reverse=True), "the table begins with the best"
    for attack in WHOLE.attacks:
        own = [r for r in found.rows if r["attack"] == attack]
        assert {r["auc"] for r in own if r["best"]} == {max(r["auc"] for r in own)}


def test_success_is_of_the_scans_that_judge(whole):
    lab, found = whole
    judges = np.flatnonzero(~lab.chosen().trains)
    for name in ("PGD", "HFC free statistics"):
        reached = extract(lab.classifier, pictures(lab, name)).predicted == lab.chosen().targets
        assert {r["success"] for r in found.rows if r["attack"] == name} == {float(reached[judges].mean())}


def test_the_attacker_who_knows_the_free_statistics_constrains_them(whole):
    lab, _ = whole
    wide = widened(lab)
    limits = wide.fitted(HFC())
    aim = torch.from_numpy(lab.chosen().targets)

    def distance(name):
        z = extract(wide.classifier, pictures(lab, name)).layers
        terms = limits({layer: torch.from_numpy(v) for layer, v in z.items()}, aim)
        return sum(float(v.mean()) for layer, v in terms.items() if layer not in lab.classifier.layer_names)

    assert distance("HFC free statistics") < distance("PGD+HFC")


def test_nothing_is_made_twice_and_a_second_laboratory_attacks_no_more(whole):
    lab, found = whole
    for made in (lab.made, widened(lab).made):
        assert max(made.values()) == 1
    attacks = [name for name in lab.made if name.startswith("images ")]
    assert len(attacks) == sum(not ATTACKERS[name].free for name in WHOLE.attacks)
    again = Lab(lab.classifier, lab.dataset, lab.budget, lab.store)
    assert perform("defender", again, WHOLE).rows == found.rows
    done = {name.rsplit(" ", 1)[0] for name in [*again.made, *widened(again).made]}
    assert not done & {"images", "attack", "noise", "clean features", "free statistics", "defence scores", "defence"}


def test_it_can_be_stopped_and_goes_on(tmp_path):
    lab, calls = tiny_lab(tmp_path), []

    def stop(fraction, what):
        calls.append(fraction)
        if what.startswith("C&W"):
            raise Cancelled

    with pytest.raises(Cancelled):
        perform("defender", lab, FEW, progress=stop)
    later = tiny_lab(tmp_path)
    perform("defender", later, FEW, progress=lambda fraction, what: calls.append(fraction))
    assert sum(name.startswith("attack ") for name in later.made) == 2  # PGD was kept
    assert all(0 <= fraction <= 1 for fraction in calls)


def test_volumes_and_two_classes_work(tmp_path):
    chosen = Defender(
        ("two-sided", "free statistics two-sided", "image transforms"), ("HFC half eps", "typical + free"), ("MAHA",)
    )
    found = perform("defender", tiny_lab(tmp_path, 3, BUDGET.replace(scans=24, steps=1)), chosen)
    assert {r["defence"] for r in found.rows} == set(chosen.defences)
    assert found.as_json()


def test_without_dropout_the_detectors_that_need_it_are_left_out_with_a_word(tmp_path):
    net = case().classifier.net
    bare = nn.Sequential(
        OrderedDict((name, module if name != "fc" else module[1]) for name, module in net.named_children())
    )
    network = replace(case().classifier, net=bare)
    found = perform("defender", tiny_lab(tmp_path, classifier=network), FEW)
    assert "BU and KD+BU had to be left out" in found.shows_not
    assert {r["detector"] for r in found.rows} == {"KD"}


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Defender(defences=("magic",)), "Defender.defences must be among as they are; .*got magic"),
        (Defender(defences=()), "Defender.defences must be among .*got none"),
        (Defender(detectors=("magic",)), "Defender.detectors must be among KD; .*got magic"),
        (
            Defender(("free statistics",), detectors=("BU",)),
            "The defence free statistics makes no difference to BU: leave it out, or add one of KD",
        ),
        (Defender(attacks=("PGD", "magic")), "Defender.attacks must be among PGD; .*got magic"),
        (Defender(attacks=("PGD", "PGD+HFC")), "must hold one that no defence learns from .*got PGD; PGD.HFC: add one"),
    ],
)
def test_unknown_names_and_missing_attacks_are_refused(tmp_path, settings, said):
    lab = tiny_lab(tmp_path)
    with pytest.raises(InputError, match=said):
        perform("defender", lab, settings)
    assert not lab.made


def test_a_network_of_one_layer_or_without_space_is_told_what_to_leave_out(tmp_path):
    flat = linear((1, 12, 12), classes=3)
    lab = tiny_lab(tmp_path, classifier=flat)
    with pytest.raises(InputError, match=r"HFC deep layers leaves half of the layers alone.*has 1: leave it out"):
        check(lab, Defender(), None)
    with pytest.raises(
        InputError, match=r"free statistics; .*typical . free look at how.*no layer of linear-0 has more than one"
    ):
        check(lab, Defender(attacks=tuple(name for name in ATTACKERS if name != "HFC deep layers")), None)
    check(lab, Defender(("as they are", "image transforms"), ("PGD", "C&W", "typical distance")), None)
    assert not lab.made


def test_too_few_images_for_the_components_are_refused(tmp_path):
    lab = tiny_lab(tmp_path)
    train = lab.dataset.splits["train"]
    rows = np.concatenate([np.flatnonzero(train.y == c)[:8] for c in range(3)])
    few = Split(train.x[rows], train.y[rows], tuple(train.ids[row] for row in rows))
    small = replace(lab, dataset=replace(lab.dataset, splits=dict(lab.dataset.splits) | {"train": few}))
    with pytest.raises(
        InputError, match="HFC K 8 needs more than 8 training images of each class; random has 8 of one"
    ):
        check(small, Defender(), None)


# -- the figure -------------------------------------------------------------------------------------------------------


def test_the_figure_shows_each_auc_in_its_cell_below_its_heading_and_the_worst_in_the_first_panel(whole):
    _, found = whole
    figure = draw(found.rows)
    cells, headings = {}, {one.about: name for name, one in DEFENCES.items()}
    for trace in figure.data:
        below = []
        for line, values in zip(trace.y, trace.z, strict=True):
            if line in headings:
                assert set(values) == {None}
                below.append((headings[line], []))
                continue
            assert line.startswith(f"{below[-1][0]}: ")
            below[-1][1].append(values[0])
            for column, value in zip(trace.x, values, strict=True):
                cells[line, column] = value
        if trace is figure.data[0]:
            assert [max(own) for _, own in below] == sorted((max(own) for _, own in below), reverse=True)
            assert all(own == sorted(own, reverse=True) for _, own in below), "best first"
    told = {(f"{r['defence']}: {r['detector']}", r["attack"]): r["auc"] for r in found.rows}
    assert cells == told
    assert list(figure.data[0].x) == [WORST]
    shown = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    assert shown["two-sided: MAHA"] == "MAHA" and shown[DEFENCES["two-sided"].about] == ""
    notes = {note.y: note.text for note in figure.layout.annotations if note.yref == "y"}
    assert notes == {heading: f"<b>{heading}</b>" for heading in headings}
    assert STUDIES["defender"].alt


def test_a_command_line_can_list_the_names():
    assert not any("," in name for name in (*ATTACKERS, *DEFENCES))
