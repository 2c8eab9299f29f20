"""Scans that leave the distribution, where what the score must say is known."""

from __future__ import annotations

import dataclasses
import math
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from bundles import case, one_thread  # noqa: F401
from networks import linear

from hfcviz import metrics
from hfcviz.activations import extract
from hfcviz.mixtures import Mixture
from hfcviz.penalties import HFC, FittedHFC
from hfcviz.settings import InputError
from hfcviz.store import Store
from hfcviz.studies.catalogue import perform
from hfcviz.studies.findings import Findings
from hfcviz.studies.foreign import CHANGES, body_of, moved, place_of
from hfcviz.studies.lab import Lab
from hfcviz.studies.ood import Ood, changed, draw, scores_of
from hfcviz.studies.pieces import Budget

BUDGET = Budget(scans=30, eps=8 / 255, steps=1)


@pytest.fixture(autouse=True)
def few_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 20 resamplings: they are tested with the metrics."""
    monkeypatch.setattr(metrics, "bootstrap_interval", partial(metrics.bootstrap_interval, n=20))


def lab_of(folder: Path, dims: int = 2) -> Lab:
    return Lab(case(dims).classifier, case(dims).dataset, BUDGET, Store(folder))


@cache
def found(dims: int) -> tuple[Lab, Findings]:
    with TemporaryDirectory() as folder:
        lab = lab_of(Path(folder), dims)
        return lab, perform("ood", lab, Ood(sizes=("40", "80")))


def normal(width: int, classes: int = 2) -> FittedHFC:
    """One standard normal for each class at layer "flat"."""
    eye = torch.eye(width)[None]
    one = Mixture(torch.zeros(1), torch.zeros(1, width), eye, torch.tensor([-0.5 * width * math.log(2 * math.pi)]))
    return FittedHFC(HFC(), {"flat": [one] * classes})


def test_the_scores_of_a_standard_normal_are_its_own_formula() -> None:
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = extract(linear(), x)
    scores = scores_of(normal(16), seen)
    squares = x.flatten(1).double().square().sum(1).numpy()
    for layer in ("flat", "all"):
        np.testing.assert_allclose(scores["distance", layer], squares / 16, rtol=1e-5)
    np.testing.assert_allclose(scores["likelihood", "all"], squares / 32 + math.log(2 * math.pi) / 2, rtol=1e-5)
    order = np.argsort(-seen.confidence.astype(np.float64))
    assert list(np.argsort(scores["confidence", "all"])) == list(order)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_black_ball_takes_what_it_covers_from_the_distance(dims: int) -> None:
    shape = (1, *[7] * dims)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.3
    place = place_of(body_of(image), torch.tensor([3] * dims), 100 * 3 / 7)  # radius 1.5: the centre and its neighbours
    covered = [at for at in np.ndindex(*shape[1:]) if sum((a - 3) ** 2 for a in at) < 1.5**2]
    assert len(covered) == {2: 9, 3: 19}[dims]
    after = CHANGES["black ball"](image, image, place)
    net = linear(shape)
    before, now = (scores_of(normal(7**dims), extract(net, x[None]))["distance", "all"][0] for x in (image, after))
    lost = sum(float(image[0][at]) ** 2 for at in covered) / 7**dims
    assert before - now == pytest.approx(lost, rel=1e-4)


def test_confidence_orders_scans_whose_probability_rounds_to_one() -> None:
    seen = extract(linear(), torch.rand(3, 1, 4, 4))
    seen = dataclasses.replace(seen, logits=np.array([[90, 0], [0, 120], [100, 0]], np.float32))
    assert list(np.argsort(scores_of(normal(16), seen)["confidence", "all"])) == [1, 2, 0]


@pytest.mark.parametrize("dims", [2, 3])
def test_size_nought_is_exactly_chance(dims: int) -> None:
    none = [row for row in found(dims)[1].rows if row["size"] == 0]
    assert {row["kind"] for row in none} == set(CHANGES)
    assert {(row["auc"], row["area"], row["misled"]) for row in none} == {(0.5, 0.0, 0.0)}


@pytest.mark.parametrize("kind", list(CHANGES))
def test_a_change_stays_in_its_ball_and_in_range_and_grows_with_its_size(kind: str, tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    x = lab.chosen().x
    before = torch.zeros_like(x, dtype=torch.bool)
    for percent in (0, 20, 60):
        now, area = changed(lab, kind, percent)
        touched = (now - x).abs() > 1e-6
        assert now.min() >= 0 and now.max() <= 1
        assert (touched.flatten(1).float().mean(1).numpy() <= area + 1e-6).all()
        assert not (before & ~touched & (kind == "grey ball")).any()
        before = touched
    assert before.any()


def test_the_air_around_a_body_stays() -> None:
    image = torch.zeros(1, 20, 20)
    image[:, 5:15, 5:15] = 0.8
    image[:, 9:11, 9:11] = 0  # a hole belongs to the body
    body = body_of(image)
    assert int(body.sum()) == 100 and bool(body[9, 9])
    after = CHANGES["grey ball"](image, image, place_of(body, torch.tensor([6, 6]), 80))
    assert float(after[:, ~body].abs().max()) == 0 and float(after[0, 5, 5]) == 0.5
    assert body_of(torch.zeros(1, 20, 20)).all()


def test_a_donor_is_moved_so_that_its_place_lies_at_the_centre() -> None:
    donor = torch.arange(30.0).view(1, 5, 6)
    shifted = moved(donor, torch.tensor([1, 4]), torch.tensor([3, 2]))
    assert shifted[0, 3, 2] == donor[0, 1, 4] and shifted[0, 4, 1] == donor[0, 2, 3]
    assert shifted[0, 0, 0] == donor[0, 0, 2]  # the edge is continued


def test_nothing_is_made_twice_and_a_second_time_nothing_is_made(tmp_path: Path) -> None:
    settings = Ood(kinds=("grey ball", "bright ball"), sizes=("40",))
    first, second = lab_of(tmp_path), lab_of(tmp_path)
    rows = perform("ood", first, settings).rows
    assert max(first.made.values()) == 1
    # Clean scans and both sizes 0 are the same images: three extractions in all.
    assert sum(what.startswith("features of changed") for what in first.made) == 3
    assert perform("ood", second, settings).rows == rows
    assert not any("features" in what for what in second.made)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"kinds": ("hat",)}, "hat"),
        ({"kinds": ()}, "none"),
        ({"sizes": ("big",)}, "'big'"),
        ({"sizes": ("120",)}, "'120'"),
        ({"sizes": ("0",)}, "above 0"),
        ({"components": 200}, "lower K"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(tmp_path: Path, wrong: dict[str, object], word: str) -> None:
    lab = lab_of(tmp_path)
    with pytest.raises(InputError, match=word):
        perform("ood", lab, Ood(**wrong))  # type: ignore[arg-type]
    assert not lab.made


def test_the_figure_and_the_words_say_what_the_rows_say() -> None:
    findings = found(2)[1]
    figure = draw(findings.rows)
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(lines) == 3 * len(CHANGES)
    for kind, own in zip(CHANGES, [lines[i : i + 3] for i in range(0, len(lines), 3)], strict=True):
        for score, line in zip(("distance", "likelihood", "confidence"), own, strict=True):
            rows = [r for r in findings.rows if (r["kind"], r["score"], r["layer"]) == (kind, score, "all")]
            assert list(line.x) == [0, 40, 80] == [r["size"] for r in rows]
            assert list(line.y) == [r["auc"] for r in rows]
        assert f"{rows_at(findings, kind)['auc']:.2f} ({kind})" in findings.shows


def rows_at(findings: Findings, kind: str) -> dict[str, float]:
    return next(
        r for r in findings.rows if (r["kind"], r["score"], r["layer"], r["size"]) == (kind, "distance", "all", 80)
    )
