"""Planes, letters, crosshair and positions, against nibabel and against volumes with a marked corner."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from hfcviz import planes
from hfcviz.scans import Scan, take_slice
from hfcviz.windows import CT_WINDOWS, from_level, offered

SHAPE = (9, 10, 11)
AFFINE = nibabel.affines.from_matvec(np.diag([0.9, 1.5, 3.0]), [-4.0, -7.5, -12.0])
every_plane = pytest.mark.parametrize("name", planes.PLANES)
both_conventions = pytest.mark.parametrize("radiological", [True, False], ids=["radiological", "neurological"])

# What the four corners of a picture hold, as a radiologist reads it: (top left, top right, bottom left, bottom right), each a
# corner of the patient. Written down by hand, from right/left, anterior/posterior and superior/inferior.
CORNERS = {
    ("axial", True): ("RA", "LA", "RP", "LP"),
    ("axial", False): ("LA", "RA", "LP", "RP"),
    ("coronal", True): ("RS", "LS", "RI", "LI"),
    ("coronal", False): ("LS", "RS", "LI", "RI"),
    ("sagittal", True): ("AS", "PS", "AI", "PI"),
    ("sagittal", False): ("AS", "PS", "AI", "PI"),
}
ENDS = {"R": (0, 1), "L": (0, 0), "A": (1, 1), "P": (1, 0), "S": (2, 1), "I": (2, 0)}
"""In RAS+: the axis of each letter, and whether it is its far end."""


def marked(letters: str) -> np.ndarray:
    """A volume whose voxels at one edge, say at the patient's right and front, are 1."""
    volume = np.zeros((1, *SHAPE), np.float32)
    where = [slice(None)] * 3
    for letter in letters:
        axis, far = ENDS[letter]
        where[axis] = -1 if far else 0
    volume[0, *where] = 1
    return volume


@every_plane
@both_conventions
def test_each_corner_of_a_picture_holds_the_corner_of_the_patient_that_it_should(name, radiological):
    for letters, place in zip(CORNERS[name, radiological], ((0, 0), (0, -1), (-1, 0), (-1, -1)), strict=True):
        shown = planes.picture(marked(letters), name, 4, radiological=radiological)[0]
        assert shown[place] == 1 and shown.sum() == 1


@every_plane
@both_conventions
def test_letters_say_what_lies_at_the_edges(name, radiological):
    top_left, top_right, bottom_left, _ = CORNERS[name, radiological]
    one = planes.plane(name, SHAPE, (4, 5, 6), AFFINE, radiological=radiological)
    top = next(letter for letter in top_left if letter in top_right)
    bottom = next(letter for letter in bottom_left if letter not in top_left)
    left = next(letter for letter in top_left if letter in bottom_left)
    right = next(letter for letter in top_right if letter not in top_left)
    assert one.letters == (top, right, bottom, left)


@every_plane
@both_conventions
def test_every_place_is_its_voxel_there_and_back(name, radiological):
    index = (3, 7, 2)
    one = planes.plane(name, SHAPE, index, AFFINE, radiological=radiological)
    volume = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(1, *SHAPE)
    shown = planes.picture(volume, name, index[planes.PLANES[name]], radiological=radiological)[0]
    assert one.shape == shown.shape
    for row, column in itertools.product(range(one.shape[0]), range(one.shape[1])):
        voxel = one.index(row, column)
        assert volume[0, *voxel] == shown[row, column] and one.place(voxel) == (row, column)
    assert shown[one.place(index)] == volume[0, *index]


@every_plane
def test_the_convention_turns_left_and_right_and_nothing_else(name):
    volume = np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)
    one, other = (planes.picture(volume, name, 4, radiological=radiological)[0] for radiological in (True, False))
    expected = one if name == "sagittal" else one[:, ::-1]
    assert np.array_equal(other, expected)


@every_plane
def test_radiological_order_is_that_of_a_slice(name):
    volume = np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)
    cut = take_slice(Scan(volume, AFFINE, (0.9, 1.5, 3.0), "x"), planes.PLANES[name], 5)
    one = planes.plane(name, SHAPE, (5, 5, 5), AFFINE, (0.9, 1.5, 3.0))
    assert np.array_equal(planes.picture(volume, name, 5), cut.image)
    assert np.allclose(one.affine, cut.affine) and one.spacing == cut.spacing


OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.3, -0.25, 0.35) @ np.diag([0.9, 1.5, 3.0]), [10.0, -20.0, 30.0]
)


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["aligned", "oblique"])
@every_plane
@both_conventions
def test_letters_and_positions_agree_with_nibabel(affine, name, radiological):
    one = planes.plane(name, SHAPE, (4, 5, 6), affine, radiological=radiological)
    down, across, _ = nibabel.aff2axcodes(one.affine)
    assert one.letters[2] == down and one.letters[1] == across
    for voxel in ((0, 0, 0), (4, 5, 6), (8, 9, 10)):
        expected = nibabel.affines.apply_affine(affine, voxel)
        assert planes.position(affine, voxel) == pytest.approx(tuple(expected))
    corner = one.index(2, 3)
    assert planes.position(one.affine, (2, 3)) == pytest.approx(tuple(nibabel.affines.apply_affine(affine, corner)))


@pytest.mark.parametrize("codes", [c for c in map("".join, itertools.product("RL", "AP", "SI"))] + ["PSR", "IRA"])
def test_letters_of_an_image_are_those_of_nibabel_for_every_way_it_may_lie(codes):
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    affine = AFFINE @ nibabel.orientations.inv_ornt_aff(turn, SHAPE)
    top, right, bottom, left = planes.letters(affine)
    assert (bottom, right) == tuple(codes[:2])
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    assert (top, left) == (opposite[bottom], opposite[right])


def test_without_an_affine_nothing_is_said_of_the_patient():
    one = planes.plane("axial", SHAPE, (1, 2, 3))
    assert one.letters is None and one.affine is None and planes.edges(one) is None
    assert planes.whole((4, 5)).letters is None


@every_plane
@both_conventions
def test_coordinates_of_rows_and_columns_are_the_positions_in_mm_towards_the_edges_letter(name, radiological):
    index = (3, 7, 2)
    one = planes.plane(name, SHAPE, index, AFFINE, radiological=radiological)
    sign = {"R": 1, "L": -1, "A": 1, "P": -1, "S": 1, "I": -1}
    for (first, step, letter), axis in zip(planes.edges(one), (1, 0), strict=True):
        assert step > 0 and letter == one.letters[2 - axis]
        for at in (0, 4):
            place = (at, 0) if axis == 0 else (0, at)
            mm = nibabel.affines.apply_affine(AFFINE, one.index(*place))
            assert first + step * at == pytest.approx(sign[letter] * mm[ENDS[letter][0]])


def test_an_oblique_plane_has_no_such_coordinates():
    assert planes.edges(planes.plane("axial", SHAPE, (1, 2, 3), OBLIQUE)) is None


def test_positions_are_spoken_by_their_letters():
    assert planes.spoken((12.04, -3.5, 0)) == "R 12.0, P 3.5, S 0.0 mm"
    assert planes.along(AFFINE, SHAPE, 2)[:2] == ("I 12.0", "I 9.0") and len(planes.along(AFFINE, SHAPE, 0)) == 9


# Windows


def test_a_ct_gets_the_usual_windows_in_hounsfield_units_and_no_percentiles():
    image = np.linspace(-1000, 2000, 3000, dtype=np.float32).reshape(1, 30, 100)
    found = offered(image, (-160, 240), modality="CT", unit="HU", header=[("ABDOMEN", (-110, 190))])
    assert next(iter(found)) == "as the network sees it" and found["header: ABDOMEN (-110 to 190)"] == (-110, 190)
    assert {name: found[f"CT {name}"] for name in CT_WINDOWS} == {
        "lung": (-1350, 150),
        "mediastinum": (-125, 225),
        "bone": (-500, 1300),
        "brain": (0, 80),
    }
    assert not [name for name in found if "percentiles" in name] and found["full range"] == (-1000, 2000)


def test_all_else_gets_percentiles_and_no_windows_of_ct():
    image = np.arange(1001, dtype=np.float32).reshape(1, 7, 143)
    found = offered(image, (0, 1000), modality="MR")
    assert found["percentiles 2 to 98"] == pytest.approx((20, 980))
    assert found["percentiles 0.5 to 99.5"] == pytest.approx((5, 995))
    assert not [name for name in found if name.startswith("CT")]
    assert from_level(40, 80) == (0, 80)


def test_a_constant_picture_still_has_a_window():
    found = offered(np.full((1, 8, 8), 5.0, np.float32), (0, 1))
    assert all(low < high for low, high in found.values())
