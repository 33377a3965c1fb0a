"""What `deeptool view` draws: which leaf as what, and every sample with its label."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, Ragged
from deeptool.store.draw import draw
from deeptool.store.sample_rows import spaced_places

RNG = np.random.default_rng(0)


def leaf(dtype: str, *inner: int | None, ragged: int = 0) -> Leaf:
    return Leaf(dtype, (None, *inner), ragged)


def axes_of(figure: Figure) -> list[Any]:
    """All axes that show something, of all panels."""
    return [axes for axes in figure.get_axes() if axes.images or axes.lines or axes.tables]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in axes_of(figure)]


def cells(figure: Figure) -> list[list[str]]:
    (axes,) = [axes for axes in figure.get_axes() if axes.tables]
    found = axes.tables[0].get_celld()
    lines = sorted({row for row, _ in found})
    return [
        [c.get_text().get_text() for (r, _), c in sorted(found.items()) if r == line]
        for line in lines
    ]


def picture(figure: Figure) -> np.ndarray[Any, Any]:
    file = io.BytesIO()
    figure.savefig(file)
    file.seek(0)
    array: np.ndarray[Any, Any] = imread(file)
    return array


@pytest.mark.parametrize(
    ("dtype", "inner"),
    [
        ("uint8", (8, 8, 3)),
        ("uint8", (8, 8, 1)),
        ("uint8", (8, 16, 4)),
        ("float32", (8, 9)),
        ("float16", (8, 8, 3)),
        ("bool", (8, 9)),
        ("int32", (9, 9, 1)),
    ],
)
def test_images_are_a_grid_with_their_classes(dtype: str, inner: tuple[int, ...]) -> None:
    images = RNG.integers(0, 2, (100, *inner)).astype(dtype)
    figure = draw([(images, np.arange(100))], Spec((leaf(dtype, *inner), leaf("int64"))), 10)
    shown = axes_of(figure)
    assert len(shown) == 10
    assert all(len(axes.images) == 1 for axes in shown)
    assert titles(figure) == ["0", "11", "22", "33", "44", "55", "66", "77", "88", "99"]
    assert picture(figure).shape[2] == 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 51, 255], np.uint8), [0.0, 0.2, 1.0]),
        (np.array([0.0, 0.25, 0.75], np.float32), [0.0, 0.25, 0.75]),
        (np.array([-1.0, 0.0, 1.0], np.float32), [0.0, 0.5, 1.0]),
        (np.array([0.0, 51.0, 255.0], np.float32), [0.0, 0.2, 1.0]),
        (np.array([-5.0, 0.0, 15.0], np.float32), [0.0, 0.25, 1.0]),
        (np.array([7.0, 7.0, 7.0], np.float32), [0.0, 0.0, 0.0]),
    ],
)
def test_black_and_white_are_those_of_the_data(
    values: np.ndarray[Any, Any], expected: list[float]
) -> None:
    images = np.stack([np.full((9, 9), value, values.dtype) for value in values])
    figure = draw([(images,)], Spec((leaf(str(values.dtype), 9, 9),)))
    shown = [float(axes.images[0].get_array()[0, 0]) for axes in axes_of(figure)]
    assert shown == pytest.approx(expected)


def test_images_that_are_not_numbers_do_not_hide_the_rest() -> None:
    images = np.full((2, 8, 8, 1), 0.5, np.float32)
    images[0, 0, 0] = np.nan
    figure = draw([(images,)], Spec((leaf("float32", 8, 8, 1),)))
    assert axes_of(figure)[1].images[0].get_array()[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("labels", "spec", "expected"),
    [
        (np.array([[0, 1, 0, 0], [0, 0, 0, 1]], np.float32), leaf("float32", 4), ["1", "3"]),
        (np.array([[0.25], [2.0]], np.float32), leaf("float32", 1), ["0.25", "2"]),
        (
            np.array([b"$cat$", b"\xff" * 40], object),
            leaf("string"),
            ["$cat$", "\\xff" * 5 + "\\…"],
        ),
        (np.array([True, False]), leaf("bool"), ["True", "False"]),
    ],
)
def test_labels_are_titles(labels: np.ndarray[Any, Any], spec: Leaf, expected: list[str]) -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    figure = draw([(images, labels)], Spec((leaf("uint8", 8, 8, 3), spec)))
    assert titles(figure) == expected
    picture(figure)


def test_masks_are_drawn_beside_their_images() -> None:
    spec = Spec((leaf("uint8", 8, 8, 3), leaf("bool", 8, 16, 1)))
    images, masks = np.zeros((4, 8, 8, 3), np.uint8), np.ones((4, 8, 16, 1), bool)
    figure = draw([(images, masks)], spec)
    assert len(axes_of(figure)) == 8
    assert [panel.get_suptitle() for panel in figure.subfigs] == ["x", "y"]


def test_series_are_lines_of_one_length_or_of_many() -> None:
    walks = RNG.normal(size=(20, 50, 2)).astype(np.float32)
    ends = np.cumsum([0, *range(20)])
    ragged = Ragged(np.arange(ends[-1], dtype=np.float32), (ends,))
    spec = Spec({"a": leaf("float32", 50, 2), "b": leaf("float32", None, ragged=1)})
    figure = draw([(walks, ragged)], spec, 4)
    shown = axes_of(figure)
    assert [len(axes.lines) for axes in shown] == [2, 2, 2, 2, 1, 1, 1, 1]
    assert shown[0].lines[1].get_ydata().tolist() == walks[0, :, 1].tolist()
    assert len(shown[-1].lines[0].get_ydata()) == 19
    picture(figure)


def test_pairs_of_numbers_are_points_all_of_them() -> None:
    x = np.linspace(-1, 1, 900, dtype=np.float32)[:, None]
    spec = Spec((leaf("float32", 1), leaf("float32", 1)))
    figure = draw([(x[:500], x[:500] ** 2), (x[500:], x[500:] ** 2)], spec, 16, "curve.0.train")
    (axes,) = figure.get_axes()
    points = axes.collections[0].get_offsets()
    assert points.tolist() == np.concatenate([x, x**2], axis=1).tolist()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    assert figure.get_suptitle() == "curve.0.train"


def test_everything_else_is_a_table() -> None:
    names = np.array([b"a b\n c", b"x" * 50], object)
    nested = Ragged(np.arange(5), (np.array([0, 2, 3]), np.array([0, 1, 1, 5])))
    spec = Spec(
        (
            {"c": leaf("complex64"), "n": leaf("string"), "r": leaf("int64", None, None, ragged=2)},
            leaf("float32", 3),
        )
    )
    leaves: Leaves = (
        np.array([1 + 2j, 0], np.complex64),
        names,
        nested,
        np.array([[0.5, 1.25, 2.0], [0, 0, 0]], np.float32),
    )
    assert cells(draw([leaves], spec)) == [
        ["x/c", "x/n", "x/r", "y"],
        ["1+2j", "a b c", "[[0], []]", "[0.5 , 1.25, 2. ]"],
        ["0+0j", "x" * 33 + "…", "[[1, 2, 3, 4]]", "[0., 0., 0.]"],
    ]


def test_what_has_no_picture_stands_below_the_pictures() -> None:
    spec = Spec(({"image": leaf("uint8", 8, 8, 3), "name": leaf("string")}, leaf("int64")))
    names = np.array([b"a", b"b"], object)
    figure = draw([(np.zeros((2, 8, 8, 3), np.uint8), names, np.array([7, 8]))], spec)
    assert titles(figure)[:2] == ["7", "8"]
    assert cells(figure) == [["x/name"], ["a"], ["b"]]


def test_batches_can_differ_in_open_dimensions() -> None:
    spec = Spec((leaf("uint8", None, None, 3),))
    batches: list[Leaves] = [
        (np.zeros((2, 8, 9, 3), np.uint8),),
        (np.zeros((1, 20, 8, 3), np.uint8),),
    ]
    shown = axes_of(draw(batches, spec))
    assert [axes.images[0].get_array().shape for axes in shown] == [
        (8, 9, 3),
        (8, 9, 3),
        (20, 8, 3),
    ]


# ------------------------------------------------------------------ which records


def test_records_are_taken_from_all_over_the_epoch() -> None:
    runs = {1: ((100, 104),), 0: ((0, 3), (7, 10))}
    stored = [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 7),
        (0, 8),
        (0, 9),
        (1, 100),
        (1, 101),
        (1, 102),
        (1, 103),
    ]
    assert spaced_places(runs, 10) == stored
    assert spaced_places(runs, 99) == stored
    assert spaced_places(runs, 2) == [stored[2], stored[7]]
    assert spaced_places(runs, 1) == [(0, 9)]
    assert spaced_places({}, 4) == []
