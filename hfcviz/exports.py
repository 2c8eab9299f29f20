"""Files to take away, as bytes: pictures and volumes under names of ours, with nothing of the patient in them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import numpy as np

from hfcviz.grids import Shown
from hfcviz.scans import write_png

Files = dict[str, Callable[[], bytes]]
"""{name: what makes its content}; volumes are large, so each is made only when it is asked for."""
KINDS = {".png": "image/png", ".nii.gz": "application/gzip"}
"""What a browser should know of a file, by the end of its name."""


def png(image: np.ndarray) -> bytes:
    """An image (C, rows, columns) in [0, 1] as PNG, 16 bits where it is grey; InputError for anything else."""
    content = io.BytesIO()
    write_png(content, image)
    return content.getvalue()


def perturbation_png(attacked: np.ndarray, clean: np.ndarray) -> bytes:
    """What was added, both images (1, rows, columns) in [0, 1], as a 16-bit PNG: black is -1, white 1, and the grey between, 32768 of
    65535, is none.
    """
    return png((attacked - clean + 1) / 2)


def nifti(
    image: np.ndarray, affine: np.ndarray | None, spacing: tuple[float, ...] | None = None, orientation: str = ""
) -> bytes:
    """An image or volume (C, *spatial) as .nii.gz: float32 on the grid that is given, in RAS+ mm.

    An image (rows, columns) becomes a volume of one slice; three channels become the fourth side. Without an affine the file says
    nothing of how the patient lies (codes 0), only the spacing. orientation: axes such as "LPS" in which a volume is stored; where
    its voxels lie does not change. Equal arrays give equal bytes.
    """
    import nibabel

    voxels = np.moveaxis(np.asarray(image, np.float32), 0, -1)
    voxels = voxels if voxels.ndim == 4 else voxels[:, :, None]
    voxels = voxels[..., 0] if voxels.shape[-1] == 1 else voxels
    known = affine is not None
    mm = spacing or ()
    placed = affine if affine is not None else np.diag([*mm, *[1.0] * (4 - len(mm))])
    volume = nibabel.Nifti1Image(np.ascontiguousarray(voxels), placed)
    if known and image.ndim == 4 and len(orientation) == 3:
        now = nibabel.orientations.io_orientation(placed)
        turn = nibabel.orientations.ornt_transform(now, nibabel.orientations.axcodes2ornt(orientation))
        volume = volume.as_reoriented(turn)
    volume.header.set_xyzt_units("mm")
    for place in (volume.set_sform, volume.set_qform):
        place(volume.affine, code=1 if known else 0)
    return gzip.compress(volume.to_bytes(), 1, mtime=0)


def files(seen: Shown, role: str, prefix: str = "") -> Files:
    """The attacked scan and what was added to it, on the grid of `seen`.

    A volume, and an image whose file knows its spacing or how the patient lies, gives adversarial.nii.gz and perturbation.nii.gz, of
    which scan + perturbation = adversarial; the perturbation is in the scan's units. prefix comes before each name.
    """
    scan = seen.scan
    if scan.image.ndim == 3 and scan.affine is None and scan.spacing is None:
        return {}

    def volume(array: np.ndarray) -> bytes:
        return nifti(array, scan.affine, scan.spacing, scan.stored_orientation)

    return {
        f"{prefix}adversarial.nii.gz": lambda: volume(seen.version(role)),
        f"{prefix}perturbation.nii.gz": lambda: volume(seen.change(role)),
    }
