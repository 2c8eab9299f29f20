"""Build the bundled data set `assets/brain3d/volumes.npz`: simulated T1-weighted volumes of the brain, skull-stripped.

Anatomy is the ICBM152 2009a symmetric template (T1, grey and white matter maps as shipped in nilearn's wheel:
`pip install nilearn`, needed for rebuilding only). Every volume is drawn from its own seed, so any volume can be made
again alone and no split shares a draw with another. Run from the repository root:

    python -m scripts.build_brain3d [--out assets/brain3d/volumes.npz] [--sheet sheet.png]
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from scripts.build_brain2d import Anatomy, build, contact_sheet, load_anatomy, step, write

SIZE = 64
MM_PER_VOXEL = 3.0
CENTRE = (98.0, 114.0, 84.0)
"""Template voxel in the middle of the field of view."""
GREYS = 5
"""Grey levels are multiples of this: as coarse as the noise allows, since every further bit of noise costs megabytes."""
SPLITS = {"train": (500_000, 400), "val": (600_000, 60), "test": (700_000, 160)}
"""Split -> (first seed, volumes). The seed of a volume is the first seed plus its index; its class is index modulo 2."""


def smooth_field(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """A Gaussian random field (SIZE, SIZE, SIZE) of mean 0, sd 1 and correlation length sigma voxels."""
    coarse = max(1, int(sigma // 2))  # a smooth field needs few points
    side = SIZE // coarse + 2
    margin = int(3 * sigma / coarse) + 1
    field = ndimage.gaussian_filter(rng.standard_normal((side + 2 * margin,) * 3), sigma / coarse, mode="wrap")
    field = field[margin:-margin, margin:-margin, margin:-margin]
    if coarse > 1:
        field = ndimage.zoom(field, (SIZE + 0.0) / side, order=1, grid_mode=True, mode="nearest")
    return ((field - field.mean()) / field.std())[:SIZE, :SIZE, :SIZE]


def draw_grid(rng: np.random.Generator) -> np.ndarray:
    """Template voxel coordinates (3, SIZE, SIZE, SIZE) of a rotated, scaled and smoothly bent grid, RAS+ like the template."""
    grid = (np.indices((SIZE,) * 3) - (SIZE - 1) / 2) * MM_PER_VOXEL
    turn = Rotation.from_euler("xyz", rng.normal(0, (0.07, 0.05, 0.05))).as_matrix()
    scale = rng.uniform((0.97, 0.97, 0.95), (1.06, 1.06, 1.05))
    grid = np.tensordot(turn, grid, axes=1) * scale[:, None, None, None]
    bend = [3.0 * smooth_field(rng, 11) + 1.2 * smooth_field(rng, 3) for _ in range(3)]
    return grid + np.stack(bend) + (np.array(CENTRE) + rng.normal(0, 2, 3))[:, None, None, None]


def sample(volume: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The volume on the grid, zero outside."""
    return ndimage.map_coordinates(volume, grid, order=1, mode="constant")


def paint_lesion(
    rng: np.random.Generator,
    image: np.ndarray,
    white: np.ndarray,
    brain: np.ndarray,
    centre: np.ndarray,
    radius: float,
    bright: float,
) -> np.ndarray:
    """A lesion with an irregular border, a dark core, in some a darker middle or a bright rim, and an oedema that follows
    the white matter. `bright` is the intensity of white matter; lengths are voxels.
    """
    offset = np.indices((SIZE,) * 3) - centre[:, None, None, None]
    axes = Rotation.random(rng=rng).as_matrix() / rng.uniform((0.8, 0.8, 1.0), (1.1, 1.1, 1.2))[:, None]
    distance = np.sqrt((np.tensordot(axes, offset, axes=1) ** 2).sum(0)) / radius
    border = distance + 0.16 * smooth_field(rng, radius / 2) + 0.06 * smooth_field(rng, 1.0)
    core = step(1 - border, 0.1) * brain
    reach = rng.uniform(1.4, 1.9)
    oedema = step(reach - distance - 0.3 * smooth_field(rng, radius / 2), 0.15) * brain
    image = image * (1 - rng.uniform(0.13, 0.22) * oedema * ndimage.gaussian_filter(white, 0.7))
    level = bright * (rng.uniform(0.38, 0.54) + 0.06 * smooth_field(rng, 1.2))
    kind = rng.choice(["solid", "necrotic", "rim"], p=[0.4, 0.3, 0.3])
    if kind != "solid":
        level = level - step(rng.uniform(0.45, 0.7) - border, 0.1) * bright * rng.uniform(0.1, 0.2)
    if kind == "rim":
        level = level + np.exp(-(((border - 0.85) / 0.2) ** 2)) * bright * rng.uniform(0.3, 0.55)
    return image * (1 - core) + level * core


def simulate(anatomy: Anatomy, seed: int, lesion: bool) -> np.ndarray:
    """One volume, uint8 (SIZE, SIZE, SIZE) in RAS+ order, from its seed alone."""
    rng = np.random.default_rng(seed)
    grid = draw_grid(rng)
    white, grey, fluid, detail, brain = (
        sample(volume, grid) for volume in (anatomy.white, anatomy.grey, anatomy.fluid, anatomy.detail, anatomy.head)
    )
    white_level = 0.8
    grey_level, fluid_level = white_level * rng.uniform(0.66, 0.80), white_level * rng.uniform(0.16, 0.32)
    image = white * white_level + grey * grey_level + fluid * fluid_level + detail * rng.uniform(0.6, 1.1)
    if lesion:
        deep = ndimage.distance_transform_edt(brain > 0.5)
        weight = (white > 0.5) * (deep > 3)
        place = rng.choice(weight.size, p=weight.ravel() / weight.sum())
        centre = np.array(np.unravel_index(place, weight.shape), dtype=float)
        image = paint_lesion(rng, image, white, brain, centre, rng.uniform(6.0, 9.0), white_level)
    return acquire(rng, image, brain > 0.5, white_level)


def acquire(rng: np.random.Generator, image: np.ndarray, brain: np.ndarray, bright: float) -> np.ndarray:
    """What a scanner adds, receive bias and Rician noise, then skull-stripping and a window around `bright`."""
    level = rng.uniform(0.006, 0.012)
    scanned = image * (1 + 0.04 * smooth_field(rng, 20))
    scanned = np.hypot(scanned + level * rng.standard_normal(image.shape), level * rng.standard_normal(image.shape))
    mask = ndimage.binary_closing(np.pad(brain, 3), iterations=3)[3:-3, 3:-3, 3:-3]
    grey = scanned * mask / (bright * rng.uniform(1.30, 1.40)) * 255
    return np.clip(np.round(grey / GREYS) * GREYS, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("assets/brain3d/volumes.npz"))
    parser.add_argument(
        "--sheet", type=Path, help="only draw 8 volumes of each class, three planes each, into this PNG"
    )
    arguments = parser.parse_args()
    if arguments.sheet:
        from PIL import Image

        anatomy, planes = load_anatomy(), []
        for lesion in (False, True):
            for seed in range(8):
                volume = simulate(anatomy, seed, lesion)
                planes += [np.take(volume, SIZE // 2, axis).T[::-1, ::-1] for axis in (2, 1, 0)]
        Image.fromarray(contact_sheet(np.stack(planes), 12)).resize((12 * 128, 4 * 128)).save(arguments.sheet)
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.out, build(partial(simulate, load_anatomy()), SPLITS))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
