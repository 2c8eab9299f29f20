"""Judged cohorts on disk: what comes back is what was judged, and the rows say what the cohort says."""

from dataclasses import replace

import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401

from hfcviz.cohort import by_role, embed_cohort, judge
from hfcviz.projections import PROJECTIONS
from hfcviz.runs import Runs, in_order, load_judged, rows_of, run_path, save_judged, without_features
from hfcviz.settings import InputError
from hfcviz.store import digest


@pytest.fixture(scope="module")
def judged():
    return judge(case().reference)


def test_what_was_judged_comes_back(tmp_path, judged):
    path = run_path(tmp_path, "PGD", 12)
    save_judged(path, judged)
    found = load_judged(path)
    for name in ("ids", "thresholds", "rows", "overall", "layer_names"):
        assert getattr(found, name) == getattr(judged, name), name
    assert digest(found.recipe) == digest(judged.recipe)
    for name in ("labels", "targets"):
        assert np.array_equal(getattr(found, name), getattr(judged, name))
    for mine, theirs in (
        (found.fooled, judged.fooled),
        (found.linf, judged.linf),
        *zip(found.scores.values(), judged.scores.values(), strict=True),
    ):
        assert list(mine) == list(theirs)
        assert all(np.array_equal(mine[role], theirs[role]) for role in mine)
    for layer in judged.layer_names:
        here, there = by_role(found, found.views[layer]), by_role(judged, judged.views[layer])
        assert all(np.allclose(here[role], there[role], rtol=1e-5) for role in there)
        for role in judged.roles:
            np.testing.assert_allclose(found.features[role][layer], judged.features[role][layer], rtol=1e-3, atol=1e-4)


def test_the_interval_of_an_older_file_is_made_again_from_its_counts(tmp_path, judged):
    overall = {role: row | {"success_low": 1.0, "success_high": 1.0} for role, row in judged.overall.items()}
    save_judged(tmp_path / "PGD 12.npz", replace(judged, overall=overall))
    assert load_judged(tmp_path / "PGD 12.npz").overall == judged.overall
    overall = {role: row | {"attacked": float("inf")} for role, row in judged.overall.items()}
    save_judged(tmp_path / "PGD 12.npz", replace(judged, overall=overall))
    with pytest.raises(InputError, match="holds no judged cohort"):
        load_judged(tmp_path / "PGD 12.npz")


def test_without_features_only_the_exact_view_is_there(tmp_path, judged):
    save_judged(tmp_path / "PGD 12.npz", judged)
    save_judged(tmp_path / "BIM 12.npz", without_features(judged))
    small = load_judged(tmp_path / "BIM 12.npz")
    assert (tmp_path / "BIM 12.npz").stat().st_size < (tmp_path / "PGD 12.npz").stat().st_size
    assert embed_cohort(small, "block3", PROJECTIONS["PCA"]).exact
    for name in ("t-SNE", "UMAP"):
        with pytest.raises(InputError, match="need the features"):
            embed_cohort(small, "block3", PROJECTIONS[name])


def test_the_view_is_the_principal_plane_of_the_clean_scans(judged):
    clean = judged.features["clean"]["block3"].astype(float)
    _, _, axes = np.linalg.svd(clean - clean.mean(0))
    for role, xy in by_role(judged, judged.views["block3"]).items():
        expected = (judged.features[role]["block3"] - clean.mean(0)) @ axes[:2].T
        np.testing.assert_allclose(np.abs(xy), np.abs(expected), rtol=1e-3, atol=1e-4)


def test_a_folder_lists_its_runs_by_eps_and_attack(tmp_path, judged):
    for name, eps in (("BIM", 16), ("PGD", 16), ("C&W", 0.5), ("PGD", 4)):
        attack = judged.recipe["attack"] | {"eps": eps / 255}
        save_judged(
            run_path(tmp_path, name, eps),
            replace(judged, recipe=judged.recipe | {"attack_name": name, "attack": attack}),
        )
    (tmp_path / "notes.npz").write_text("not one of them")
    (tmp_path / "PGD copy.npz").write_text("nor is this")
    runs = Runs(tmp_path)
    assert runs.names == [("C&W", 0.5), ("PGD", 4), ("PGD", 16), ("BIM", 16)]
    assert [name for name, _ in dict.fromkeys((row["attack"], row["eps_255"]) for row in runs.rows)] == [
        "C&W",
        "PGD",
        "PGD",
        "BIM",
    ]
    assert len(runs.rows) == 4 * 2 * len(judged.scores)
    assert Runs(tmp_path / "nothing").names == []


def test_an_eps_of_many_digits_is_the_same_in_name_and_row(tmp_path, judged):
    eps = 1 / 3
    recipe = judged.recipe | {"attack": judged.recipe["attack"] | {"eps": eps / 255}}
    save_judged(run_path(tmp_path, "PGD", eps), replace(judged, recipe=recipe))
    runs = Runs(tmp_path)
    assert {row["eps_255"] for row in runs.rows} == {size for _, size in runs.names}


def test_rows_join_the_detectors_figures_and_the_attacks(judged):
    rows = {(row["detector"], row["penalty"]): row for row in rows_of(judged)}
    assert len(rows) == 2 * len(judged.scores)
    for one in judged.rows:
        row = rows[one["detector"], {"attack": "none", "hidden": "HFC"}[one["role"]]]
        assert (row["auc"], row["tpr90"], row["layers"]) == (one["auc"], one["tpr90"], one["layers"])
        assert row["success"] == judged.overall[one["role"]]["success"]
        assert (row["attack"], row["eps_255"], row["steps"]) == ("PGD", 12, 12)
    assert in_order(reversed(rows_of(judged))) == in_order(rows_of(judged))


def test_what_is_no_run_is_named(tmp_path, judged):
    path = tmp_path / "PGD 12.npz"
    with pytest.raises(InputError, match=r"PGD 12\.npz is not in"):
        load_judged(path)
    save_judged(path, judged)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"PGD 12\.npz is not readable"):
        load_judged(path)
    np.savez(path, labels=np.arange(3))
    with pytest.raises(InputError, match=r"PGD 12\.npz"):
        load_judged(path)
