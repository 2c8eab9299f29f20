"""An address carries a view and nothing else: there and back again, in words and numbers of ours, and bad ones are sentences."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from hfcviz.attacks import ATTACKS
from hfcviz.bundle import BUNDLES
from hfcviz.detectors import DETECTORS
from hfcviz.link_values import numbered
from hfcviz.links import LONGEST, OWN, View, from_query, plan_of, to_query, usual_plan, usual_run
from hfcviz.live import protocol_of
from hfcviz.penalties import PENALTIES
from hfcviz.projections import PROJECTIONS
from hfcviz.reference import like_cohort
from hfcviz.scans import Scan
from hfcviz.studies.catalogue import STUDIES
from hfcviz.tables import MEASURES
from hfcviz.ui.state import ChosenScan

APP = Path(__file__).parent.parent / "app.py"

NAMES = [
    "task",
    "scan",
    "attack",
    "attack.eps",
    "attack.steps",
    "attack.step_size",
    "attack.random_start",
    "attack.loss",
]
NAMES += ["penalty", "penalty.layers", "penalty.widest", "target", "seed", "layer", "method", "show", "chosen"]
LOOKS = ["plane", "voxel", "window", "zoom", "difference", "order"]
NAMES += LOOKS
NAMES += ["eps", "run", "measure", "detector", "live", "live.eps", "live.scans"]


def perhaps(*values: str) -> st.SearchStrategy:
    return st.none() | st.sampled_from(values)


number = st.floats(-9, 9).map(lambda value: round(value, 6))
ONE_PICTURE = {
    "window": st.sampled_from(["percentiles 2 to 98", "full range"])
    | st.tuples(number, number.map(lambda n: abs(n) + 0.1))
}
LOOKING = {
    "brain2d": ONE_PICTURE,
    "brain3d": ONE_PICTURE
    | {
        "plane": st.sampled_from(["axial", "coronal", "sagittal"]),
        "voxel": st.tuples(*[st.integers(0, side - 1) for side in BUNDLES["brain3d"].about["input_shape"][1:]]),
        "zoom": st.sampled_from([1.5, 2.0, 3.0, 4.0, 6.0]),
        "difference": st.sampled_from(["attack", "hidden", "both"]),
        "order": st.just("neurological"),
    },
}
"""How slices can be looked at, by task; chest X-rays do not come with it."""


@st.composite
def views(draw) -> View:
    task = draw(st.sampled_from(list(BUNDLES)))
    bundle = BUNDLES[task]
    ids, layers = bundle.reference.ids, bundle.about["layer_names"]
    attack = draw(st.sampled_from(list(ATTACKS)))
    usual = like_cohort(ATTACKS[attack], bundle.reference)
    changes = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "eps": st.integers(0, 2550).map(lambda n: n / 10 * (1 / 255)),
                "steps": st.integers(1, 1000),
                "step_size": st.none() | st.integers(0, 255).map(lambda n: n * (1 / 255)),
                "momentum": st.floats(0, 2).map(lambda value: round(value, 9)),
                "random_start": st.booleans(),
                "loss": st.sampled_from(["cross-entropy", "margin"]),
            },
        )
    )
    penalty_name = draw(st.sampled_from(list(PENALTIES)))
    penalty = PENALTIES[penalty_name]
    if penalty is not None:
        some = draw(st.lists(st.sampled_from(layers), unique=True))
        penalty = penalty.replace(layers=tuple(some), widest=draw(st.none() | st.integers(1, 9000)))
    plan = usual_plan(bundle, attack, penalty_name)
    plan = type(plan)(
        attack,
        usual.replace(**changes),
        penalty_name,
        penalty,
        draw(perhaps(*bundle.about["class_names"])),
        draw(st.integers(0, 2**31 - 1)),
    )
    run = draw(st.none() | st.sampled_from(bundle.runs.names))
    eps = run and (None if run[1] == usual_run(bundle)[1] else run[1])
    eps_255 = st.floats(1e-6, 255).map(lambda value: float(f"{value:.10g}"))
    choices = st.tuples(st.sampled_from(list(ATTACKS)), eps_255, st.integers(20, 10**9 - 1))
    live = None if bundle.source is None else draw(st.none() | choices)
    scan = draw(perhaps(OWN) if bundle.source is None else perhaps(OWN, *ids))
    looks = {} if scan == OWN or bundle.source is None else draw(st.fixed_dictionaries({}, optional=LOOKING[task]))
    return View(
        task=task,
        scan=scan,
        **looks,
        plan=None if plan == usual_plan(bundle) else plan,
        layer=draw(perhaps(*layers)),
        method=draw(perhaps(*PROJECTIONS)),
        show=draw(perhaps("one", "all")),
        chosen=draw(st.frozensets(st.sampled_from(ids))),
        eps=eps,
        run=run and run[0],
        live=live and protocol_of(bundle, *live),
        measure=draw(perhaps(*MEASURES)),
        detector=draw(perhaps(*DETECTORS)),
        study=draw(perhaps(*STUDIES)),
    )


@given(views())
def test_a_view_comes_back_from_its_address(view):
    address = urlencode(to_query(view))
    query = {name: values[-1] for name, values in parse_qs(address, keep_blank_values=True).items()}
    assert from_query(query) == (view, [])
    assert len(address) < 2000


TEXTS = st.text(max_size=30) | st.sampled_from(
    ["", "none", "own", "PGD", "HFC", "-1", "0", "1e999", "nan", "1_0", "٣", "9" * 400, "1-", "5-3", "0-999999999", "3,,4", "true", "1.2.3"]
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=20), TEXTS))
def test_whatever_stands_in_an_address_is_a_view_and_sentences(query):
    view, refused = from_query(query)
    assert all(sentence.strip().endswith(".") and "\n" not in sentence for sentence in refused)
    again, none = from_query(to_query(view))
    assert (again, none) == (view, [])


def test_the_untouched_page_has_a_bare_address():
    assert to_query(View()) == {}
    assert to_query(View(plan=usual_plan(BUNDLES["brain2d"]))) == {}
    assert from_query({}) == (View(), [])


def test_what_cannot_be_used_is_left_out_and_the_rest_holds():
    view, refused = from_query(
        {"attack.eps": "300", "attack.steps": "7", "layer": "conv9", "method": "UMAP", "chosen": "3-5,x", "page": "2"}
    )
    assert (view.plan.attack.steps, view.plan.attack.eps, view.method) == (7, 8 / 255, "UMAP")
    assert (view.layer, view.chosen) == (None, frozenset())
    assert refused[0] == "Attack.eps must be between 0 and 1; got 1.176 (300/255, of 0 to 255)."
    unknown = "The link has a part that hfcviz does not know, 'page': it is left out."
    assert [sentence.split(" must")[0] for sentence in refused] == ["Attack.eps", "layer", "chosen", unknown]


def test_an_address_tells_how_a_volume_is_looked_at():
    view = View(
        "brain3d",
        voxel=(12, 0, 30),
        zoom=1.5,
        window=(0.5, 0.25),
        plane="coronal",
        difference="both",
        order="neurological",
    )
    query = {"task": "brain3d", "plane": "coronal", "difference": "both", "order": "neurological"}
    query |= {"voxel": "12,0,30", "window": "0.5,0.25", "zoom": "1.5"}
    assert to_query(view) == query and from_query(query) == (view, [])
    assert to_query(replace(view, scan=OWN)) == {"task": "brain3d", "scan": OWN}, "nothing of a scan of one's own"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("voxel", "1,2", "voxel must be between 0, 0, 0 and 63, 63, 63"),
        ("voxel", "1,2,64", "got '1,2,64'"),
        ("voxel", "1,2,-3", "got '1,2,-3'"),
        ("voxel", "1,2,\u0663", "voxel must be"),
        ("zoom", "0", "zoom must be one of 1, 1.5, 2, 3, 4, 6; got '0'"),
        ("window", "0.5,0", "or a level and a width such as 0.5,0.2; got '0.5,0'"),
        ("window", "CT lung", "window must be one of"),
        ("window", "1e308,1e308", "window must be one of"),
        ("plane", "oblique", "plane must be one of axial, coronal, sagittal"),
        ("difference", "noise", "difference must be one of attack, hidden, both"),
        ("order", "radiological", "order must be one of neurological"),
    ],
)
def test_a_bad_look_at_a_volume_is_left_out_with_a_sentence_and_the_rest_holds(name, text, words):
    query = {"task": "brain3d", "plane": "axial", "zoom": "2"} | {name: text}
    view, refused = from_query(query)
    assert len(refused) == 1 and words in refused[0] and getattr(view, name) is None
    assert view == replace(View("brain3d", plane="axial", zoom=2.0), **{name: None})


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("query", [{"task": "brain3d", "scan": "own"}, {"task": "chest"}, {}])
def test_no_look_is_taken_for_a_scan_that_is_not_the_tasks_or_no_volume(name, query):
    given = {
        "plane": "axial",
        "voxel": "1,1,1",
        "window": "full range",
        "zoom": "2",
        "difference": "both",
        "order": "neurological",
    }
    view, refused = from_query(query | {name: given[name]})
    if name == "window" and not query:
        assert view.window == "full range" and not refused
    else:
        assert getattr(view, name) is None
        assert len(refused) == 1 and refused[0].startswith(f"{name} must be of a")


@pytest.mark.parametrize("name", NAMES)
def test_a_value_without_end_is_one_sentence(name):
    _, refused = from_query({name: "1," * LONGEST})
    assert refused == [f"{name} must have at most {LONGEST} characters; got {2 * LONGEST}."]


def test_no_text_but_our_own_words_gets_into_an_address():
    words = {
        OWN,
        "none",
        "one",
        "all",
        "true",
        "false",
        *ATTACKS,
        *PENALTIES,
        *PROJECTIONS,
        *MEASURES,
        *DETECTORS,
        *BUNDLES,
    }
    bundle = BUNDLES["chest"]  # whose ids are names of files
    words |= {"margin", *bundle.about["class_names"], *bundle.about["layer_names"]}
    view = View("chest", OWN, chosen=frozenset(bundle.reference.ids[5:9]) | {bundle.reference.ids[0]}, layer="layer2.0")
    query = to_query(view)
    assert query == {"task": "chest", "scan": "own", "layer": "layer2.0", "chosen": "0,5-8"}
    for value in query.values():
        assert value in words or set(value) <= set(string.digits + "-,.")


def test_a_link_names_no_scan_where_the_task_brings_no_images():
    view, refused = from_query({"task": "chest", "scan": "3"})
    assert view == View("chest") and refused[0].startswith("scan must not be in a link to Chest X-ray (pneumonia)")


def test_scans_have_the_numbers_of_their_names_where_these_tell_them_apart():
    assert numbered(["test-0003", "test-0010"]) == {"test-0003": 3, "test-0010": 10}
    assert numbered(["a/1.png", "b/1.png"]) == {"a/1.png": 0, "b/1.png": 1}
    assert numbered(["a1", "b2"]) == {"a1": 0, "b2": 1}
    assert numbered(["a1", "a01"]) == {"a1": 0, "a01": 1}


def test_a_result_tells_the_plan_that_it_was_made_from():
    for task in ("brain2d", "brain3d"):
        assert plan_of(BUNDLES[task].first.recipe["plan"]) == usual_plan(BUNDLES[task])
    plan = usual_plan(BUNDLES["brain2d"], "MIM", "none")
    plan = type(plan)("MIM", plan.attack.replace(step_size=3 / 255), "none", None, "healthy", 4)
    assert plan_of(plan.as_dict()) == plan


# On the page


@pytest.fixture
def app(tmp_path, monkeypatch) -> AppTest:
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(APP.parent)
    return AppTest.from_file(str(APP), default_timeout=120)


def test_a_link_with_a_bad_value_is_one_sentence_and_the_rest_is_shown(app):
    app.query_params.update({"layer": "layer2.0", "method": "UMAP", "attack.eps": "300"})
    app.run()
    assert [one.value for one in app.warning] == [
        "Attack.eps must be between 0 and 1; got 1.176 (300/255, of 0 to 255)."
    ]
    assert (
        any(text.value.startswith("UMAP fitted") for text in app.caption) and app.session_state["layer"] == "layer2.0"
    )
    assert app.session_state["job"] is None and not app.exception and not app.error
    assert app.query_params == {"layer": "layer2.0", "method": "UMAP"}
    app.switch_page("hfcviz/ui/pages/cohort.py").run()
    assert not app.warning


def test_a_scan_of_ones_own_is_never_named_in_the_address(app):
    app.run()
    x = np.random.default_rng(0).random((1, 128, 128), dtype=np.float32)
    own = ChosenScan(
        "test-0001", x, scan=Scan(x, None, None, "test-0001")
    )  # a file may be called as a scan of the task is
    first = app.session_state["outcome"]
    recipe = first.recipe | {"scan": {"name": own.name, "sha256": own.sha256}}
    for key, value in {"scan": own, "origins": {own.sha256: own}, "outcome": replace(first, recipe=recipe)}.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception
    assert app.query_params == {"scan": "own"}
    assert any("but not the scan, which is yours" in text.value for text in app.caption)


def test_a_link_to_a_scan_of_someones_own_says_so_and_runs_nothing(app):
    app.query_params.update({"scan": "own", "attack.steps": "5"})
    app.run()
    assert not app.exception and app.session_state["job"] is None
    assert len(app.warning) == 1 and "links carry no scans" in app.warning[0].value
    assert app.number_input(key="attack.PGD.brain2d.steps").value == 5


def widget(app, start: str):
    every = (*app.select_slider, *app.selectbox, *app.toggle, *app.segmented_control, *app.number_input, *app.button)
    return next(one for one in every if (one.key or "").startswith(start))


def test_a_link_opens_a_volume_as_it_was_looked_at_and_keeps_the_address(app):
    given = {"task": "brain3d", "plane": "coronal", "difference": "both", "order": "neurological"}
    given |= {"voxel": "30,41,12", "window": "0.5,0.25", "zoom": "2"}
    app.query_params.update(given)
    app.run()
    assert not app.exception and not app.warning and not app.error
    assert any("voxel 30, 41, 12 (RAS+)" in text.value and "neurological order" in text.value for text in app.caption)
    assert widget(app, "view.").value == "coronal" and widget(app, "zoom.").value == 2
    assert (widget(app, "level.").value, widget(app, "width.").value) == (0.5, 0.25)
    assert app.query_params == given
    widget(app, "slice_next").click().run()
    assert app.query_params == given | {"voxel": "30,42,12"} and not app.warning
    widget(app, "radiological.").set_value(True).run()
    widget(app, "window.").set_value("full range").run()
    assert app.query_params == {name: text for name, text in given.items() if name != "order"} | {
        "voxel": "30,42,12",
        "window": "full range",
    }


def test_the_slices_of_a_volume_leave_the_address_bare_until_they_are_moved_and_again_when_they_are_back(app):
    app.query_params["task"] = "brain3d"
    app.run()
    assert not app.exception and app.query_params == {"task": "brain3d"}
    at = [widget(app, f"slice.{name}.").value for name in ("sagittal", "coronal", "axial")]
    widget(app, "slice_previous").click().run()
    assert app.query_params == {"task": "brain3d", "voxel": f"{at[0]},{at[1]},{at[2] - 1}"}
    widget(app, "slice_next").click().run()
    assert app.query_params == {"task": "brain3d"}


def test_a_link_tells_the_window_of_an_image_too(app):
    app.query_params["window"] = "percentiles 2 to 98"
    app.run()
    assert widget(app, "window.").value == "percentiles 2 to 98" and not app.warning
    assert app.query_params == {"window": "percentiles 2 to 98"}


def test_the_slices_of_a_scan_of_ones_own_are_never_in_the_address(app):
    app.query_params["task"] = "brain3d"
    app.run()
    shape = BUNDLES["brain3d"].about["input_shape"]
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    own = ChosenScan("mine.nii", x, scan=Scan(x, None, None, "mine.nii"))
    first = app.session_state["outcome"]
    recipe = first.recipe | {"scan": {"name": own.name, "sha256": own.sha256}}
    for key, value in {
        "scan": own,
        "origins": {own.sha256: own},
        "outcome": replace(first, recipe=recipe),
    }.items():
        app.session_state[key] = value
    app.run()
    widget(app, "slice_next").click().run()
    widget(app, "zoom.").set_value(2.0).run()
    widget(app, "window.").set_value("full range").run()
    assert not app.exception and widget(app, "zoom.").value == 2
    assert app.query_params == {"task": "brain3d", "scan": "own"}


def test_a_link_to_the_cohort_of_another_task_opens_on_its_run(app):
    runs = BUNDLES["chest"].runs
    eps = runs.names[-1][1]
    app.query_params.update({"task": "chest", "eps": f"{eps:g}", "run": "MIM", "detector": "LID", "chosen": "0-9"})
    given = dict(app.query_params)
    app.switch_page("hfcviz/ui/pages/cohort.py").run()
    assert not app.exception and not app.warning
    assert app.session_state["bundle_name"] == "chest"
    assert any(f"**MIM** at {eps:g}/255" in text.value for text in app.markdown)
    assert app.session_state["chosen"] == frozenset(BUNDLES["chest"].reference.ids[:10])
    assert app.query_params == given


def test_a_link_to_a_step_of_the_tour_opens_it_without_a_complaint(app):
    app.query_params["step"] = "3"
    app.switch_page("hfcviz/ui/pages/tour.py").run()
    assert not app.exception and not app.warning
    assert app.selectbox(key="step").value == 3 and app.query_params == {"step": "3"}


def test_a_link_runs_nothing_once_another_scan_was_chosen(app):
    app.query_params.update({"chosen": "5", "scan": "5"})
    app.switch_page("hfcviz/ui/pages/cohort.py").run()
    assert app.session_state["scan"].name == "test-0005"
    app.switch_page("hfcviz/ui/pages/data_model.py").run()
    next(one for one in app.button if (one.key or "").startswith("use.")).click().run()
    app.switch_page("hfcviz/ui/pages/explore.py").run()
    assert not app.exception and app.session_state["scan"].name != "test-0005"
    assert app.session_state["job"] is None


def test_a_selection_that_no_detector_has_judged_says_so_without_numbers(app):
    reference = BUNDLES["brain2d"].reference
    name = next(one for one, trains in zip(reference.ids, reference.trains, strict=True) if trains)
    app.query_params["chosen"] = str(int(name.removeprefix("test-")))
    app.run()
    assert app.session_state["chosen"] == {name} and not app.exception
    assert any("judged none" in text.value for text in app.caption)
    assert not any("nan" in str(one.value) for one in app.dataframe)
