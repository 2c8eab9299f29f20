"""The command line on real files, with a tiny trained bundle; what people see when something is wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import one_thread  # noqa: F401
from PIL import Image
from pydicom.data import get_testdata_file

from hfcviz import experiment, readers, resampling, scans
from hfcviz.__main__ import main
from hfcviz.attacks import ATTACKS
from hfcviz.bundle import BUNDLES, Bundle, open_bundle
from hfcviz.classifiers import Classifier
from hfcviz.datasets import load_dataset
from hfcviz.models import save_model
from hfcviz.networks import build_resnet, resnet_layers
from hfcviz.penalties import HFC
from hfcviz.reference import build_reference, save_reference
from hfcviz.settings import InputError
from hfcviz.tables import as_csv, as_markdown

SIDE = 24
ARCHITECTURE = {"name": "resnet", "widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1), "dropout": 0.2}
FILES = {
    "adversarial.png",
    "clean.png",
    "outcome.npz",
    "report.json",
    "scan.html",
    "difference.html",
    "depth.html",
    "detectors.html",
    "plotly.min.js",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A bundle of its own: noisy squares with and without a bright disc, and a network that tells them apart."""
    found = tmp_path_factory.mktemp("bundle") / "discs"
    found.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    arrays = {"class_names": np.array(["plain", "disc"])}
    for part, count in {"train": 120, "val": 60, "test": 60}.items():
        labels = np.arange(count) % 2
        centres = rng.uniform(8, 16, (2, count, 1, 1))
        disc = (rows - centres[0]) ** 2 + (columns - centres[1]) ** 2 < 25
        pixels = 90 + 25 * rng.standard_normal((count, SIDE, SIDE)) + 50 * disc * labels[:, None, None]
        arrays |= {f"{part}_images": pixels.clip(0, 255).astype(np.uint8), f"{part}_labels": labels}
    np.savez(found / "slices.npz", **arrays)
    data = load_dataset(found / "slices.npz")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build_resnet(**{key: value for key, value in ARCHITECTURE.items() if key != "name"})
        x, y = torch.from_numpy(data.splits["train"].images(slice(None))), torch.from_numpy(data.splits["train"].y)
        optimizer = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(30):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net((x - 0.4) / 0.15), y).backward()
            optimizer.step()
    classifier = Classifier(
        net, "discs", data.class_names, resnet_layers((1, 1, 1, 1)), "fc", (1, SIDE, SIDE), 0.4, 0.15
    )
    save_model(classifier, found, ARCHITECTURE)
    attack = ATTACKS["PGD"].replace(steps=4)
    save_reference(build_reference(classifier, data, "PGD", attack, HFC()), found / "reference.npz")
    return found


@pytest.fixture(scope="session")
def bundle(folder) -> Bundle:
    """The same, opened once, so that detectors are fitted once."""
    return open_bundle(folder)


@pytest.fixture
def attack(bundle, tmp_path, monkeypatch, capsys):
    """Run `attack` in this process; gives exit code, stdout and stderr."""
    monkeypatch.setitem(BUNDLES, "discs", bundle)
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["attack", "--bundle", "discs", "--steps", "3", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def a_png(path: Path, seed: int = 1) -> Path:
    """A 16-bit picture as this project writes them, with a disc in the middle."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    image = (90 + 25 * noise + 50 * ((rows - 12) ** 2 + (columns - 12) ** 2 < 25)) / 255
    scans.write_png(path, image[None].clip(0, 1).astype(np.float32))
    return path


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=os.environ | environment, check=False
    )


def test_help_needs_none_of_the_heavy_libraries():
    heavy = "{'torch', 'numpy', 'sklearn', 'monai', 'plotly', 'streamlit', 'umap'}"
    script = (
        "import runpy, sys\nsys.argv = ['hfcviz', '--help']\n"
        "try:\n    runpy.run_module('hfcviz', run_name='__main__')\n"
        f"except SystemExit as end:\n    assert end.code == 0\nassert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    )
    result = python("-c", script)
    assert result.returncode == 0, result.stderr
    assert "attack" in result.stdout and "not for clinical use" in result.stdout


def test_every_setting_of_the_method_is_a_flag(capsys):
    with pytest.raises(SystemExit) as end:
        main(["attack", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    flags = "--eps --steps --step-size --momentum --random-start --loss --components --weight --layers --regularisation --widest"
    for flag in flags.split():
        assert f" {flag}" in text
    assert "Default: 8/255." in text and "Default: 40, FGSM 1." in text


def test_a_run_writes_image_figures_and_report(attack, tmp_path, monkeypatch):
    monkeypatch.setenv("HFCVIZ_DEBUG", "1")  # so that a warning of ours fails this test
    scan = a_png(tmp_path / "scan.png")
    kept = tmp_path / "out" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("keep")
    code, out, err = attack(
        scan, "--out", "out", "--eps", 4, "--seed", 3, "--components", 2, "--layers", "layer2.0,layer4.0"
    )
    assert code == 0, err
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files >= FILES and not [name for name in files if name.startswith(".")]
    assert kept.read_text() == "keep" and {path.name for path in tmp_path.iterdir()} == {"scan.png", "out", "store"}

    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(found) >= {"clean", "adversarial", "target", "success", "linf", "detectors", "recipe"}
    assert found["clean"]["predicted"] == "disc" and found["target"] == "plain"
    assert 0 < found["linf"] <= 4 / 255 + 1e-6
    for verdict in found["detectors"].values():
        assert set(verdict) == {"clean", "adversarial", "threshold", "caught"}
        assert verdict["caught"] == (verdict["adversarial"] > verdict["threshold"])
    plan = found["recipe"]["plan"]
    assert (plan["attack_name"], plan["penalty_name"], plan["seed"]) == ("PGD", "HFC", 3)
    assert plan["attack"]["eps"] == 4 / 255 and plan["attack"]["steps"] == 3
    assert plan["penalty"]["components"] == 2 and plan["penalty"]["layers"] == ["layer2.0", "layer4.0"]

    # What the report says holds for the image on disk, to the rounding of 16 bits.
    images = [
        resampling.prepare(readers.read(tmp_path / "out" / f"{name}.png"), (1, SIDE, SIDE))
        for name in ("clean", "adversarial")
    ]
    assert np.abs(images[1] - images[0]).max() == pytest.approx(found["linf"], abs=1e-4)
    assert np.array_equal(images[0], resampling.prepare(readers.read(scan), (1, SIDE, SIDE)))

    for word in ("PGD+HFC", "disc", "plain", "MAHA", "threshold", "report.json", "not for clinical use"):
        assert word in out
    assert all(line.startswith("hfcviz: ") for line in err.splitlines()) and "\r" not in err


def test_figures_work_without_a_network(attack, tmp_path):
    assert attack("bundled:test-0001", "--out", "out")[0] == 0
    for page in (tmp_path / "out").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="plotly.min.js"' in text and 'src="http' not in text
    assert (tmp_path / "out" / "plotly.min.js").stat().st_size > 1e6


def test_eps_0_changes_nothing(attack, tmp_path):
    code, out, _ = attack(a_png(tmp_path / "scan.png"), "--eps", 0, "--out", "out", "--json", "-")
    assert code == 0
    found = json.loads(out)
    assert found == json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["linf"] == 0 and found["success"] is False
    assert all(one["clean"] == pytest.approx(one["adversarial"], rel=1e-6) for one in found["detectors"].values())
    assert (tmp_path / "out" / "clean.png").read_bytes() == (tmp_path / "out" / "adversarial.png").read_bytes()


def test_a_preset_keeps_what_no_flag_changes(attack, tmp_path):
    scan = a_png(tmp_path / "scan.png")
    code, out, _ = attack(
        scan,
        "--attack",
        "MIM",
        "--penalty",
        "none",
        "--step-size",
        1.5,
        "--random-start",
        "--out",
        "out",
        "--json",
        "-",
    )
    plan = json.loads(out)["recipe"]["plan"]
    assert code == 0 and plan["penalty"] is None
    assert plan["attack"]["momentum"] == 1 and plan["attack"]["random_start"] is True
    assert plan["attack"]["step_size"] == 1.5 / 255


def test_a_bundled_scan_is_the_one_of_that_name(attack, folder, tmp_path):
    code, out, _ = attack("bundled:test-0007", "--out", "new/deep/out")
    assert code == 0 and "true class of test-0007 is disc" in out
    image = np.asarray(Image.open(tmp_path / "new/deep/out/clean.png"))
    with np.load(folder / "slices.npz") as arrays:
        assert np.array_equal(image, arrays["test_images"][7].astype(np.uint16) * 257)


def test_the_same_run_again_is_read_from_the_store_and_gives_the_same(attack, tmp_path, monkeypatch):
    scan = a_png(tmp_path / "scan.png")
    first = attack(scan, "--out", "one", "--json", "-")
    monkeypatch.setattr(experiment, "run", None)  # computing it again would fail
    second = attack(scan, "--out", "two", "--json", "-")
    assert first[:2] == second[:2] and first[0] == 0


def test_a_dicom_and_a_slice_of_a_volume_are_read(attack, tmp_path):
    import nibabel

    code, out, _ = attack(get_testdata_file("CT_small.dcm"), "--window", -160, 240, "--eps", 4, "--out", "ct")
    assert code == 0 and "eps 4/255 = 6.27 HU at this window (-160 to 240)" in out
    assert {path.name for path in (tmp_path / "ct").iterdir()} >= FILES | {"adversarial.nii.gz", "perturbation.nii.gz"}
    added = nibabel.load(tmp_path / "ct" / "perturbation.nii.gz")
    assert added.shape == (128, 128, 1) and 0 < np.abs(added.get_fdata()).max() <= 400 * 4 / 255 + 1e-4
    values = np.random.default_rng(0).uniform(0, 900, (30, 28, 26))
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), tmp_path / "head.nii.gz")
    outs = [
        attack(tmp_path / "head.nii.gz", "--out", "t1", "--json", "-", *more)
        for more in ([], ["--axis", 0, "--slice", 5])
    ]
    assert [code for code, _, _ in outs] == [0, 0]
    names = [json.loads(out)["recipe"]["scan"]["name"] for _, out, _ in outs]
    assert "axial" in names[0] and "sagittal slice 5" in names[1]


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Exit code 2, nothing printed, and one sentence that names what is wrong."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("hfcviz: ") and err.endswith(".\n") and err.count("\n") == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--eps", "300"], ["eps", "300/255"]),
        (["--eps", "-1"], ["eps", "-1/255"]),
        (["--eps", "wide"], ["eps", "number", "'wide'"]),
        (["--eps", "nan"], ["eps", "finite"]),
        (["--steps", "0"], ["steps", "between 1 and 1000", "0"]),
        (["--steps", "2.5"], ["steps", "whole number", "2.5"]),
        (["--components", "1000"], ["components", "256", "1000"]),
        (["--components", "100"], ["100 components", "60"]),
        (["--layers", "layer9"], ["layers", "layer9", "layer1.0"]),
        (["--loss", "hinge"], ["--loss", "hinge", "margin"]),
        (["--attack", "DeepFool"], ["--attack", "DeepFool", "PGD"]),
        (["--penalty", "none", "--weight", "2"], ["--weight", "none"]),
        (["--target", "disc"], ["target", "disc", "plain"]),
        (["--target", "ring"], ["target", "ring", "plain, disc"]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--seed", str(2**31)], ["--seed", str(2**31)]),
        (["--seed", "x"], ["--seed", "'x'"]),
        (["--slice", "3"], ["volume"]),
        (["--window", "5", "5"], ["window"]),
        (["--window", "nan", "1"], ["window"]),
        (["--step", "1"], ["--step"]),
        (["--bundle", "brain9d"], ["brain9d", "brain2d"]),
    ],
    ids=lambda value: " ".join(value) if value and str(value[0]).startswith("--") else "",
)
def test_a_wrong_flag_is_one_sentence_and_exit_code_2(attack, tmp_path, flags, words):
    scan = a_png(tmp_path / "scan.png")
    refused(attack(scan, "--out", "out", *flags), *words)
    assert {path.name for path in tmp_path.iterdir()} <= {"scan.png", "store"}


def empty(path: Path) -> None:
    path.write_bytes(b"")


def constant(path: Path) -> None:
    Image.new("L", (30, 30), 7).save(path)


def one_pixel(path: Path) -> None:
    Image.new("L", (1, 1), 7).save(path)


def text(path: Path) -> None:
    path.write_text("this is no picture, whatever it is called")


def truncated(path: Path) -> None:
    a_png(path)
    path.write_bytes(path.read_bytes()[:200])


def not_numbers(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.full((20, 20, 20), np.nan, np.float32), np.eye(4)), path.with_suffix(".nii"))
    path.with_suffix(".nii").rename(path)


def four_dimensions(path: Path) -> None:
    import nibabel

    values = np.random.default_rng(0).standard_normal((12, 12, 12, 3))
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), path.with_suffix(".nii"))
    path.with_suffix(".nii").rename(path)


def no_pixels(path: Path) -> None:
    path.write_bytes(Path(get_testdata_file("rtplan.dcm")).read_bytes())


def a_folder(path: Path) -> None:
    path.mkdir()


def missing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    "make",
    [empty, constant, one_pixel, text, truncated, not_numbers, four_dimensions, no_pixels, a_folder, missing],
    ids=lambda make: make.__name__,
)
def test_a_bad_scan_is_one_sentence_and_exit_code_2(attack, tmp_path, make):
    make(tmp_path / "scan.png")
    refused(attack(tmp_path / "scan.png", "--out", "out"), "scan.png")
    assert not (tmp_path / "out").exists()


def test_an_unknown_bundled_scan_names_those_that_exist(attack):
    refused(attack("bundled:test-9999", "--out", "out"), "test-9999", "test-0000 to test-0059")
    refused(attack("bundled:test-0001", "--slice", 3, "--out", "out"), "--slice")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_hold_files_is_refused_before_anything_is_read(attack, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    refused(attack(tmp_path / "no such scan.png", "--out", place), "--out", "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused(attack, tmp_path, monkeypatch):
    def deny(self, *rest, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", deny)  # permissions do not bind root, as whom tests may run
    refused(attack("bundled:test-0001", "--out", "out"), "--out", "Permission denied")


def test_a_folder_in_the_way_of_a_file_leaves_everything_as_it_was(attack, tmp_path):
    (tmp_path / "out" / "report.json").mkdir(parents=True)
    code, out, err = attack("bundled:test-0001", "--out", "out")
    assert (code, out) == (2, "") and "report.json" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]


def test_without_words_or_with_unknown_ones_there_is_one_sentence(capsys):
    for words in ([], ["attck"], ["attack"], ["attack", "scan.png"], ["attack", "--out", "x"]):
        code = main(words)
        refused((code, *capsys.readouterr()), "--help")


def test_on_a_terminal_progress_is_one_line_that_goes_away(attack, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert attack("bundled:test-0001", "--out", "out")[0] == 0
    text = sys.stderr.getvalue()
    assert "step 2 of 3" in text and "\n" not in text and text.endswith("\r\x1b[K")


def test_a_fault_of_ours_is_one_sentence_and_exit_code_1(attack, monkeypatch):
    monkeypatch.setattr(experiment, "run_experiment", lambda *a, **k: {}["lost"])
    code, out, err = attack("bundled:test-0001", "--out", "out")
    assert (code, out) == (1, "") and err.count("\n") == 1 and "KeyError" in err
    monkeypatch.setenv("HFCVIZ_DEBUG", "1")
    with pytest.raises(KeyError):
        attack("bundled:test-0001", "--out", "out")


def test_ctrl_c_leaves_nothing_half_written(folder, tmp_path):
    words = [
        "attack",
        "bundled:test-0001",
        "--bundle",
        str(folder),
        "--steps",
        "1000",
        "--components",
        "8",
        "--out",
        "out",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "hfcviz", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "HFCVIZ_STORE": str(tmp_path / "store")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = process.stderr.readline()
    assert first.startswith("hfcviz: ") and list(tmp_path.glob(".hfcviz-*/clean.png")), first
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "hfcviz: stopped; nothing was written." and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_work_even_where_a_library_swallows_it(attack, monkeypatch, tmp_path, kind):
    def swallowing(*rest, progress, **more):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(kind)
        progress(0.1, "as if nothing had happened")
        pytest.fail("the work went on")

    before = signal.getsignal(kind)
    monkeypatch.setattr(experiment, "run_experiment", swallowing)
    code, out, err = attack("bundled:test-0001", "--out", "out")
    assert (code, out, err) == (130, "", "hfcviz: stopped; nothing was written.\n")
    assert not (tmp_path / "out").exists() and signal.getsignal(kind) is before


def test_as_a_program_it_ends_with_the_same_codes(folder, tmp_path):
    (tmp_path / "bad.png").write_text("nothing")
    result = python(
        "-m", "hfcviz", "attack", str(tmp_path / "bad.png"), "--bundle", str(folder), "--out", str(tmp_path / "out")
    )
    refused((result.returncode, result.stdout, result.stderr), "bad.png")
    assert not (tmp_path / "out").exists()


def test_a_reference_of_other_weights_is_refused(folder, tmp_path, capsys):
    bundle = Bundle("mixed", "Mixed", tmp_path, str(folder / "slices.npz"))
    for name in ("classifier.json", "classifier.safetensors", "reference.npz", "slices.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert len(bundle.reference.ids) >= 20
    about = json.loads((tmp_path / "classifier.json").read_text())
    (tmp_path / "classifier.json").write_text(json.dumps(about | {"mean": 0.3}))
    assert open_bundle(tmp_path).about["mean"] == 0.3
    code = main(
        ["attack", "bundled:test-0007", "--bundle", str(tmp_path), "--steps", "1", "--out", str(tmp_path / "out")]
    )
    assert code == 2 and "must come from the weights of" in capsys.readouterr().err


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_are_complete_and_belong_together(name):
    bundle = open_bundle(name)
    assert bundle.about["class_names"] == bundle.classifier.class_names
    assert bundle.about["layer_names"] == bundle.classifier.layer_names == tuple(bundle.reference.train.layers)
    assert bundle.reference.recipe["weights"] == bundle.classifier.digest
    if bundle.source is None:
        assert bundle.first is None and "do not come with hfcviz" in bundle.source_note
        with pytest.raises(InputError, match="There are no images of Chest X-ray"):
            _ = bundle.dataset
        with pytest.raises(InputError, match="There are no images of Chest X-ray"):
            _ = bundle.held_out
        return
    fresh = replace(bundle)  # of which nothing has been read
    shown = fresh.held_out.splits
    assert set(shown) == {"test"} and "dataset" not in vars(fresh), "only test scans are shown: no others are unpacked"
    assert fresh.held_out.class_names == bundle.dataset.class_names
    np.testing.assert_array_equal(shown["test"].x, bundle.dataset.splits["test"].x)
    assert bundle.source_note == bundle.dataset.about
    assert bundle.dataset.class_names == bundle.classifier.class_names
    x, label = bundle.dataset.sample("test-0007")
    assert x.shape == bundle.classifier.input_shape and label in bundle.dataset.class_names
    assert tuple(bundle.first.activations.layers) == bundle.classifier.layer_names
    assert bundle.first.recipe["model"]["sha256"] == bundle.classifier.digest
    assert bundle.first.recipe["detectors"]["sha256"] == bundle.reference.digest


@pytest.mark.parametrize("name", BUNDLES)
def test_published_runs_hold_pgd_at_three_eps_and_all_attacks_at_the_usual_and_belong_to_the_network(name):
    bundle = open_bundle(name)
    eps = sorted({size for _, size in bundle.runs.names})
    usual = bundle.reference.recipe["attack"]["eps"] * 255
    assert eps == pytest.approx([usual / 2, usual, 2 * usual])
    held = set(bundle.runs.names)
    assert {("PGD", size) for size in eps} | {(attack, eps[1]) for attack in ATTACKS} <= held
    if name != "brain3d":  # a step costs ten times as much in three dimensions
        assert bundle.runs.names == [(attack, size) for size in eps for attack in ATTACKS]
    for attack, size in bundle.runs.names:
        judged = bundle.runs.load(attack, size)
        assert judged.recipe["weights"] == bundle.classifier.digest
        assert judged.overall["attack"]["attacked"] >= (140 if name == "brain3d" else 200)
        assert judged.layer_names == bundle.classifier.layer_names
        assert bool(judged.features) is (attack == "PGD" and size == pytest.approx(usual))


@pytest.mark.parametrize("name", BUNDLES)
def test_the_docs_tables_are_those_of_the_published_runs(name):
    rows, docs = open_bundle(name).runs.rows, Path(__file__).parent.parent / "docs" / "results"
    assert (docs / f"{name}.csv").read_text(encoding="utf-8") == as_csv(rows)
    assert (docs / f"{name}.md").read_text(encoding="utf-8") == as_markdown(rows)


@pytest.mark.parametrize("name", BUNDLES)
def test_mixtures_that_are_shipped_are_those_that_a_fit_gives(name):
    reference, settings = open_bundle(name).reference, HFC()
    assert (open_bundle(name).folder / "mixtures.npz").is_file()
    fitted = settings.fit(reference.train, reference.train_labels, seed=reference.recipe["seed"])
    z = {layer: torch.from_numpy(a[:50]) for layer, a in reference.train.layers.items()}
    target = torch.arange(50) % 2
    shipped = reference.constraint(settings)(z, target)
    for layer, expected in fitted(z, target).items():
        # Those of the chest were fitted on features before they were rounded to half precision.
        assert torch.allclose(shipped[layer], expected, rtol=0.05 if name == "chest" else 1e-3)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_scan_goes_through_every_bundle(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path / "store"))
    scan = "bundled:test-0007" if open_bundle(name).source else str(a_png(tmp_path / "scan.png"))
    assert main(["attack", scan, "--bundle", name, "--steps", "2", "--out", str(tmp_path / "out")]) == 0
    pictures, volumes = {"clean.png", "adversarial.png"}, {"adversarial.nii.gz", "perturbation.nii.gz", "planes.html"}
    files = {path.name for path in (tmp_path / "out").iterdir()}
    deep = len(open_bundle(name).about["input_shape"]) == 4
    assert files >= (FILES - pictures | volumes if deep else FILES) and not (deep and files & pictures)
    assert "KD" in capsys.readouterr().out
    used = json.loads((tmp_path / "out" / "report.json").read_text())["recipe"]["plan"]["attack"]
    assert used["eps"] == open_bundle(name).reference.recipe["attack"]["eps"] and used["steps"] == 2


def test_a_volume_of_ones_own_is_attacked_on_its_own_grid_and_in_its_own_units(tmp_path, monkeypatch, capsys):
    import nibabel

    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path / "store"))
    x, y, z = np.mgrid[-1:1:40j, -1:1:50j, -1:1:30j]
    affine = np.array([[0, 0, 5.0, -70], [-4, 0, 0, 80], [0, 3.5, 0, -90], [0, 0, 0, 1]])
    voxels = (900 * np.exp(-2 * (x**2 + y**2 + z**2))).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "mine.nii.gz")
    words = [
        "--bundle",
        "brain3d",
        "--steps",
        "2",
        "--eps",
        "4",
        "--window",
        "-100",
        "800",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["attack", str(tmp_path / "mine.nii.gz"), *words]) == 0
    assert "eps 4/255 = 14.1 grey levels at this window (-100 to 800)" in capsys.readouterr().out
    attacked, added = (nibabel.load(tmp_path / "out" / f"{n}.nii.gz") for n in ("adversarial", "perturbation"))
    for one in (attacked, added):
        assert one.shape == voxels.shape and np.allclose(one.affine, affine), "as the file stores it, whatever its axes"
    np.testing.assert_allclose(voxels + added.get_fdata(), attacked.get_fdata(), atol=1e-3)
    assert 0 < np.abs(added.get_fdata()).max() <= 4 / 255 * 900 * (1 + 1e-5)
    found = json.loads((tmp_path / "out" / "report.json").read_text())["eps_in_scan_units"]
    assert found == {"eps": pytest.approx(4 / 255 * 900), "unit": "", "window": [-100, 800]}
    assert main(["attack", str(tmp_path / "mine.nii.gz"), *words, "--slice", "5"]) == 2
    assert (
        "--slice and --axis must come with a network for images, but brain3d takes volumes whole"
        in capsys.readouterr().err
    )


def test_a_bundled_id_of_a_bundle_without_images_is_one_sentence(tmp_path, capsys):
    assert main(["attack", "bundled:test-0007", "--bundle", "chest", "--out", str(tmp_path / "out")]) == 2
    assert "There are no images of Chest X-ray (pneumonia) here: name a file." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# A whole test set


def evaluated(folder, out, *more):
    words = ["evaluate", "--dataset", str(folder / "slices.npz"), "--model", str(folder), "--out", str(out)]
    return main([*words, "--steps", "3", "--limit", "30", *more])


def test_a_set_is_evaluated_and_again_it_is_only_read(folder, tmp_path, capsys, monkeypatch):
    more = "--attacks", "PGD,FGSM", "--eps", "4,8", "--json", str(tmp_path / "rows.json")
    assert evaluated(folder, tmp_path / "out", *more) == 0
    out, _ = capsys.readouterr()
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {(row["attack"], row["penalty"], row["eps_255"]) for row in rows} == {
        (attack, penalty, eps) for attack in ("PGD", "FGSM") for penalty in ("none", "HFC") for eps in (4, 8)
    }
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == rows
    assert {"results.csv", "results.md", "recipe.json", "cells", "judged"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    assert "eps 8/255: without > with HFC" in out and "| KD |" in out and "not for clinical use" in out

    def never(*arguments, **more):
        raise AssertionError("nothing is attacked a second time")

    monkeypatch.setattr("hfcviz.cells.run", never)
    assert evaluated(folder, tmp_path / "out", *more) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--eps", "four"], "--eps must be numbers; got 'four'"),
        (["--eps", "300"], "eps must be above 0 and at most 255/255; got 300"),
        (["--limit", "ten"], "--limit must be whole numbers; got 'ten'"),
        (["--steps", "0"], "--steps must be between 1 and 1000; got 0"),
        (["--attacks", "PDG"], "must be one of PGD"),
        (["--penalties", ""], "must be one of none, HFC; got none"),
        (["--components", "64"], "K must be smaller than the training images of each class; got 64 for 60"),
        (["--weight", "-1"], "HFC.weight must be between 0 and 1000; got -1"),
    ],
)
def test_an_evaluation_that_cannot_be_done_is_one_sentence(folder, tmp_path, capsys, flags, sentence):
    assert evaluated(folder, tmp_path / "out", *flags) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_evaluation_into_a_file_is_refused(folder, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert evaluated(folder, tmp_path / "out") == 2
    assert "must be a folder that can be written" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_stopping_an_evaluation_says_that_it_can_go_on(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("hfcviz.cells.run", interrupted)
    assert evaluated(folder, tmp_path / "out") == 130
    assert "the same command goes on from there" in capsys.readouterr().err
