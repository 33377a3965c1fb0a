"""Components of an element by their names: what is left keeps its structure."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest

from deeptool.codec.chosen_columns import choose_columns, one_leaf
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf, named_tuple
from deeptool.errors import UserError

IMAGE, MASK = Leaf("float32", (None, 8, 8)), Leaf("bool", (None, 8, 8))
LABEL, WEIGHT = Leaf("int64", (None,)), Leaf("float32", (None,))
SPEC = Spec(({"mask": MASK, "image": IMAGE}, LABEL, WEIGHT))
Pair = namedtuple("Pair", ["left", "right"])


@pytest.mark.parametrize(
    ("columns", "places", "structure"),
    [
        (["x", "y"], (0, 1, 2), ({"mask": MASK, "image": IMAGE}, LABEL)),
        (["y", "x/image", "y"], (0, 2), ({"image": IMAGE}, LABEL)),
        (["0/image", "1"], (0, 2), ({"image": IMAGE}, LABEL)),
        (["x/mask"], (1,), ({"mask": MASK},)),
        (["y"], (2,), (LABEL,)),
        ("y", (2,), LABEL),
        ("2", (3,), WEIGHT),
        ("x", (0, 1), {"mask": MASK, "image": IMAGE}),
        ("x/image", (0,), IMAGE),
    ],
)
def test_components_of_a_pair(columns: Any, places: tuple[int, ...], structure: Any) -> None:
    chosen = choose_columns(SPEC, columns)
    assert (chosen.places, chosen.spec.structure) == (places, structure)
    assert chosen.of("abcd") == tuple("abcd"[place] for place in places)
    if isinstance(structure, dict):
        assert list(chosen.spec.structure) == list(structure)


def test_all_components_are_the_spec_itself() -> None:
    assert choose_columns(SPEC, ["w", "x", "y"]).spec is SPEC
    single = Spec(LABEL, batched=False)
    assert choose_columns(single, "x").spec is choose_columns(single, [""]).spec is single


def test_a_path_comes_before_a_name() -> None:
    spec = Spec({"x": LABEL, "y": WEIGHT, "z": {"x": MASK}})
    assert choose_columns(spec, "x").spec.structure == LABEL
    assert choose_columns(spec, ["x/y", "z"]).spec.structure == {"y": WEIGHT, "z": {"x": MASK}}
    assert choose_columns(Spec({"a": LABEL, "b": WEIGHT}), "x").places == (0, 1)


def test_names_with_slashes_and_named_tuples() -> None:
    kind = named_tuple("Pair", ("left", "right"))
    spec = Spec((kind({"a/b": LABEL, "a": WEIGHT, "": IMAGE}, MASK), IMAGE))
    assert choose_columns(spec, "x/0/a~1b").spec.structure == LABEL
    assert choose_columns(spec, "x/0/").spec.structure == IMAGE
    left = choose_columns(spec, ["x/1", "y"]).spec.structure
    assert left == ((MASK,), IMAGE)
    assert left[0]._fields == ("right",)


def test_chosen_of_what_was_chosen() -> None:
    outer = choose_columns(SPEC, ["x/mask", "y", "w"])
    inner = choose_columns(outer.spec, ["y", "w"])
    assert inner.within(outer).places == (2, 3)
    assert inner.within(None) is inner


@pytest.mark.parametrize(
    ("columns", "texts"),
    [
        ("x/imgae", ["no such component", "'x/imgae'", "x/image, x/mask, y, w", "mean 'x/image'"]),
        (["y", "labels"], ["no such component", "'labels'"]),
        (["y", 1], ["no such component", "1"]),
        ([], ["names no component", "x/image, x/mask, y, w"]),
        (["x", "w"], ["leaves out y", "x, w"]),
    ],
)
def test_what_cannot_be_chosen(columns: Any, texts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        choose_columns(SPEC, columns)
    assert all(text in str(caught.value) for text in texts), str(caught.value)


def test_one_leaf() -> None:
    assert one_leaf(SPEC, "y") == (2, LABEL)
    with pytest.raises(UserError, match="several components"):
        one_leaf(SPEC, "x")
