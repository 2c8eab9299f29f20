"""Labelled image sets with train, validation and test parts: by name, or from an .npz, a folder, a zip or a CSV."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from hfcviz.folders import from_table, from_tree
from hfcviz.medmnist import MEDMNIST, fetch
from hfcviz.resampling import prepare
from hfcviz.scans import Scan
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import digest

PARTS = ("train", "val", "test")
LARGEST = 4 * 2**30
"""Most bytes that the arrays of one file may unpack to."""


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set; row i of x, y and ids is sample i."""

    x: np.ndarray
    """uint8 (N, C, *spatial)"""
    y: np.ndarray
    """int64 (N,), positions in the class names"""
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.y)

    def images(self, index: int | slice | Sequence[int] | np.ndarray = slice(None)) -> np.ndarray:
        """The chosen samples, or all, as float32 (n, C, *spatial) in [0, 1]; a single number gives n = 1."""
        chosen = self.x[[index]] if isinstance(index, (int, np.integer)) else self.x[index]
        return chosen.astype(np.float32) / 255


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one shape with class names; `splits` holds those of "train", "val" and "test" that the source has."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    about: str
    affine: np.ndarray | None = None
    """(4, 4) from array indices, of an image (row, column, 0), to RAS+ mm, the same for all; None where it is not known."""

    @cached_property
    def sha256(self) -> str:
        """Of images, labels and ids of all parts, whatever the set is called."""
        return digest([[part, split.x, split.y, list(split.ids)] for part, split in sorted(self.splits.items())])

    def sample(self, sample_id: str) -> tuple[np.ndarray, str]:
        """An image by its id, float32 (C, *spatial) in [0, 1], and its true class. InputError for an unknown id."""
        for split in self.splits.values():
            if sample_id in split.ids:
                index = split.ids.index(sample_id)
                return split.images(index)[0], self.class_names[int(split.y[index])]
        known = ", ".join(f"{split.ids[0]} to {split.ids[-1]}" for split in self.splits.values())
        raise InputError(f"A scan of {self.name} must be one of {known}; got {sample_id!r}.")

    def fitted(self, input_shape: Sequence[int]) -> Dataset:
        """The set as a network with this input, (C, *spatial), takes it: resized and turned to grey or colour if need be."""
        if next(iter(self.splits.values())).x.shape[1:] == tuple(input_shape):
            return self

        def fit(image: np.ndarray) -> np.ndarray:
            scan = Scan(image.astype(np.float32), None, None, self.name, (), (0.0, 255.0))
            return np.rint(prepare(scan, input_shape) * 255).astype(np.uint8)

        splits = {
            part: Split(np.stack([fit(image) for image in split.x]), split.y, split.ids)
            for part, split in self.splits.items()
        }
        return replace(self, splits=MappingProxyType(splits), affine=None)  # another grid


@dataclass(frozen=True)
class Source:
    """Where a bundled data set lies and what people should know about it."""

    path: Path
    about: str
    affine: np.ndarray | None = None
    """As in Dataset."""


DATASETS: dict[str, Source] = {
    "brain2d": Source(
        Path(__file__).resolve().parent.parent / "assets" / "brain2d" / "slices.npz",
        "Simulated axial T1 slices of the head (no patient's images): ICBM152 anatomy, healthy or with a painted lesion.",
        # Radiological display order at 1.8 mm: rows run to the back, columns to the patient's left.
        np.array([[0, -1.8, 0, 114.3], [-1.8, 0, 0, 114.3], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    ),
    "brain3d": Source(
        Path(__file__).resolve().parent.parent / "assets" / "brain3d" / "volumes.npz",
        "Simulated T1 volumes of the brain (no patient's images), skull-stripped: ICBM152 anatomy, healthy or with a painted "
        "lesion.",
        np.array([[3, 0, 0, -94.5], [0, 3, 0, -94.5], [0, 0, 3, -94.5], [0, 0, 0, 1.0]]),  # RAS+ at 3 mm
    ),
}
"""Bundled data sets by name."""


def load_dataset(
    name_or_path: str | Path,
    *,
    fit: Sequence[int] | None = None,
    parts: Sequence[str] = PARTS,
    progress: Progress = silent,
) -> Dataset:
    """The data set of a name in DATASETS or MEDMNIST (which are downloaded), of an .npz file in the MedMNIST layout, of a
    folder or zip of images or volumes (ROOT/{train,val,test}/CLASS/file), or of a CSV of file and label (see `folders`).

    fit: (C, *spatial), the input of the network for which all images are brought to its size and its channels. parts: those that are
    wanted, of what there is; of an .npz no others are unpacked. Classes that have no names are counted from the labels of these.

    An .npz holds uint8 `train_images`, `train_labels` and the same for `val` and `test` (at least one pair), images
    N x H x W, N x H x W x C with C = 1, 3 or 4 (channels last), or N x D x H x W, labels N or N x 1 counting from 0,
    and optionally `class_names` and the samples' names, `train_ids` and so on. Nothing is unpickled. InputError says in
    one sentence what does not fit.

    Layout: Yang et al. 2023, "MedMNIST v2", https://doi.org/10.1038/s41597-022-01721-8.
    """
    source, known = DATASETS.get(str(name_or_path)), MEDMNIST.get(str(name_or_path))
    path = source.path if source else fetch(str(name_or_path)) if known else Path(name_or_path)
    if not path.exists():
        names = ", ".join(DATASETS)
        raise InputError(
            f"Data set {str(name_or_path)!r} is neither a file nor a bundled set; bundled: {names}; MedMNIST: "
            f"{', '.join(MEDMNIST)}."
        )
    if path.is_dir() or path.suffix.lower() == ".zip":
        arrays = from_tree(path, fit, progress)
    elif path.suffix.lower() == ".csv":
        arrays = from_table(path, fit, progress)
    else:
        arrays = _read(path, parts)

    found = {}
    for part in parts:
        keys = f"{part}_images", f"{part}_labels"
        present = [key for key in keys if key in arrays]
        if len(present) == 1:
            raise InputError(
                f"{path.name} has {present[0]} but not its partner: each part needs {keys[0]} and {keys[1]}."
            )
        if present:
            found[part] = _split(path.name, part, arrays[keys[0]], arrays[keys[1]], arrays.get(f"{part}_ids"))
    if not found:
        names = ", ".join(arrays) or "nothing of that"
        first, *others = parts
        other = f" (or {', '.join(f'{part}_' for part in others)})" if others else ""
        raise InputError(f"{path.name} must hold {first}_images and {first}_labels{other}; it holds {names}.")
    shapes = {part: split.x.shape[1:] for part, split in found.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{path.name} must hold images of one shape in all parts; got {shapes}.")

    highest = max(int(split.y.max()) for split in found.values())
    if "class_names" in arrays:
        class_names = tuple(str(name) for name in arrays["class_names"].ravel())
    else:
        class_names = tuple(f"class {number}" for number in range(highest + 1))
    if highest >= len(class_names):
        raise InputError(
            f"{path.name} has the label {highest}, but labels must lie between 0 and {len(class_names) - 1}"
            f" because it names {len(class_names)} classes."
        )
    if known and len(known.classes) == len(class_names):
        class_names = known.classes
    about = source.about if source else f"Read from {path.name}."
    name, affine = (str(name_or_path), source.affine) if source else (path.stem, None)
    dataset = Dataset(name, class_names, MappingProxyType(found), about, affine)
    return dataset if fit is None else dataset.fitted(fit)


def _read(path: Path, parts: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays that belong to the layout, none of them unpickled."""
    wanted = {f"{part}_{kind}" for part in parts for kind in ("images", "labels", "ids")} | {"class_names"}
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST:
            raise InputError(
                f"{path.name} unpacks to {size / 2**30:.1f} GiB; the most is {LARGEST / 2**30:.0f} GiB: take fewer images."
            )
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files if key in wanted}
        for key, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy hands over the bytes of a member that is none
                raise InputError(f"{path.name} is damaged: {key} is no array.")
        return arrays
    except InputError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path.name} holds Python objects, which are never unpickled: save plain number arrays."
            ) from error
        raise InputError(f"{path.name} is damaged: {error}.") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError) as error:
        raise InputError(f"{path.name} cannot be read as an .npz file: {error}.") from error


def _split(file: str, part: str, images: np.ndarray, labels: np.ndarray, ids: np.ndarray | None) -> Split:
    """Check one part and bring its images to (N, C, *spatial)."""
    if images.dtype != np.uint8:
        raise InputError(
            f"{part}_images in {file} must be uint8 (0 to 255); got {images.dtype}: rescale and save it again."
        )
    if images.ndim == 3:
        x = images[:, None]
    elif images.ndim == 4 and images.shape[-1] in (1, 3, 4):
        x = np.moveaxis(images, -1, 1)
    elif images.ndim == 4:
        x = images[:, None]
    else:
        raise InputError(
            f"{part}_images in {file} must be N x H x W, N x H x W x C or N x D x H x W; got the shape {images.shape}."
        )
    if x.size == 0:
        raise InputError(f"{part}_images in {file} must hold at least one image; got the shape {images.shape}.")
    y = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise InputError(
            f"{part}_labels in {file} must be one whole number per image; got {labels.dtype} of the shape {labels.shape}."
        )
    if len(y) != len(x):
        raise InputError(
            f"{part} in {file} must have as many labels as images; got {len(x)} images and {len(y)} labels."
        )
    if int(y.min()) < 0:
        raise InputError(f"{part}_labels in {file} must count from 0; got {int(y.min())}.")
    names = tuple(f"{part}-{i:04d}" for i in range(len(y))) if ids is None else tuple(map(str, ids.ravel()))
    if len(set(names)) != len(x):
        raise InputError(
            f"{part}_ids in {file} must name each image once; got {len(set(names))} names for {len(x)} images."
        )
    return Split(np.ascontiguousarray(x), y.astype(np.int64), names)
