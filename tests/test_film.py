"""The attack as a film: every step's picture, verdict and number is that of the attack, and words say where two attacks part."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import ATTACK, CONSTRAINT, case, one_thread  # noqa: F401
from networks import images, tiny_cnn
from PIL import Image
from sklearn.decomposition import PCA

from hfcviz import film
from hfcviz.activations import extract
from hfcviz.attacks import Attack, run, uniform_noise
from hfcviz.bundle import open_bundle
from hfcviz.experiment import run_experiment
from hfcviz.film_figures import film_figure
from hfcviz.outcome import Plan, from_arrays, load_outcome, save_outcome, to_arrays
from hfcviz.palette import COLOURS
from hfcviz.store import Store
from hfcviz.traces import Recorder, Trace, shown_steps

both_ranks = pytest.mark.parametrize("dims", [2, 3], ids=["2-D", "3-D"])
ROLES = ("attack", "hidden")
LAST = ATTACK.steps
MIDDLE = {2: lambda x: x, 3: lambda x: np.swapaxes(x[..., x.shape[-1] // 2], -1, -2)[..., ::-1, ::-1]}
"""The picture of a scan: of a volume (C, X, Y, Z), the middle slice with the front at the top and the right on the left."""


def made(dims=2, chosen=None):
    one = case(dims)
    layers = list(one.outcome.activations.layers)
    return film.make_film(one.outcome, one.reference, one.classifier.class_names, chosen or layers[-1])


def states(figure, frame):
    """{name: all that a trace shows in a frame}, what stands still as well."""
    shown = {trace.name: trace.to_plotly_json() for trace in figure.data}
    for number, state in zip(figure.frames[frame].traces, figure.frames[frame].data, strict=True):
        shown[figure.data[number].name] |= state.to_plotly_json()
    return shown


def pixels(picture):
    """The colours of an encoded picture, (rows, columns) or (rows, columns, 3) from 0 to 255."""
    image = Image.open(io.BytesIO(base64.b64decode(picture.source.split(",", 1)[1])))
    return np.asarray(image.convert("RGB") if image.mode == "P" else image).astype(int)


def depths(one, other):
    return {"attack": np.array(one, float), "hidden": np.array(other, float)}


# What is recorded


@pytest.mark.parametrize("steps", [1, 2, 39, 40, 41, 1000])
@pytest.mark.parametrize("side", [16, 64, 128, 224])
def test_pictures_are_kept_of_even_steps_with_the_first_and_the_last_and_of_not_too_many(steps, side):
    kept = shown_steps(steps, side * side)
    assert kept[0] == 0 and kept[-1] == steps
    assert 2 <= len(kept) <= 41 and len(kept) * side**2 < 600_000
    gaps = np.diff(kept)
    assert (gaps > 0).all() and len(set(gaps[:-1].tolist())) <= 1 and gaps[-1] <= gaps[0]
    if side == 16 and steps <= 40:
        assert kept.tolist() == list(range(steps + 1))


@both_ranks
def test_each_scan_of_a_batch_keeps_its_own_changes_whatever_the_batches(dims):
    classifier = tiny_cnn(dims)
    x, target, attack = images(classifier, 3), torch.tensor([0, 1, 1]), Attack(eps=0.05, steps=4)
    recorders = [Recorder(target, 4) for _ in range(3)]
    found = [
        run(attack, classifier, x, target, seeds=[4, 5, 6], batch_size=size, observe=recorder)
        for size, recorder in zip((1, 2, 3), recorders, strict=True)
    ]
    start = (x + uniform_noise(x.shape[1:], 0.05, [4, 5, 6])).clamp(0, 1)
    for recorder, result in zip(recorders, found, strict=True):
        trace = recorder.trace()
        assert trace.shown.tolist() == [0, 1, 2, 3, 4] and trace.logits.shape == (5, 3, 2)
        for sample in range(3):
            for frame, state in ((0, start), (4, result)):
                expected = MIDDLE[dims]((state - x)[sample].numpy())
                assert np.abs(trace.change(frame, sample) - expected).max() <= 0.05 / 254 + 1e-6
        for frame, state in ((0, start), (4, result)):
            np.testing.assert_allclose(trace.logits[frame], classifier(state), rtol=1e-3, atol=1e-4)
    assert np.abs(recorders[0].trace().changes.astype(int) - recorders[2].trace().changes).max() <= 1


def test_no_change_at_all_is_kept_as_none():
    classifier = tiny_cnn()
    recorder = Recorder(torch.tensor([1]), 2)
    run(Attack(eps=0, steps=2), classifier, images(classifier, 1), torch.tensor([1]), observe=recorder)
    trace = recorder.trace()
    assert not trace.changes.any() and not trace.change(1).any()


@both_ranks
def test_the_verdicts_of_the_last_step_are_those_of_the_result_and_of_the_first_those_of_the_noise(dims):
    o = case(dims).outcome
    assert list(o.step_scores) == list(ROLES)
    for role in ROLES:
        frames = len(o.traces[role].shown)
        assert list(o.step_scores[role]) == list(o.scores)
        for name, scores in o.step_scores[role].items():
            spread = np.ptp(o.scores[name]) + abs(o.thresholds[name])
            for frame, row in ((0, o.row("noise")), (-1, o.row(role))):
                assert scores[frame] == pytest.approx(o.scores[name][row], rel=1e-2, abs=1e-3 * spread), name
            assert scores.shape == (frames,)
        assert o.step_depths[role].shape == (len(o.activations.layers), frames)
        expected = o.layer_scores["GMM"][:, o.row(role)]
        np.testing.assert_allclose(o.step_depths[role][:, -1], expected, rtol=1e-2, atol=1e-2)


def test_a_verdict_on_the_way_is_that_of_a_shorter_attack():
    one = case()
    shorter = ATTACK.replace(steps=5, step_size=ATTACK.step)
    there = run_experiment(one.classifier, one.reference, one.scan, Plan(attack=shorter, penalty=CONSTRAINT))
    for role in ROLES:
        for name, scores in one.outcome.step_scores[role].items():
            assert scores[5] == pytest.approx(there.scores[name][there.row(role)], rel=1e-2, abs=1e-2), name


def test_where_dropout_acts_before_the_head_its_detectors_are_left_out_with_a_sentence(monkeypatch):
    one = case()
    monkeypatch.setattr(type(one.classifier), "thins_head_only", False)
    o = run_experiment(one.classifier, one.reference, one.scan, Plan(attack=ATTACK.replace(steps=2)))
    assert set(o.scores) - set(o.step_scores["attack"]) == {"BU", "KD+BU"} == set(film.left_out(o))
    assert film.left_out(one.outcome) == []


# Files of before


def test_a_film_survives_storage(tmp_path):
    o = case().outcome
    save_outcome(o, tmp_path / "first.npz")
    back = load_outcome(tmp_path / "first.npz")
    for role in ROLES:
        assert list(back.step_scores[role]) == list(o.step_scores[role])
        np.testing.assert_equal(back.step_scores[role], o.step_scores[role])
        np.testing.assert_equal(back.traces[role].changes, o.traces[role].changes)
    assert film.recorded(back)


def test_an_outcome_of_before_loads_without_a_film():
    arrays, about = to_arrays(case().outcome)
    old = {
        name: array
        for name, array in arrays.items()
        if not name.startswith("step_") and name.rsplit("/", 1)[-1] not in ("logits", "shown", "changes")
    }
    old["activations/logits"] = arrays["activations/logits"]
    found = from_arrays(old, about)
    assert not film.recorded(found) and film.recorded(case().outcome)
    assert isinstance(found.traces["attack"], Trace) and found.traces["attack"].changes.size == 0
    np.testing.assert_equal(found.traces["attack"].confidence, case().outcome.traces["attack"].confidence)
    assert "part at" in film.parting_line(found) or "do not part" in film.parting_line(found)


def test_a_stored_result_of_before_is_made_again(tmp_path, monkeypatch):
    one, plan = case(), Plan(attack=ATTACK.replace(steps=2))
    store = Store(tmp_path)
    monkeypatch.setattr("hfcviz.experiment.FORMAT", 1)
    run_experiment(one.classifier, one.reference, one.scan, plan, store=store)
    monkeypatch.undo()
    run_experiment(one.classifier, one.reference, one.scan, plan, store=store)
    assert store.hits == 0
    run_experiment(one.classifier, one.reference, one.scan, plan, store=store)
    assert store.hits == 1


# Frames


@both_ranks
def test_the_film_begins_with_the_random_start_and_ends_with_the_result(dims):
    one, figure = case(dims), film_figure(made(dims))
    o = one.outcome
    assert [frame.name for frame in figure.frames] == [str(step) for step in range(LAST + 1)]
    for frame, rows in ((0, {"attack": 1, "hidden": 1}), (LAST, {"attack": 2, "hidden": 3})):
        pictures = {picture.name: picture for picture in figure.frames[frame].layout.images}
        for role, label in (("attack", "PGD"), ("hidden", "PGD+HFC")):
            version = MIDDLE[dims](o.x[rows[role]])
            change = version - MIDDLE[dims](o.x[0])
            assert np.abs(pixels(pictures[label]) - version[0] * 255).max() <= 0.6
            shown = pixels(next(p for name, p in pictures.items() if name.startswith(f"{label} −")))
            red = np.sign(shown[..., 0] - shown[..., 2])
            certain = np.abs(change[0]) > ATTACK.eps / 10
            assert certain.any() and (red[certain] == np.sign(change[0])[certain]).all()
    assert [image.source for image in figure.layout.images] == [i.source for i in figure.frames[0].layout.images]


def test_before_it_is_played_the_film_stands_at_its_first_step():
    figure = film_figure(made())
    standing = {trace.name: trace.to_plotly_json() for trace in figure.data}
    first = states(figure, 0)
    for name in ("PGD, now", "PGD+HFC by layer", "caught", "passes", "said of PGD", "PGD+HFC in block2"):
        for part in ("x", "y", "text"):
            np.testing.assert_equal(standing[name].get(part), first[name].get(part))


@both_ranks
def test_curves_and_their_marks_are_the_trace(dims):
    one, shown = case(dims), made(dims)
    figure, o = film_figure(shown), case(dims).outcome
    for frame in (0, 3, LAST):
        seen = states(figure, frame)
        for role, label in (("attack", "PGD"), ("hidden", "PGD+HFC")):
            trace = o.traces[role]
            for name, values in ((label, trace.confidence), (f"{label}, cross-entropy", trace.terms["cross-entropy"])):
                np.testing.assert_allclose(figure_values(figure, name), values[:, 0], rtol=1e-6, atol=1.01e-8)
                assert list(seen[f"{name}, now"]["x"]) == [frame]
                assert seen[f"{name}, now"]["y"][0] == pytest.approx(values[frame, 0], abs=1.01e-8)
            chances = torch.from_numpy(trace.logits[frame, 0]).softmax(0)
            best = one.classifier.class_names[int(chances.argmax())]
            assert seen[f"said of {label}"]["text"] == [f"<b>{best}, {chances.max():.1%}</b>", f"<b>step {frame}</b>"]
    for layer in o.activations.layers:
        expected = o.traces["hidden"].terms[layer][:, 0]
        np.testing.assert_allclose(figure_values(figure, f"constraint in {layer}"), expected, rtol=1e-6)


def figure_values(figure, name):
    return np.asarray(next(trace for trace in figure.data if trace.name == name).y, float)


@both_ranks
def test_a_lamp_says_caught_exactly_where_the_score_lies_above_the_threshold(dims):
    o, figure = case(dims).outcome, film_figure(made(dims))
    names, verdicts = list(o.thresholds), set()
    for frame in range(LAST + 1):
        seen = states(figure, frame)
        for row, role in enumerate(ROLES):
            for column, name in enumerate(names):
                score = o.step_scores[role][name][frame]
                caught = score > o.thresholds[name]
                verdicts.add(bool(caught))
                spot = row * len(names) + column
                lit, dark = (seen[state] for state in (("caught", "passes") if caught else ("passes", "caught")))
                assert lit["y"][spot] == row and dark["y"][spot] is None
                assert abs(lit["x"][spot] - column) < 0.5
                word, number = lit["text"][spot].split("<br>")
                assert word == ("caught" if caught else "passes")
                assert float(number) == pytest.approx(score, rel=5e-3)
    assert verdicts == {True, False}
    kinds = {trace.name: trace.marker for trace in figure.data if trace.name in ("caught", "passes")}
    assert kinds["caught"].symbol != kinds["passes"].symbol and kinds["caught"].color != kinds["passes"].color


@both_ranks
def test_the_strip_over_depth_moves_and_ends_at_the_result(dims):
    o, figure = case(dims).outcome, film_figure(made(dims))
    _, median, upper = o.depth_quantiles.T
    for role, label in (("attack", "PGD"), ("hidden", "PGD+HFC")):
        by_layer = [states(figure, frame)[f"{label} by layer"] for frame in (0, LAST)]
        expected = (o.layer_scores["GMM"][:, o.row(role)] - median) / (upper - median)
        np.testing.assert_allclose(by_layer[1]["customdata"], expected, rtol=2e-2, atol=2e-2)
        np.testing.assert_allclose(np.sinh(by_layer[1]["y"]) / 2, expected, rtol=2e-2, atol=2e-2)
        assert by_layer[0]["y"] != by_layer[1]["y"]


@both_ranks
def test_points_move_along_the_pca_of_clean_training_scans(dims):
    one, figure = case(dims), film_figure(made(dims))
    o, r = one.outcome, one.reference
    for layer in o.activations.layers:
        clean = np.concatenate([r.train.layers[layer][r.train_labels == c][:150] for c in np.unique(r.train_labels)])
        view = PCA(2, svd_solver="full").fit(clean.astype(np.float64))
        for frame in (0, 5, LAST):
            for role, label in (("attack", "PGD"), ("hidden", "PGD+HFC")):
                point = states(figure, frame)[f"{label} in {layer}"]
                x, y = view.transform(o.traces[role].features[layer][[frame], 0])[0]
                assert abs(point["x"][0]) == pytest.approx(abs(x), rel=1e-3, abs=1e-4)
                assert abs(point["y"][0]) == pytest.approx(abs(y), rel=1e-3, abs=1e-4)
                assert point["marker"]["color"] == COLOURS[role]


def test_nothing_leaves_its_axes_while_the_film_plays():
    figure = film_figure(made())
    for frame in range(LAST + 1):
        for trace in states(figure, frame).values():
            for letter in "xy":
                axis = figure.layout[f"{letter}axis{trace[letter + 'axis'][1:]}"]
                values = [value for value in np.asarray(trace[letter], object).tolist() if value is not None]
                values = np.log10(values) if axis.type == "log" else np.array(values, float)
                if not len(values):  # no lamp of this kind
                    continue
                assert values.min() >= min(axis.range) and values.max() <= max(axis.range), trace["name"]


def test_a_margin_below_zero_is_drawn_too():
    one = case()
    attack = ATTACK.replace(loss="margin")
    o = run_experiment(one.classifier, one.reference, one.scan, Plan("C&W", attack, penalty=CONSTRAINT))
    figure = film_figure(film.make_film(o, one.reference, one.classifier.class_names, "block1"))
    margins = o.traces["attack"].terms["margin"][:, 0]
    assert margins[0] > 0 > margins[-1]
    np.testing.assert_allclose(np.sinh(figure_values(figure, "C&W, margin")) / 2, margins, rtol=1e-5, atol=1e-6)
    mark = states(figure, LAST)["C&W, margin, now"]
    assert np.sinh(mark["y"][0]) / 2 == pytest.approx(margins[-1], rel=1e-5)


def test_the_plain_attack_alone_has_a_film():
    one = case()
    o = run_experiment(one.classifier, one.reference, one.scan, Plan(attack=ATTACK, penalty_name="none", penalty=None))
    shown = film.make_film(o, one.reference, one.classifier.class_names, "block1")
    figure = film_figure(shown)
    assert len(figure.layout.images) == 2 and len(states(figure, 0)["passes"]["x"]) == len(o.scores)
    line = film.parting_line(o)
    assert line.startswith("PGD ") and "HFC" not in line


@pytest.mark.parametrize("name", ["brain2d", "brain3d"])
def test_the_bundled_results_have_a_film_that_a_browser_loads_at_once(name):
    bundle = open_bundle(name)
    o = bundle.first
    shown = film.make_film(o, bundle.reference, bundle.about["class_names"], list(o.activations.layers)[-1])
    figure = film_figure(shown)
    assert figure.frames[0].name == "0" and figure.frames[-1].name == "40" and len(figure.frames) >= 21
    assert len(figure.to_json(validate=False)) < 3_000_000
    for role in ROLES:
        assert np.array_equal(
            [values[-1] > o.thresholds[detector] for detector, values in o.step_scores[role].items()],
            [o.caught(detector)[o.row(role)] for detector in o.scores],
        )
        change = MIDDLE[o.x.ndim - 2](o.x[o.row(role)] - o.x[0])
        assert np.abs(shown.changes[role][-1] - change).max() < 1.01 * shown.eps / 254


# Layers and words


def test_some_layers_are_evenly_spread_and_hold_the_first_the_last_and_the_chosen():
    layers = [f"layer{number}" for number in range(20)]
    for chosen in layers:
        found = film.some_layers(layers, chosen)
        assert len(found) == len(set(found)) == 8 and {layers[0], layers[-1], chosen} <= set(found)
        assert found == sorted(found, key=layers.index)
    assert film.some_layers(layers[:4], "layer2") == layers[:4]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0.2, 1.5, 9, 9], [0.1, 0.9, 2, 0], film.Parting(1, "attack", 2)),
        ([0.2, 0.5, 1.0, 1.01], [0.1, 0.9, 0, 1.0], film.Parting(3, "attack", 1)),  # at the quantile is not beyond it
        ([3, 3, 3, 3], [1.1, 1.2, 5, 8], film.Parting(None, None, 0)),
        ([0, 0, 0, 0], [-4, -4, 1, 1], film.Parting(None, None, 0)),
        ([0, 0, 7, 7], [2, 0, 0, 0], film.Parting(0, "hidden", 3)),
    ],
)
def test_two_attacks_part_at_the_first_layer_where_one_alone_lies_beyond_the_quantile(one, other, expected):
    assert film.parting(depths(one, other)) == expected


def outcome_at(one, other):
    """The shared outcome with these distances in its two layers: 0 is the clean median, 1 the 95 % quantile."""
    o = case().outcome
    _, median, upper = o.depth_quantiles.T
    rows = np.stack([np.zeros(len(median))] * 2 + [np.resize(one, len(median)), np.resize(other, len(median))], 1)
    return replace(o, layer_scores=o.layer_scores | {"GMM": median[:, None] + rows * (upper - median)[:, None]})


def test_the_sentence_names_the_layer_the_attack_beyond_and_both_numbers():
    layers = list(case().outcome.activations.layers)
    line = film.parting_line(outcome_at([0.5, 4.25], [0.5, 0.25]))
    assert line.startswith(f"PGD and PGD+HFC part at **{layers[1]}**: there PGD lies beyond")
    assert "PGD+HFC does not (4.25 and 0.25," in line
    line = film.parting_line(outcome_at([0.5, 0.25], [3.0, 0.25]))
    assert line.startswith(f"PGD and PGD+HFC part at **{layers[0]}**: there PGD+HFC lies beyond")
    assert "do not part: both lie below the clean 95 % quantile in every layer" in film.parting_line(
        outcome_at([0], [0])
    )
    assert "do not part: both lie beyond" in film.parting_line(outcome_at([5], [2]))


def test_the_line_of_a_step_says_what_the_network_and_the_detectors_say_there():
    o, shown = case().outcome, made()
    for frame in (0, 6, LAST):
        line = film.step_line(o, shown, frame)
        assert line.startswith(f"Step {frame} of {LAST}. **PGD**: {shown.said['attack'][frame]}, caught by ")
        for role, label in (("attack", "PGD"), ("hidden", "PGD+HFC")):
            caught = [name for name, scores in o.step_scores[role].items() if scores[frame] > o.thresholds[name]]
            part = line.split(f"**{label}**: ")[1].split(" of 8")[0]
            assert part.endswith(f"caught by {', '.join(caught)} ({len(caught)}" if caught else "caught by none")
    assert film.step_line(o, shown, LAST).endswith(film.parting_line(o, LAST))


def test_features_on_the_way_belong_to_the_merged_twin_and_differ_from_the_networks_by_rounding_only():
    one = case()
    o = one.outcome
    fresh = extract(one.classifier, o.x[2:3])
    for layer, z in fresh.layers.items():
        np.testing.assert_allclose(o.traces["attack"].features[layer][-1], z, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0004, "1.0004"), (0.99996, "0.99996"), (6.71234, "6.71"), (-0.60812, "-0.608")]
)
def test_a_distance_is_told_with_the_digits_that_tell_it_from_the_quantile(value, text):
    assert film._beside_1(value) == text
