"""Build the bundled data set `assets/brain2d/slices.npz`: simulated axial T1-weighted slices of the head.

Anatomy is the ICBM152 2009a symmetric template (T1, grey and white matter maps as shipped in nilearn's wheel:
`pip install nilearn`, needed for rebuilding only). Every slice is drawn from its own seed, so any slice can be made
again alone and no split shares a draw with another. Run from the repository root:

    python -m scripts.build_brain2d [--out assets/brain2d/slices.npz] [--sheet sheet.png]
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
from monai.transforms import GibbsNoise, RandBiasField, RandRicianNoise
from scipy import ndimage

SIZE = 128
MM_PER_PIXEL = 1.8
CLASS_NAMES = ("healthy", "lesion")
SPLITS = {"train": (100_000, 1600), "val": (200_000, 200), "test": (300_000, 400)}
"""Split -> (first seed, slices). The seed of a slice is the first seed plus its index; its class is index modulo 2."""


@dataclass(frozen=True)
class Anatomy:
    """The template on its 1 mm grid, RAS+: white, grey and fluid fractions, and what they leave unexplained of T1."""

    white: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    detail: np.ndarray
    head: np.ndarray
    """Brain mask with its fissures, 0 or 1."""


def load_anatomy() -> Anatomy:
    """Read the maps from nilearn's wheel and split T1 into tissue means plus detail (deep grey, vessels, texture)."""
    folder = files("nilearn.datasets") / "data"

    def load(kind: str) -> np.ndarray:
        image = nibabel.load(str(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"))
        return np.asarray(image.dataobj, dtype=np.float32) / 255

    t1, grey, white = load("t1"), load("gm"), load("wm")
    inside = t1 > 0
    fluid = np.where(inside, np.clip(1 - grey - white, 0, 1), 0)
    tissues = np.stack([white[inside], grey[inside], fluid[inside]], axis=1)
    means = np.linalg.lstsq(tissues, t1[inside], rcond=None)[0]
    detail = np.zeros_like(t1)
    detail[inside] = t1[inside] - tissues @ means
    return Anatomy(white, grey, fluid, detail, inside.astype(np.float32))


def smooth_field(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """A Gaussian random field (SIZE, SIZE) of mean 0, sd 1 and correlation length sigma pixels."""
    margin = int(3 * sigma) + 1
    field = ndimage.gaussian_filter(rng.standard_normal((SIZE + 2 * margin,) * 2), sigma, mode="wrap")
    field = (field - field.mean()) / field.std()
    return field[margin:-margin, margin:-margin]


def step(distance: np.ndarray, softness: float) -> np.ndarray:
    """1 where distance is positive, 0 where negative, with a soft edge as partial volume leaves it."""
    return 1 / (1 + np.exp(-np.clip(distance / softness, -30, 30)))


def draw_plane(rng: np.random.Generator) -> np.ndarray:
    """Template voxel coordinates (3, SIZE, SIZE) of a tilted, scaled and smoothly bent axial plane.

    Row 0 is anterior and column 0 the patient's right: radiological display order. The plane bends in height too,
    so that neighbouring gyri mix and no two slices share an outline.
    """
    row, column = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) * MM_PER_PIXEL
    angle = rng.normal(0, 0.05)
    right, back = column * np.cos(angle) + row * np.sin(angle), row * np.cos(angle) - column * np.sin(angle)
    right, back = right * rng.uniform(0.97, 1.06), back * rng.uniform(0.97, 1.05)
    x = 98 - right + rng.normal(0, 2)
    y = 116 - back + rng.normal(0, 2)
    z = rng.uniform(80, 114) + rng.normal(0, 0.06) * right + rng.normal(0, 0.08) * back
    x, y = (axis + 3.0 * smooth_field(rng, 20) + 1.2 * smooth_field(rng, 5) for axis in (x, y))
    # The template has right where x is large, so a column further right in the picture is a smaller x.
    return np.stack([x, y, z + 2.5 * smooth_field(rng, 16)])


def sample(volume: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """The volume along the plane, zero outside."""
    return ndimage.map_coordinates(volume, plane, order=1, mode="constant")


def push_aside(plane: np.ndarray, centre: np.ndarray, radius: float, amount: float) -> np.ndarray:
    """Mass effect: tissue around a lesion is displaced away from its centre by up to `amount` pixels."""
    offset = np.indices((SIZE, SIZE)) - centre[:, None, None]
    distance = np.hypot(*offset) + 1e-6
    reach = amount * (distance / radius) * np.exp(0.5 - 0.5 * (distance / radius) ** 2)
    source = np.indices((SIZE, SIZE)) - reach * offset / distance
    return np.stack([ndimage.map_coordinates(axis, source, order=1, mode="nearest") for axis in plane])


def paint_lesion(
    rng: np.random.Generator,
    image: np.ndarray,
    white: np.ndarray,
    brain: np.ndarray,
    centre: np.ndarray,
    radius: float,
    bright: float,
) -> np.ndarray:
    """Lesion with an irregular border, heterogeneous core and an oedema that follows the white matter.

    `bright` is the intensity of white matter in this slice. On T1 a core is darker than its surroundings, with a
    necrotic centre in some and an enhancing rim or old blood in others.
    """
    offset = np.indices((SIZE, SIZE)) - centre[:, None, None]
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.75, 1.0)
    along = offset[0] * np.cos(angle) + offset[1] * np.sin(angle)
    across = (offset[1] * np.cos(angle) - offset[0] * np.sin(angle)) / stretch
    distance = np.hypot(along, across) / radius
    border = distance + 0.22 * smooth_field(rng, radius / 2.5) + 0.08 * smooth_field(rng, 1.2)
    core = step(1 - border, 0.06) * brain
    reach = rng.uniform(1.4, 1.9)
    oedema = (
        step(reach - distance - 0.35 * smooth_field(rng, radius / 2), 0.12) * ndimage.gaussian_filter(white, 1) * brain
    )

    image = image * (1 - rng.uniform(0.13, 0.22) * oedema)
    texture = 0.07 * smooth_field(rng, 2.2) + 0.05 * smooth_field(rng, 1.0)
    kind = rng.choice(["solid", "necrotic", "rim", "blood"], p=[0.4, 0.25, 0.25, 0.1])
    level = bright * (rng.uniform(0.38, 0.54) + texture)
    if kind in ("necrotic", "rim"):
        hollow = step(rng.uniform(0.45, 0.7) - border + 0.1 * smooth_field(rng, 2.5), 0.08)
        level = level - hollow * bright * rng.uniform(0.1, 0.2)
    if kind == "rim":
        shell = np.exp(-(((border - 0.85) / 0.16) ** 2)) * np.clip(0.75 + 0.45 * smooth_field(rng, 4), 0, 1.2)
        level = level + shell * bright * rng.uniform(0.35, 0.6)
    if kind == "blood":
        patch = step(smooth_field(rng, radius / 3) + 0.3, 0.35)
        level = level + patch * bright * rng.uniform(0.65, 0.8)
    return image * (1 - core) + level * core


def add_coverings(rng: np.random.Generator, image: np.ndarray, brain: np.ndarray, fluid_level: float) -> np.ndarray:
    """Subarachnoid fluid, skull with marrow, and scalp around the brain: the template has none, a head does."""
    # Closing by a large disc bridges the gyri: the skull follows the brain, not its folds.
    reach = 14
    solid = np.pad(brain > 0.5, reach + 2)
    near = ndimage.distance_transform_edt(~solid) <= reach
    closed = ndimage.distance_transform_edt(near) > reach
    outward = ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed)
    outward = ndimage.gaussian_filter(outward, 2.5)[reach + 2 : -reach - 2, reach + 2 : -reach - 2]
    vary = smooth_field(rng, 18)
    inner = rng.uniform(0.9, 1.9) + 0.3 * smooth_field(rng, 14)
    bone = np.clip(rng.uniform(3.0, 4.6) + 0.6 * vary, 2.2, 6)
    scalp = np.clip(rng.uniform(2.6, 4.4) + 0.6 * smooth_field(rng, 16), 1.8, 6)

    def between(low: np.ndarray | float, high: np.ndarray | float, soft: float = 0.3) -> np.ndarray:
        return step(outward - low, soft) * step(high - outward, soft)

    marrow = rng.uniform(0.15, 0.42) * np.clip(0.8 + 0.4 * smooth_field(rng, 3), 0, 1.5)
    fat = rng.uniform(0.72, 0.98) * (1 + 0.10 * smooth_field(rng, 3) + 0.05 * smooth_field(rng, 1))
    skin = rng.uniform(0.35, 0.55)
    around = fluid_level * between(-50, inner)
    around = around + 0.05 * between(inner, inner + bone)
    around = around + marrow * between(inner + 0.3 * bone, inner + 0.75 * bone, 0.35)
    around = around + fat * between(inner + bone, inner + bone + 0.75 * scalp)
    around = around + skin * between(inner + bone + 0.75 * scalp, inner + bone + scalp)
    return image + (1 - brain) * around


def simulate(anatomy: Anatomy, seed: int, lesion: bool) -> np.ndarray:
    """One slice, uint8 (SIZE, SIZE), from its seed alone."""
    rng = np.random.default_rng(seed)
    plane = draw_plane(rng)
    centre, radius = np.zeros(2), 0.0
    if lesion:
        brain = sample(anatomy.head, plane)
        deep = ndimage.distance_transform_edt(brain > 0.5)
        weight = (sample(anatomy.white, plane) > 0.5) * (deep > 5)
        centre = np.array(
            np.unravel_index(rng.choice(weight.size, p=weight.ravel() / weight.sum()), weight.shape), dtype=float
        )
        radius = rng.uniform(6.5, 10.0)
        plane = push_aside(plane, centre, 1.6 * radius, rng.uniform(0.1, 0.3) * radius)

    white, grey, fluid, detail, brain = (
        sample(volume, plane) for volume in (anatomy.white, anatomy.grey, anatomy.fluid, anatomy.detail, anatomy.head)
    )
    white_level = 0.8
    grey_level = white_level * rng.uniform(0.66, 0.80)
    fluid_level = white_level * rng.uniform(0.16, 0.32)
    image = white * white_level + grey * grey_level + fluid * fluid_level
    image = image + detail * rng.uniform(0.6, 1.1) + 0.012 * smooth_field(rng, 1.5) * brain
    if lesion:
        image = paint_lesion(rng, image, white, brain, centre, radius, white_level)
    image = add_coverings(rng, image, brain, fluid_level)
    return acquire(rng, image, white_level)


def acquire(rng: np.random.Generator, image: np.ndarray, bright: float) -> np.ndarray:
    """What a scanner adds: receive bias, truncated k-space, Rician noise; then a window around `bright`, and eight bits."""
    scanned = ndimage.gaussian_filter(image, rng.uniform(0.25, 0.5))[None].astype(np.float32)
    bias = RandBiasField(degree=3, coeff_range=(-0.04, 0.04), prob=1.0).set_random_state(int(rng.integers(2**31)))
    level = float(rng.uniform(0.003, 0.008))
    noise = RandRicianNoise(prob=1.0, std=level, sample_std=False).set_random_state(int(rng.integers(2**31)))
    scanned = noise(GibbsNoise(alpha=float(rng.uniform(0.25, 0.5)))(bias(scanned)))
    scanned = np.asarray(scanned)[0]
    # A window with room at the top, as for T1 with bright fat or contrast agent: the air is black, white matter middle grey.
    black, white = rng.uniform(2.5, 3.5) * level, bright * rng.uniform(1.45, 1.55)
    scanned = (scanned - black) / (white - black)
    return np.round(np.clip(scanned, 0, 1) * 255).astype(np.uint8)


def build(make: Callable[[int, bool], np.ndarray], splits: Mapping[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """All splits as arrays named in the MedMNIST way, from what makes the scan of a seed, with a lesion or without. A scan knows
    its own seed, so any number of processes gives the same.
    """
    arrays = {}
    for split, (first, count) in splits.items():
        labels = np.arange(count) % 2
        with ProcessPoolExecutor() as pool:
            images = pool.map(make, range(first, first + count), labels.astype(bool).tolist(), chunksize=5)
            arrays[f"{split}_images"] = np.stack(list(images))
        arrays[f"{split}_labels"] = labels.astype(np.uint8)[:, None]
    arrays["class_names"] = np.array(CLASS_NAMES)
    return arrays


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz that `numpy.load` reads; noise packs a fifth smaller with bzip2 than as numpy would save it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in arrays.items():
            # open() dates an entry 1980, so the same arrays give the same bytes.
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def contact_sheet(images: np.ndarray, columns: int = 8) -> np.ndarray:
    """Images (N, H, W) side by side for a look, as many full rows as there are."""
    rows = [np.hstack(list(images[i : i + columns])) for i in range(0, len(images) - columns + 1, columns)]
    return np.vstack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("assets/brain2d/slices.npz"))
    parser.add_argument("--sheet", type=Path, help="only draw 24 slices of each class into this PNG")
    arguments = parser.parse_args()
    if arguments.sheet:
        from PIL import Image

        anatomy = load_anatomy()
        images = [simulate(anatomy, i, lesion) for lesion in (False, True) for i in range(24)]
        Image.fromarray(contact_sheet(np.stack(images))).save(arguments.sheet)
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.out, build(partial(simulate, load_anatomy()), SPLITS))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
