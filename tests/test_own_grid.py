"""A change on the network's grid lies on the scan: by formulas, by SciPy, and by preparing a scan again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from hfcviz.resampling import on_own_grid, place, prepare
from hfcviz.scans import Scan
from hfcviz.settings import InputError

SHAPES = {
    "2-D": ((50, 40), (0.7, 0.7), (1, 32, 32)),
    "2-D, anisotropic": ((30, 45), (1.5, 0.8), (1, 64, 48)),
    "3-D": ((20, 26, 18), None, (1, 16, 16, 16)),
    "3-D, anisotropic": ((30, 26, 9), (1.0, 1.0, 4.0), (1, 24, 24, 24)),
}
every_shape = pytest.mark.parametrize(("shape", "spacing", "input_shape"), SHAPES.values(), ids=SHAPES)


def scan_of(shape, spacing=None, channels=1, seed=0) -> Scan:
    values = np.random.default_rng(seed).uniform(-1000, 2000, (channels, *shape)).astype(np.float32)
    return Scan(values, None, spacing, "x", window=(-1000.0, 2000.0))


def centres(placement):
    """For each axis: where the scan's pixels lie on the network's grid, in its pixels, by the rule that both cover the same extent."""
    return [
        before + (np.arange(length) + 0.5) * size / length - 0.5
        for length, size, (before, _) in zip(placement.shape[1:], placement.sizes, placement.margins, strict=True)
    ]


def inner(placement):
    """The part of the scan whose neighbours on the network's grid are no margin, on either side."""
    return tuple(
        slice(*(np.flatnonzero((spots >= before) & (spots <= before + size - 1))[[0, -1]] + (0, 1)))
        for spots, size, (before, _) in zip(centres(placement), placement.sizes, placement.margins, strict=True)
    )


def test_equal_grids_only_change_the_unit():
    scan = scan_of((12, 9, 10))
    change = np.random.default_rng(1).normal(size=(1, 12, 9, 10)).astype(np.float32)
    np.testing.assert_allclose(on_own_grid(change, place(scan, change.shape)), change * 3000, rtol=1e-6)


@every_shape
def test_a_constant_change_stays_constant_to_the_edge(shape, spacing, input_shape):
    placement = place(scan_of(shape, spacing), input_shape)
    found = on_own_grid(np.full(input_shape, 4 / 255, np.float32), placement)
    assert found.shape == (1, *shape) and found.dtype == np.float32
    np.testing.assert_allclose(found, 4 / 255 * 3000, rtol=1e-6)


@every_shape
def test_what_lies_in_the_margin_never_reaches_the_scan(shape, spacing, input_shape):
    placement = place(scan_of(shape, spacing), input_shape)
    change = np.ones(input_shape, np.float32)
    change[:, *[slice(a, side - b) for (a, b), side in zip(placement.margins, input_shape[1:], strict=True)]] = 0
    assert change.any(), "the shapes of this test need a margin"
    assert not on_own_grid(change, placement).any()


@every_shape
def test_a_linear_ramp_stays_the_same_ramp_in_the_inside(shape, spacing, input_shape):
    placement = place(scan_of(shape, spacing), input_shape)
    slopes, axes = (0.011, -0.007, 0.005), range(len(shape))
    ramp = sum(slopes[axis] * np.indices(input_shape[1:])[axis] for axis in axes)
    found = on_own_grid(ramp[None].astype(np.float32), placement)[0] / 3000
    spots = np.meshgrid(*centres(placement), indexing="ij")
    expected = sum(slopes[axis] * spots[axis] for axis in axes)
    np.testing.assert_allclose(found[inner(placement)], expected[inner(placement)], atol=1e-6)


@every_shape
def test_it_is_the_linear_interpolation_of_scipy(shape, spacing, input_shape):
    placement = place(scan_of(shape, spacing), input_shape)
    change = np.random.default_rng(2).normal(size=input_shape).astype(np.float32)
    inside = change[0][
        tuple(slice(a, side - b) for (a, b), side in zip(placement.margins, input_shape[1:], strict=True))
    ]
    spots = np.meshgrid(*centres(placement), indexing="ij")
    offsets = [before for before, _ in placement.margins]
    shifted = [spot - offset for spot, offset in zip(spots, offsets, strict=True)]
    expected = map_coordinates(inside, shifted, order=1, mode="nearest") * 3000
    np.testing.assert_allclose(on_own_grid(change, placement)[0], expected, atol=1e-2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_that_slice_of_the_whole(axis):
    shape, spacing, input_shape = SHAPES["3-D, anisotropic"]
    placement = place(scan_of(shape, spacing), input_shape)
    change = np.random.default_rng(3).normal(size=input_shape).astype(np.float32)
    whole = on_own_grid(change, placement)
    for index in (0, 4, shape[axis] - 1):
        np.testing.assert_allclose(
            on_own_grid(change, placement, {axis: index}), np.take(whole, [index], axis + 1), atol=1e-3
        )


def test_a_smooth_change_is_what_the_network_sees_when_the_changed_scan_is_prepared_again():
    scan = Scan(np.full((1, 60, 90), 500.0, np.float32), None, (1.5, 1.0), "x", window=(0.0, 1000.0))
    placement = place(scan, (1, 40, 48))
    rows, columns = np.indices((40, 48))
    change = (0.02 * np.sin(rows / 9) * np.cos(columns / 11))[None].astype(np.float32)
    changed = Scan(scan.image + on_own_grid(change, placement), None, scan.spacing, "x", window=scan.window)
    seen = prepare(changed, placement.input_shape) - prepare(scan, placement.input_shape)
    inside = tuple(slice(a, side - b) for (a, b), side in zip(placement.margins, (40, 48), strict=True))
    np.testing.assert_allclose(seen[0][inside], change[0][inside], atol=5e-4)


def test_a_colour_scan_seen_as_grey_gets_a_change_of_just_that_luma():
    scan = scan_of((16, 16), channels=3)
    change = np.full((1, 16, 16), 0.01, np.float32)
    found = on_own_grid(change, place(scan, (1, 16, 16)))
    assert found.shape == (3, 16, 16)
    np.testing.assert_allclose(np.array([0.299, 0.587, 0.114]) @ found.reshape(3, -1), 0.01 * 3000, rtol=1e-5)


def test_a_grey_scan_seen_as_colour_keeps_the_three_changes_apart():
    scan = scan_of((16, 16))
    change = np.random.default_rng(4).normal(size=(3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(on_own_grid(change, place(scan, (3, 16, 16))), change * 3000, rtol=1e-6)


def test_a_change_of_another_shape_is_one_sentence():
    with pytest.raises(InputError, match=r"must have the shape of the network's input, 1 x 16 x 16; got 1 x 8 x 8"):
        on_own_grid(np.zeros((1, 8, 8)), place(scan_of((16, 16)), (1, 16, 16)))
