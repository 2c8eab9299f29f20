"""NIfTI files, by nibabel, to RAS+ volumes."""

from __future__ import annotations

import math

import numpy as np

from hfcviz.limits import MAX_BYTES, check_enough, check_inflated, check_size, inflated, pick
from hfcviz.placement import placed
from hfcviz.scans import Scan
from hfcviz.settings import InputError


def read_nifti(data: bytes, label: str, volume: int | None) -> Scan:
    """A volume of a NIfTI-1 or -2 file, plain or gzip (nifti.nimh.nih.gov). What follows the third axis are volumes."""
    import nibabel

    def content_of(most: int) -> bytes:
        return inflated(data, most) if data[:2] == b"\x1f\x8b" else data

    head = content_of(540)
    if b"ni" in (head[344:346], head[4:6]):
        raise InputError(
            f"{label} must hold its voxels, but it is one half of a .hdr and .img pair; save both as one .nii file."
        )
    kind = nibabel.Nifti2Image if head[4:6] == b"n+" else nibabel.Nifti1Image
    header = kind.header_class(head[: kind.header_class.sizeof_hdr], check=False)
    shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    if dtype.kind not in "iuf":
        what = str(dtype) if dtype.kind != "V" else "a colour" if dtype.names else "none"
        raise InputError(
            f"{label} must hold one real number a voxel, but its data type is {what}; save the magnitude or one channel."
        )
    space, count = (*shape[:3], 1, 1)[:3], math.prod(shape[3:])
    check_size(label, (1, *space, count) if count < 1 else (1, *space))
    size = math.prod(shape) * dtype.itemsize
    if max(size, offset) > MAX_BYTES:
        raise InputError(
            f"{label} must hold at most {MAX_BYTES >> 20} MB of voxels, but declares {(offset + size) >> 20} MB; save 16-bit integers."
        )
    if offset < kind.header_class.sizeof_hdr:  # nibabel would take the header for voxels
        raise InputError(
            f"{label} must have its voxels behind its header, but it says that they begin at byte {offset}; export it again."
        )
    chosen = pick(label, count, volume)
    most = offset + size + 2**20  # programs append a little
    if data[:2] == b"\x1f\x8b":
        check_inflated(label, data, most)
    content = content_of(most)
    if len(content) > most:
        raise InputError(
            f"{label} must end with its {size} bytes of voxels, but more than 1 MB follows; export or download it again."
        )
    check_enough(label, len(content) - offset, size)
    image = kind.from_bytes(content)
    affine = np.array(image.affine, dtype=float)
    affine[:3] *= {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # metres and microns to mm
    where = np.unravel_index(chosen, shape[3:], order="F") if shape[3:] else ()
    voxels = np.asarray(image.dataobj[(..., *(int(one) for one in where))], dtype=np.float32).reshape(space)
    notices: tuple[str, ...] = ()
    if not (header["qform_code"] or header["sform_code"]):
        notices = ("It does not say how the patient lies, so left and right are a guess.",)
    if count > 1:
        notices += (f"It is volume {chosen} of {count}, counted from 0.",)
    return placed(Scan(voxels[None], None, None, label, notices), affine)
