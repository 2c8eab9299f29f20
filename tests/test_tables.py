"""Tables of results: every number in its place, in each of the three forms."""

import csv
import io
import json

from hfcviz.tables import as_csv, as_markdown, as_paper, grid_lines, paper_lines, write_tables


def row(attack="PGD", penalty="none", detector="KD", eps=4.0, auc=0.75, **more):
    values = {
        "two_sided": max(auc, 1 - auc),
        "tpr90": 0.5,
        "tpr90_low": 0.4,
        "tpr90_high": 0.6,
        "n": 30,
        "negatives": 60,
    }
    values |= {
        "success": 0.9,
        "success_low": 0.8,
        "success_high": 0.95,
        "mean_confidence": 0.8,
        "linf_255": eps,
        "attacked": 100,
        "layers": {"a": 0.6, "b": 0.7},
    }
    head = {"dataset": "set", "model": "net", "attack": attack, "penalty": penalty, "eps_255": eps, "steps": 40}
    return head | {"detector": detector, "auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.1} | values | more


ROWS = [
    row(),
    row(penalty="HFC", auc=0.25),
    row(detector="BU", auc=0.5, layers={}),
    row(detector="BU", penalty="HFC", auc=0.6, layers={}),
    row(attack="FGSM"),
]


def test_csv_has_a_column_for_each_layer_and_leaves_it_empty_where_there_is_none():
    found = list(csv.DictReader(io.StringIO(as_csv(ROWS))))
    assert len(found) == len(ROWS)
    for written, given in zip(found, ROWS, strict=True):
        assert float(written["auc"]) == given["auc"] and written["penalty"] == given["penalty"]
        assert written["auc a"] == ("" if given["detector"] == "BU" else "0.6")
    assert "layers" not in found[0]


def test_markdown_names_an_inverted_detector_and_keeps_eps_apart():
    text = as_markdown([*ROWS, row(eps=8.0)])
    assert text.count("###") == 2 and "eps 4/255" in text and "eps 8/255" in text
    lines = [line for line in text.splitlines() if line.startswith("| PGD")]
    assert ["inverted" in line for line in lines] == [False, True, False, False, False]
    assert "| 0.250 (0.150 to 0.350) inverted | 0.750 |" in text
    assert "90.0% (80.0% to 95.0%) of 100" in text and "30 against 60" in text


def test_the_papers_layout_sets_without_beside_with():
    lines = as_paper(ROWS).splitlines()
    assert "| detector | PGD | FGSM |" in lines
    assert "| KD | 75.0 > 25.0 | 75.0 > - |" in lines
    assert "| BU | 50.0 > 60.0 | - > - |" in lines


def test_a_grid_has_a_line_with_and_without_the_constraint_and_a_column_for_each_attack():
    lines = {(line["AUC"], line["constraint"]): line for line in grid_lines(ROWS, "AUC")}
    assert list(lines) == [
        (what, penalty)
        for what in ("target reached", "largest change, /255", "KD", "BU")
        for penalty in ("none", "HFC")
    ]
    assert lines["KD", "none"]["PGD"] == lines["KD", "none"]["FGSM"] == "0.75 (0.65 to 0.85)"
    assert lines["KD", "HFC"]["PGD"] == "0.25 (0.15 to 0.35) inverted" and lines["KD", "HFC"]["FGSM"] == "-"
    unsure = grid_lines([row(auc=0.45)], "AUC")[-1]["PGD"]
    assert unsure == "0.45 (0.35 to 0.55)", "only where the whole interval lies below one half"
    assert lines["target reached", "none"]["PGD"] == "90.0% (80.0% to 95.0%)"
    assert lines["largest change, /255", "none"]["PGD"] == "4.00"
    assert {line["two-sided AUC"]: line["PGD"] for line in grid_lines(ROWS, "two-sided AUC")}["KD"] == "0.75"
    assert grid_lines(ROWS, "TPR@90")[4]["PGD"] == "0.50 (0.40 to 0.60)"
    assert paper_lines(ROWS)[0] == {"detector": "KD", "PGD": "75.0 > 25.0", "FGSM": "75.0 > -"}


def test_tables_are_written_whole(tmp_path):
    names = write_tables(ROWS, tmp_path / "new")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "new").iterdir())
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == ROWS
