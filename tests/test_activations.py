"""Activations: softmax, rows, storage of rows, and extraction that does not depend on batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import images, linear, tiny_cnn

from hfcviz.activations import Activations, concatenate, extract
from hfcviz.settings import InputError


def example(count: int = 5, passes: int | None = 3) -> Activations:
    rng = np.random.default_rng(0)
    layers = {name: rng.normal(size=(count, width)).astype(np.float32) for name, width in (("b", 3), ("a", 2))}
    dropout = None if passes is None else rng.normal(size=(passes, count, 4)).astype(np.float32)
    return Activations(rng.normal(size=(count, 4)).astype(np.float32), layers, dropout)


def same(a: Activations, b: Activations) -> bool:
    assert list(a.layers) == list(b.layers)
    pairs = [(a.logits, b.logits), (a.dropout, b.dropout), *((a.layers[name], b.layers[name]) for name in a.layers)]
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in pairs)


def test_probabilities_are_a_softmax_that_does_not_overflow() -> None:
    a = Activations(np.array([[0, np.log(3)], [2000, -2000]], dtype=np.float32), {})
    np.testing.assert_allclose(a.probabilities, [[0.25, 0.75], [1, 0]], rtol=1e-6)
    assert a.probabilities.dtype == np.float32
    assert a.predicted.tolist() == [1, 0]
    np.testing.assert_allclose(a.confidence, [0.75, 1], rtol=1e-6)


@pytest.mark.parametrize("index", [[3, 0], slice(1, 4), np.array([True, False, False, True, True]), []])
def test_take_keeps_rows_together(index) -> None:
    a = example()
    taken, rows = a.take(index), np.arange(5)[index if len(np.shape(index)) == 0 or np.size(index) else slice(0)]
    assert len(taken) == len(rows)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(taken.logits[place], a.logits[row])
        np.testing.assert_array_equal(taken.layers["b"][place], a.layers["b"][row])
        np.testing.assert_array_equal(taken.dropout[:, place], a.dropout[:, row])


@pytest.mark.parametrize("passes", [None, 3])
def test_parts_put_together_again_are_the_whole(passes: int | None) -> None:
    a = example(passes=passes)
    assert same(concatenate([a.take(slice(0, 2)), a.take([]), a.take(slice(2, 5))]), a)
    assert same(Activations.from_arrays(a.to_arrays("x") | example(2).to_arrays("y"), "x"), a)


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="layer a"):
        Activations(np.zeros((2, 2)), {"a": np.zeros((3, 4))})
    with pytest.raises(ValueError, match="dropout"):
        Activations(np.zeros((2, 2)), {}, np.zeros((5, 3, 2)))
    with pytest.raises(ValueError, match="some have none"):
        concatenate([example(), example(passes=None)])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_extraction_is_what_the_network_says_whatever_the_batch(spatial_dims: int) -> None:
    classifier = tiny_cnn(spatial_dims)
    x = images(classifier, 7)
    logits, layers = classifier.features(x)
    for given, size in ((x, 7), (x.numpy(), 3), (x.double(), 1)):
        a = extract(classifier, given, dropout_passes=4, seed=3, batch_size=size)
        assert tuple(a.layers) == classifier.layer_names
        assert {a.logits.dtype, a.dropout.dtype, *(z.dtype for z in a.layers.values())} == {np.dtype(np.float32)}
        np.testing.assert_allclose(a.logits, logits, rtol=1e-4, atol=1e-5)
        for name, z in layers.items():
            np.testing.assert_allclose(a.layers[name], z, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(a.dropout, classifier.dropout_logits(x, 4, 3), rtol=1e-4, atol=1e-5)
    assert extract(classifier, x).dropout is None


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(0, 1, 4, 4), "at least one image"),
        (torch.full((2, 1, 4, 4), 255.0), "between 0 and 1; got 255"),
        (torch.full((2, 1, 4, 4), -0.1), "between 0 and 1"),
        (torch.full((2, 1, 4, 4), torch.nan), "between 0 and 1; got nan"),
        (torch.zeros(2, 1, 5, 4), "1 x 5 x 4"),
    ],
)
def test_bad_images_give_one_sentence(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract(linear(), x)


def test_progress_runs_from_0_to_1_and_may_cancel() -> None:
    seen: list[float] = []
    extract(linear(), torch.zeros(5, 1, 4, 4), batch_size=2, progress=lambda fraction, what: seen.append(fraction))
    assert seen == [0, 0.4, 0.8, 1]

    def stop(fraction: float, what: str) -> None:
        if fraction > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(linear(), torch.zeros(5, 1, 4, 4), batch_size=2, progress=stop)
