"""Make of a finished evaluation what hfcviz ships and shows: published runs, a cohort to compare scans with, figures.

    python -m hfcviz evaluate --dataset DATA --model MODEL ... --out FOLDER
    python -m scripts.publish FOLDER --dataset DATA --model MODEL --eps 2 --bundle assets/chest --docs docs/results/chest

--bundle gets runs/ (scores, verdicts and PCA views of every attack and eps; features too of the plain attack at --eps) and, with
--cohort, reference.npz and mixtures.npz: pooled features and the constraint fitted on them. Numbers only, no images.
--docs gets NAME.csv and NAME.md (the whole table), NAME-roc.png and NAME-layers.png (PGD at --eps).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

from playwright.sync_api import sync_playwright

from hfcviz import cohort_charts
from hfcviz.cells import clean_of, cohort_of, constraint_of
from hfcviz.cohort import curve, judge
from hfcviz.datasets import load_dataset
from hfcviz.evaluation import all_rows, judged_folder
from hfcviz.models import load_model
from hfcviz.penalties import HFC, save_constraint
from hfcviz.protocol import Protocol, Task
from hfcviz.reference import load_reference, save_reference
from hfcviz.runs import load_judged, run_path, save_judged, verdicts_only
from hfcviz.tables import as_csv, as_markdown

FIRST = "PGD"
"""The attack that the Explore page compares scans with, and whose figures are drawn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--eps", type=float, required=True, help="in 1/255")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--cohort", action="store_true", help="also make the bundle's reference.npz and mixtures.npz")
    parser.add_argument("--docs", type=Path, help="folder and first part of the names of the files for the docs")
    args = parser.parse_args()
    done = json.loads((args.folder / "recipe.json").read_text())["protocol"]
    constraint = HFC(**done["constraint"] | {"layers": tuple(done["constraint"]["layers"])})
    protocol = Protocol(limit=done["limit"], seed=done["seed"], steps=done["steps"], constraint=constraint)
    classifier = load_model(args.model)
    task = Task(classifier, load_dataset(args.dataset, fit=classifier.input_shape), protocol, args.folder)
    if not run_path(judged_folder(task), FIRST, args.eps).is_file():
        raise SystemExit(f"{args.folder} must hold {FIRST} at {args.eps:g}/255 with HFC: evaluate it first.")
    clean = clean_of(task)
    carried = constraint_of(task, clean)
    cohort = cohort_of(task, clean, carried, FIRST, args.eps / 255)
    if args.bundle:
        runs = args.bundle / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        shutil.copytree(judged_folder(task), runs)
        save_judged(run_path(runs, FIRST, args.eps), judge(cohort))
        if args.cohort:
            assert carried is not None
            save_reference(cohort, args.bundle / "reference.npz", half=True)
            made_for = load_reference(args.bundle / "reference.npz").digest
            save_constraint(carried, args.bundle / "mixtures.npz", made_for)
            known = load_reference(args.bundle / "reference.npz")
            save_judged(args.bundle / "judged.npz", verdicts_only(judge(known), made_for))
    if args.docs:
        args.docs.parent.mkdir(parents=True, exist_ok=True)
        rows = all_rows(args.folder)
        args.docs.with_suffix(".csv").write_text(as_csv(rows), encoding="utf-8")
        args.docs.with_suffix(".md").write_text(as_markdown(rows), encoding="utf-8")
        draw(run_path(judged_folder(task), FIRST, args.eps), args.docs)


def draw(path: Path, target: Path) -> None:
    """The ROC curves and the layer x detector map of one judged cohort, as PNGs."""
    judged = load_judged(path)
    labels = {"clean": "clean", "noise": "noise", "attack": FIRST, "hidden": f"{FIRST}+HFC"}
    curves = {name: {role: curve(judged, name, role) for role in judged.attacks} for name in judged.scores}
    aucs = {
        role: {row["detector"]: row["layers"] for row in judged.rows if row["role"] == role and row["layers"]}
        for role in judged.attacks
    }
    figures = {
        "roc": cohort_charts.roc_grid(curves, {}, labels),
        "layers": cohort_charts.auc_map(aucs, judged.layer_names, labels),
    }
    found = subprocess.run(["sh", "scripts/find_chromium.sh"], capture_output=True, text=True, check=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found.stdout.strip(), args=["--no-sandbox", "--disable-quic"])
        page = browser.new_page(viewport={"width": 1000, "height": 700}, device_scale_factor=1.5)
        for name, figure in figures.items():
            figure.update_layout(paper_bgcolor="white", plot_bgcolor="white", font_color="#222222")
            page.set_content(figure.to_html(include_plotlyjs=True, div_id="figure"))
            page.wait_for_selector("#figure .main-svg")
            page.locator("#figure").screenshot(path=f"{target}-{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
