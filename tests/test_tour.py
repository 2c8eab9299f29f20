"""The tour tells what the bundled result holds, step by step, and touches nothing else."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from streamlit.testing.v1 import AppTest

from hfcviz.bundle import BUNDLES, Bundle, open_bundle
from hfcviz.tour import BUNDLE, TOUR
from hfcviz.tour_facts import direction, facts
from hfcviz.tour_figures import Material, for_a_class, gather
from hfcviz.ui import tour_views

ROOT = Path(__file__).parent.parent
PAGE = "hfcviz/ui/pages/tour.py"
GLOSSARY = "hfcviz/ui/pages/glossary.py"
STATE = ["bundle_name", "scan", "outcome", "chosen", "job", "job_message", "embeddings", "cohort", "origins"]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture(scope="module")
def known(bundle) -> dict[str, str]:
    return facts(bundle, bundle.first)


def material_of(name: str) -> Material:
    bundle = open_bundle(name)
    return gather(bundle, bundle.maps)


@pytest.fixture(scope="module")
def material() -> Material:
    return material_of(BUNDLE)


@pytest.fixture
def app(tmp_path, monkeypatch) -> AppTest:
    def refuse(bundle: Bundle) -> None:
        raise AssertionError("the network was loaded")

    monkeypatch.setattr(Bundle, "classifier", property(refuse))
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).switch_page(GLOSSARY).run()  # the fastest page


def opened(app: AppTest) -> AppTest:
    app.switch_page(PAGE).run()
    assert not app.exception and not app.error
    return app


def told(app: AppTest) -> str:
    return "\n".join([app.title[0].value, *(one.value for one in app.markdown)])


def numbers(text: str) -> Iterator[float]:
    return (float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", text))


def test_it_leads_from_the_first_step_to_the_last_and_back_without_a_network(app, known):
    opened(app)
    assert app.button(key="tour.back").disabled
    for number, step in enumerate(TOUR, 1):
        assert not app.exception
        assert app.selectbox(key="step").value == number and app.query_params["step"] in (str(number), [str(number)])
        assert app.title[0].value == step.title.format(**known)
        assert step.text.format(**known) in told(app) and step.answer.format(**known) in told(app)
        assert len(app.get("plotly_chart")) in (1, 2)
        if number < len(TOUR):
            app.button(key="tour.next").click().run()
    assert app.button(key="tour.next").disabled
    app.button(key="tour.back").click().run()
    assert app.selectbox(key="step").value == len(TOUR) - 1
    app.selectbox(key="step").set_value(3).run()
    assert app.title[0].value == TOUR[2].title.format(**known)


@pytest.mark.parametrize(("asked", "number"), [("7", 7), ("99", 1), ("0", 1), ("x", 1), ("", 1)])
def test_the_address_names_the_step(app, asked, number):
    app.switch_page(PAGE)
    app.query_params["step"] = asked
    app.run()
    assert not app.exception and app.selectbox(key="step").value == number


def test_another_page_and_back_stays_at_the_step(app):
    opened(app)
    app.selectbox(key="step").set_value(5).run()
    app.switch_page(GLOSSARY).run()
    assert opened(app).selectbox(key="step").value == 5


@pytest.mark.parametrize("task", BUNDLES)
def test_it_shows_the_same_whatever_the_session_has_chosen_and_changes_nothing(app, known, task):
    if task != BUNDLE:
        app.session_state["bundle_name"] = task  # the Data & model page would load the network for its checks
        app.session_state["outcome"] = open_bundle(task).first
        app.session_state["scan"] = None
    app.session_state["chosen"] = frozenset({"test-0001"})
    for kept in (tour_views.material, tour_views.numbers, tour_views._pictures):
        kept.clear()  # so that this session is the first to ask for them
    before = {name: app.session_state[name] for name in STATE}
    opened(app)
    for _ in TOUR[1:]:
        app.button(key="tour.next").click().run()
        assert not app.exception
    assert TOUR[-1].text.format(**known) in told(app)
    assert {name: app.session_state[name] for name in STATE} == before
    assert all(app.session_state[name] is before[name] for name in ("outcome", "scan"))


@pytest.mark.parametrize("number", [3, 7])
def test_a_view_opens_on_explore_with_its_layer_and_method(app, number):
    opened(app).selectbox(key="step").set_value(number).run()
    app.button(key="tour.open").click().run()
    assert not app.exception and app.title[0].value == "How an adversarial scan hides"
    assert app.select_slider(key="layer").value == open_bundle(BUNDLE).about["layer_names"][-1]
    assert app.segmented_control(key="method").value == TOUR[number - 1].method
    assert any(text.value.startswith(f"{TOUR[number - 1].method} fitted") for text in app.caption)


def test_a_view_opens_as_one_layer_without_the_message_of_an_earlier_run(app):
    opened(app)
    app.session_state["layers_shown"], app.session_state["job_message"] = "all layers", ("error", "It went wrong.")
    app.run()
    app.button(key="tour.open").click().run()
    assert not app.exception and not app.error
    assert app.segmented_control(key="layers_shown").value == "one layer"


def test_it_says_what_opening_a_view_replaces(app):
    opened(app)
    assert not any("takes the place" in text.value or "let go" in text.value for text in app.caption)
    other = open_bundle("brain3d").first
    app.session_state["outcome"], scan = other, app.session_state["scan"]
    app.run()
    assert any(f"takes the place of your result of {other.recipe['scan']['name']}" in one.value for one in app.caption)
    app.button(key="tour.open").click().run()
    assert not app.exception
    assert app.session_state["outcome"].recipe["model"]["name"] == "brain2d-resnet18"
    assert app.session_state["scan"] is scan


def test_from_another_task_it_turns_to_the_tours_own(app):
    app.session_state["bundle_name"], app.session_state["outcome"] = "chest", None
    opened(app)
    title = BUNDLES["chest"].title
    assert any(f"turns from {title} to {BUNDLES[BUNDLE].title}" in one.value for one in app.caption)
    app.button(key="tour.open").click().run()
    assert not app.exception and app.session_state["bundle_name"] == BUNDLE
    assert app.session_state["outcome"].recipe["scan"]["name"] == app.session_state["scan"].name


def test_nothing_opens_while_a_run_is_under_way(app):
    class Running:
        state = "running"

    opened(app)
    app.session_state["job"] = Running()
    app.run()
    assert app.button(key="tour.open").disabled
    app.session_state["job"] = None


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_number_comes_from_the_result_and_is_told(known):
    used = set().union(*(fields(one) for step in TOUR for one in (step.title, step.text, step.question, step.answer)))
    assert used == set(known)
    told = " ".join(re.sub(r"{\w+}", "", step.title + step.text) for step in TOUR)
    assert set(numbers(told)) <= {0.0, 1.0, 95.0}, "the scale of the depth strip, 1 - p and the clean quantile"


def test_the_same_tour_can_be_given_of_another_result(known):
    material = material_of("brain3d")
    other = facts(material.bundle, material.outcome)
    assert other.keys() == known.keys() and other["attack_cosine"] != known["attack_cosine"]
    for step in TOUR:
        assert "{" not in step.text.format(**other)
        assert all(picture.alt for picture in step.draw(material))


def head(bundle: Bundle) -> tuple[torch.Tensor, torch.Tensor]:
    weights = load_file(bundle.folder / "classifier.safetensors")
    return weights["fc.1.weight"].double(), weights["fc.1.bias"].double()


def test_the_direction_is_that_of_the_gradient_at_every_step(bundle):
    first, (weight, bias) = bundle.first, head(bundle)
    along = direction(bundle, first)
    for z in first.traces["attack"].features["layer4.1"][:8, 0]:
        z = torch.from_numpy(z).double().requires_grad_()
        loss = torch.nn.functional.cross_entropy((weight @ z + bias)[None], torch.tensor([first.target]))
        (gradient,) = torch.autograd.grad(loss, z)
        assert float(-gradient @ torch.from_numpy(along) / gradient.norm()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("role", ["attack", "hidden"])
def test_ways_cosines_and_neighbours_are_those_of_the_features(bundle, known, role):
    first, (weight, bias) = bundle.first, head(bundle)
    row, target, other = first.row(role), first.target, 1 - first.target
    z = torch.from_numpy(first.activations.layers["layer4.1"]).double()
    size = float((weight[target] - weight[other]).norm())

    def place(logits: np.ndarray) -> np.ndarray:  # what the logits say, without a projection of features
        return (logits[:, target] - logits[:, other] - float(bias[target] - bias[other])) / size

    logits = (z @ weight.T + bias).numpy()
    start = torch.from_numpy(first.traces[role].features["layer4.1"][0, 0]).double()
    moved = z[row] - start
    cosine = torch.nn.functional.cosine_similarity(moved, weight[target] - weight[other], dim=0)
    assert float(known[f"{role}_cosine"]) == pytest.approx(float(cosine), abs=0.006)
    assert float(known[f"{role}_way"]) == pytest.approx(place(logits)[row], abs=0.06)
    train, labels = bundle.reference.train, bundle.reference.train_labels
    clean = np.percentile(place(train.logits[labels == target].astype(float)), [5, 95])
    assert [float(known["clean_low"]), float(known["clean_high"])] == pytest.approx(clean, abs=0.1)
    near = NearestNeighbors(n_neighbors=2).fit(train.layers["layer4.1"][labels == target])
    assert float(known[f"{role}_near"]) == pytest.approx(near.kneighbors(z[row : row + 1].numpy())[0][0, 0], abs=0.06)
    usual = np.median(near.kneighbors(train.layers["layer4.1"][labels == target])[0][:, 1])
    assert float(known["near_usual"]) == pytest.approx(usual, abs=0.06)


def test_the_verdicts_told_are_those_of_the_scan(bundle, known):
    first = bundle.first
    for role in ("clean", "noise", "attack", "hidden"):
        row = first.roles.index(role)
        caught = sum(first.scores[name][row] > first.thresholds[name] for name in first.scores)
        assert known[f"{role}_caught"] == str(caught)
        if role != "hidden":
            out = (first.layer_scores["GMM"][:, row] > first.depth_quantiles[:, 2]).sum()
            assert known[f"{role}_out"] == str(out)
    assert all(name in known["attack_missed"] for name in ("BU", "LID")) and known["hidden_below"] == "8"
    assert known["before"] == "lesion" and known["after"] == "healthy"
    changed = np.abs(first.x[first.row("attack")] - first.x[0])
    assert next(numbers(known["attack_mean"])) == pytest.approx(changed.mean() * 255, abs=0.06)
    assert next(numbers(known["attack_linf"])) == pytest.approx(changed.max() * 255, abs=0.006)


def test_the_aucs_told_are_those_of_the_published_runs(bundle, known):
    def aucs(attack: str, role: str) -> dict[str, float]:
        judged = bundle.runs.load(attack, 8)
        found = {}
        for name, by in judged.scores.items():
            scores = np.concatenate([by["clean"], by["noise"], by[role]])
            found[name] = roc_auc_score(np.arange(len(scores)) >= len(by["clean"]) * 2, scores)
        return found

    plain, hidden, one = aucs("PGD", "attack"), aucs("PGD", "hidden"), aucs("FGSM", "hidden")
    assert known["run_strong"] == str(sum(auc >= 0.9 for auc in plain.values()))
    assert known["run_hidden_strong"] == str(sum(auc >= 0.9 for auc in hidden.values()))
    assert known["one_strong"] == str(sum(auc >= 0.9 for auc in one.values()))
    assert known["run_best"] == max(hidden, key=hidden.get)
    assert next(numbers(known["run_best_auc"])) == pytest.approx(max(hidden.values()), abs=6e-4)
    assert known["inverted"] == min(hidden, key=hidden.get)
    assert next(numbers(known["inverted_auc"])) == pytest.approx(min(hidden.values()), abs=6e-4)
    assert float(known["inverted_two_sided"]) == pytest.approx(1 - min(hidden.values()), abs=6e-4)
    assert next(numbers(known["bu_plain"])) == pytest.approx(plain["BU"], abs=6e-4)
    assert next(numbers(known["bu_hidden"])) == pytest.approx(hidden["BU"], abs=6e-4)
    every = [aucs(name, "hidden") for name, eps in bundle.runs.names if eps == 8]
    assert known["attacks"] == str(len(every))
    sided = {name: min(max(run[name], 1 - run[name]) for run in every) for name in hidden}
    assert known["most_two_sided"] == max(sided, key=sided.get)
    assert float(known["most_two_sided_least"]) == pytest.approx(max(sided.values()), abs=0.006)
    assert not any(min(run[name] for run in every) >= 0.9 for name in hidden) and known["always_strong"] == "none"


def test_the_hidden_version_is_kept_for_its_step_and_the_frame_stays(material):
    scatters = {number: TOUR[number - 1].draw(material)[-1].figure for number in (1, 3, 4, 6)}
    for number, figure in scatters.items():
        assert any("HFC" in (trace.name or "") for trace in figure.data) is (number == 6)
        assert figure.layout.xaxis.range == scatters[6].layout.xaxis.range
        assert figure.layout.yaxis.range == scatters[6].layout.yaxis.range
    assert not any("PGD" in (trace.name or "") for trace in scatters[1].data)


def test_the_dots_are_the_aucs_with_their_intervals(material):
    figure = TOUR[7].draw(material)[0].figure
    rows = [row for row in material.bundle.runs.rows if row["attack"] == "PGD" and row["eps_255"] == 8]
    for trace, penalty in zip(figure.data, ("none", "HFC"), strict=True):
        own = {row["detector"]: row for row in rows if row["penalty"] == penalty}
        assert list(trace.y) == list(own) and list(trace.x) == [row["auc"] for row in own.values()]
        low = [x - left for x, left in zip(trace.x, trace.error_x.arrayminus, strict=True)]
        high = [x + right for x, right in zip(trace.x, trace.error_x.array, strict=True)]
        assert low == pytest.approx([row["auc_low"] for row in own.values()])
        assert high == pytest.approx([row["auc_high"] for row in own.values()])


def test_all_figures_of_a_step_fit_one_screen_in_large_type(material):
    for step in TOUR:
        pictures = step.draw(material)
        for_a_class(pictures)
        assert sum(picture.figure.layout.height for picture in pictures) <= 600
        assert all(picture.figure.layout.font.size >= 15 for picture in pictures)
