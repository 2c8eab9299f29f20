"""Image folders, zips and tables: every file under its class and part, and no patient in two parts."""

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from hfcviz.datasets import load_dataset
from hfcviz.folders import Entry, patient, split_off
from hfcviz.settings import InputError

SIDE = 10


def grey(value: int) -> np.ndarray:
    return np.full((SIDE, SIDE + 2), value, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def tree(root: Path, parts=("train", "val", "test"), count: int = 3) -> Path:
    """Images whose grey value says which they are: 100 x part + 50 x class + number."""
    for p, part in enumerate(parts):
        for c, label in enumerate(("ill", "well")):
            for number in range(count):
                save(root / part / label / f"{label}-{number}.png", grey(80 * p + 40 * c + number))
    return root


def zipped(root: Path, inside: str = "") -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, f"{inside}{file.relative_to(root)}")
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "zip with a root"])
def test_every_image_stands_under_its_part_and_class(tmp_path, kind):
    source = tree(tmp_path / "scans")
    if kind != "folder":
        source = zipped(source, "scans/" if "root" in kind else "")
    data = load_dataset(source)
    assert data.class_names == ("ill", "well") and list(data.splits) == ["train", "val", "test"]
    for p, (part, split) in enumerate(data.splits.items()):
        assert split.x.shape == (6, 1, SIDE, SIDE + 2) and split.y.tolist() == [0, 0, 0, 1, 1, 1]
        for image, label, name in zip(split.x, split.y, split.ids, strict=True):
            number = int(name[-5])
            assert name == f"{part}/{data.class_names[label]}/{data.class_names[label]}-{number}.png"
            assert (image == 80 * p + 40 * label + number).all()


def test_colour_stays_colour_and_a_grey_jpeg_is_grey(tmp_path):
    root = tree(tmp_path / "scans")
    colour = np.zeros((SIDE, SIDE + 2, 3), dtype=np.uint8)
    colour[..., 0] = 200
    for file in sorted(root.rglob("*.png")):
        Image.open(file).convert("RGB").save(file.with_suffix(".jpg"), quality=95)
        file.unlink()
    assert load_dataset(root).splits["test"].x.shape == (6, 1, SIDE, SIDE + 2)
    save(root / "test" / "ill" / "colour.png", colour)
    data = load_dataset(root)
    place = data.splits["test"].ids.index("test/ill/colour.png")
    assert data.splits["train"].x.shape[1:] == (3, SIDE, SIDE + 2)
    assert data.splits["test"].x[place].mean((1, 2)).tolist() == [200, 0, 0]


def test_a_table_in_the_layout_of_aptos_is_read(tmp_path):
    rows = ["id_code,diagnosis"]
    for number in range(60):
        save(tmp_path / "train_images" / f"eye{number:02d}.png", grey(number))
        rows.append(f"eye{number:02d},{(0, 2, 10)[number % 3]}")
    path = tmp_path / "train.csv"
    path.write_text("\n".join(rows) + "\n")
    data = load_dataset(path)
    assert data.class_names == ("0", "2", "10"), "by number, not by letter"
    seen = {}
    for split in data.splits.values():
        seen |= {
            name: (int(image[0, 0, 0]), label) for image, label, name in zip(split.x, split.y, split.ids, strict=True)
        }
    assert seen == {f"eye{number:02d}": (number, number % 3) for number in range(60)}
    assert all(len(split) > 2 for split in data.splits.values())


def test_a_table_may_name_the_part(tmp_path):
    names = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"]
    for number, name in enumerate(names):
        save(tmp_path / name, grey(number))
    parts = ["train", "train", "Validation", "val", "test", "TEST"]
    lines = [f"{name},{'xy'[n % 2]},{part}" for n, (name, part) in enumerate(zip(names, parts, strict=True))]
    (tmp_path / "list.csv").write_text("\ufefffile,label,split\n" + "\n".join(lines))
    data = load_dataset(tmp_path / "list.csv")
    assert {part: split.ids for part, split in data.splits.items()} == {
        "train": ("a.png", "b.png"),
        "val": ("c.png", "d.png"),
        "test": ("e.png", "f.png"),
    }


# Splitting off


def entries(count: int, images_each: int = 3) -> list[Entry]:
    return [
        Entry("train", "PNEUMONIA", f"train/PNEUMONIA/person{who}_bacteria_{1000 + who * 7 + n}.jpeg", bytes)
        for who in range(count)
        for n in range(images_each)
    ]


def test_no_patient_is_in_two_parts_and_the_shares_are_about_right():
    listed = entries(1000)
    parts = split_off(listed)
    where: dict[str, set[str]] = {}
    for entry, part in zip(listed, parts, strict=True):
        where.setdefault(patient(entry.name), set()).add(part)
    assert len(where) == 1000 and all(len(found) == 1 for found in where.values())
    assert parts.count("test") / 3000 == pytest.approx(0.25, abs=0.04)
    assert parts.count("val") / 3000 == pytest.approx(0.15 * 0.75, abs=0.04)


def test_order_and_company_do_not_change_the_part_of_a_file():
    listed = entries(200)
    parts = dict(zip((entry.name for entry in listed), split_off(listed), strict=True))
    fewer = listed[::-1][:300]
    assert split_off(fewer) == [parts[entry.name] for entry in fewer]


def test_a_part_that_is_given_is_left_alone():
    given = [Entry("test", "NORMAL", f"test/NORMAL/IM-{who:04d}-0001.jpeg", bytes) for who in range(60)]
    parts = split_off([*entries(100), *given])
    assert parts.count("test") == 60 and set(parts[-60:]) == {"test"}
    assert 0 < parts.count("val") < 150


def test_where_names_tell_of_few_patients_each_file_counts():
    listed = [Entry("train", "a", f"train/a/scan_{number:04d}.png", bytes) for number in range(400)]
    assert {"train", "val", "test"} == set(split_off(listed))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("train/P/person7_virus_12.jpeg", "train/P/person7_virus_13.jpeg", True),
        ("train/P/person7_virus_12.jpeg", "train/P/person70_virus_12.jpeg", False),
        ("train/N/IM-0115-0001.jpeg", "train/N/IM-0115-0002.jpeg", True),
        ("train/N/IM-0115-0001.jpeg", "train/N/IM-0116-0001.jpeg", False),
        ("train/N/IM-0435-0001.jpeg", "train/N/IM-0435-0001-0002.jpeg", True),
        ("train/A/p001_1.png", "train/B/p001_2.png", True),
        ("train/N/NORMAL2-IM-0115-0001.jpeg", "train/N/IM-0115-0001.jpeg", False),
    ],
)
def test_patients_are_told_by_the_names_of_files(one, other, same):
    assert (patient(one) == patient(other)) is same


# What cannot be used


def test_what_is_no_such_set_is_one_clear_sentence(tmp_path):
    root = tree(tmp_path / "scans")
    save(root / "test" / "ill" / "tall.png", np.zeros((30, 20), dtype=np.uint8))
    with pytest.raises(InputError, match=r"one size, but test/ill/tall.png has 30 x 20 and others 10 x 12"):
        load_dataset(root)
    (root / "test" / "ill" / "tall.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"test/ill/tall\.png of scans cannot be read as an image"):
        load_dataset(root)
    with pytest.raises(InputError, match=r"must hold \{train,val,test\}/CLASS/file; got ill/ill-0.png"):
        load_dataset(root / "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="two classes or more; got 0"):
        load_dataset(tmp_path / "empty")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError, match=r"broken\.zip cannot be read as a zip"):
        load_dataset(tmp_path / "broken.zip")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must have a header and rows"),
        ("file,label\n", "must have a header and rows"),
        ("file\na.png\n", "must have a header and rows"),
        ("file,label\nb.png,x\n", "Row 2 of list.csv names b.png, which does not lie beside it"),
        ("file,label\na.png\n", "Row 2 of list.csv must have 2 columns; it has 1"),
        ("file,label,split\na.png,x,later\n", "must name a part of .*; got 'later'"),
        ("file,label\na.png,\n", "Row 2 of list.csv must name a file and its label; got 'a.png' and ''"),
        ("file,label,split\na.png,x,train\na.png,y,test\n", "each image once, .*; a.png is there twice"),
        ("file,label\na.png,x\n", "two classes or more; got 1"),
    ],
)
def test_a_table_that_does_not_fit_is_one_clear_sentence(tmp_path, text, sentence):
    save(tmp_path / "a.png", grey(3))
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_dataset(tmp_path / "list.csv")


def test_a_set_is_resized_for_a_network_and_otherwise_left_alone(tmp_path):
    data = load_dataset(tree(tmp_path / "scans"))
    assert data.fitted((1, SIDE, SIDE + 2)) is data
    fitted = data.fitted((3, 20, 24))
    assert fitted.splits["val"].x.shape == (6, 3, 20, 24) and fitted.splits["val"].x.dtype == np.uint8
    assert fitted.splits["val"].x[4, 2, 10, 12] == data.splits["val"].x[4, 0, 5, 6]
    assert fitted.splits["val"].ids == data.splits["val"].ids


def test_what_a_mac_leaves_in_a_zip_is_passed_over(tmp_path):
    source = tree(tmp_path / "scans")
    path = zipped(source, "scans/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/scans/train/ill/._ill-0.png", b"resource fork")
        archive.writestr("scans/train/ill/.hidden.png", b"no image")
    assert load_dataset(path).splits["train"].ids == load_dataset(source).splits["train"].ids


def test_an_image_that_is_there_twice_is_refused_since_it_could_train_and_judge(tmp_path):
    path = zipped(tree(tmp_path / "scans"), "scans/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "scans" / "train" / "ill" / "ill-0.png", "scans/scans/train/ill/ill-0.png")
    with pytest.raises(InputError, match=r"each image once, .*; train/ill/ill-0\.png is there twice"):
        load_dataset(path)


def test_sixteen_bits_keep_their_greys(tmp_path):
    root = tree(tmp_path / "scans")
    ramp = np.linspace(0, 65535, SIDE * (SIDE + 2)).reshape(SIDE, SIDE + 2)
    Image.fromarray(ramp.astype(np.uint16)).save(root / "test" / "ill" / "ill-0.png")
    found = load_dataset(root).splits["test"]
    np.testing.assert_allclose(found.x[found.ids.index("test/ill/ill-0.png"), 0], ramp / 257, atol=1)


# Sizes, and formats other than pictures


def test_images_of_several_sizes_are_brought_to_a_networks_input(tmp_path):
    root = tree(tmp_path / "scans")
    wide = np.repeat(np.arange(40, dtype=np.uint8)[None] * 6, 20, axis=0)
    save(root / "test" / "ill" / "wide.png", wide)
    with pytest.raises(InputError, match="must hold images of one size"):
        load_dataset(root)
    data = load_dataset(root, fit=(1, SIDE, SIDE + 2))
    split = data.splits["test"]
    assert split.x.shape == (7, 1, SIDE, SIDE + 2)
    # Those of the right size are untouched; the other keeps its proportions, 40 x 20 in 12 x 10: 6 rows and two of margin.
    assert np.array_equal(split.x[split.ids.index("test/ill/ill-1.png")][0], grey(161))
    found = split.x[split.ids.index("test/ill/wide.png")][0]
    assert (found[[0, 1, -2, -1]] == found.min()).all() and (np.diff(found[4].astype(int)) > 0).all()


def test_fitting_while_reading_gives_what_fitting_afterwards_gives(tmp_path):
    root = tree(tmp_path / "scans")
    before, after = load_dataset(root, fit=(3, 16, 16)), load_dataset(root).fitted((3, 16, 16))
    for part, split in before.splits.items():
        assert np.array_equal(split.x, after.splits[part].x) and split.ids == after.splits[part].ids


def test_a_folder_of_volumes_is_a_set_of_volumes(tmp_path):
    rng, affine = np.random.default_rng(0), np.diag([-2.0, 2, 2, 1])  # stored from right to left
    for part in ("train", "val", "test"):
        for label in ("ill", "well"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(2):
                voxels = rng.integers(0, 1000, (9, 10, 11)).astype(np.int16)
                nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / part / label / f"{label}-{number}.nii.gz")
    data = load_dataset(tmp_path)
    assert data.splits["test"].x.shape == (4, 1, 9, 10, 11)
    name = "test/well/well-1.nii.gz"
    canonical = nibabel.as_closest_canonical(nibabel.load(tmp_path / name)).get_fdata()
    low, high = np.percentile(canonical, (0.5, 99.5))
    expected = np.clip((canonical - low) / (high - low), 0, 1) * 255
    seen = data.splits["test"].x[data.splits["test"].ids.index(name)][0]
    assert np.abs(seen - expected).max() <= 0.51
    assert load_dataset(tmp_path, fit=(1, 16, 16, 16)).splits["train"].x.shape == (4, 1, 16, 16, 16)


def test_of_a_folder_too_a_part_can_be_had_alone(tmp_path):
    assert set(load_dataset(tree(tmp_path / "set"), parts=("test",)).splits) == {"test"}
