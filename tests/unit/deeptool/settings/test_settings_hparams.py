"""Converting overrides, plain values, and a dict that knows what was looked up."""

from __future__ import annotations

import copy
import json
import math
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptool.errors import UserError
from deeptool.settings.hparams import convert, plain
from deeptool.settings.recording_dict import RecordingDict


@pytest.mark.parametrize(
    ("given", "replaced", "expected"),
    [
        ("true", False, True),
        ("0", True, False),
        ("Off", True, False),
        (np.bool_(True), False, True),
        ("12", 3, 12),
        (12, 3, 12),
        (np.int64(12), 3, 12),
        ("1e-3", 0.1, 0.001),
        ("2", 0.1, 2.0),
        (2, 0.1, 2.0),
        ("inf", 0.1, math.inf),
        ("relu", "tanh", "relu"),
        ("3", "tanh", "3"),
        ("3", None, 3),
        ("[1, 2]", None, [1, 2]),
        ("relu", None, "relu"),
        (3.5, None, 3.5),
        ("[1, 2]", [3], [1, 2]),
        ("(1, 2)", [3], [1, 2]),
        ("[1, 2]", (3,), (1, 2)),
        ([1, 2], (3,), (1, 2)),
        ("{'a': 1}", {"b": 2}, {"a": 1}),
        ("{1, 2}", {3}, {1, 2}),
        ("0.5", np.float32(1), np.float32(0.5)),
        ("5", np.int64(1), np.int64(5)),
    ],
)
def test_convert(given: object, replaced: object, expected: object) -> None:
    converted = convert("key", given, replaced)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ("maybe", True),
        (1, True),
        ("1.5", 3),
        (1.5, 3),
        (True, 3),
        ("much", 0.1),
        ("0.1", np.int64(1)),
        (5, "tanh"),
        ("[1, 2", [3]),
        ("7", [3]),
        ("[1]", {"a": 1}),
        ("os.remove", [3]),
        ("x", print),
    ],
)
def test_convert_refuses_another_type(given: object, replaced: object) -> None:
    with pytest.raises(UserError) as caught:
        convert("depth", given, replaced)
    assert "'depth'" in caught.value.what
    assert type(replaced).__name__ in str(caught.value.valid)


def test_plain_is_what_json_gives_back() -> None:
    class Odd:
        pass

    values = {
        "a": (1, 2),
        "b": np.float32(0.5),
        "c": np.arange(3),
        "d": Path("x/y"),
        "e": {3, 1, 2},
        "f": None,
        "g": {"inner": (True, "text")},
        "h": print,
        "i": Odd(),
        "j": RecordingDict({"k": np.int64(3)}),
        "l": Odd,
    }
    shown = plain(values)
    assert json.loads(json.dumps(shown)) == shown
    assert shown["a"] == [1, 2]
    assert shown["b"] == 0.5
    assert shown["c"] == [0, 1, 2]
    assert shown["d"] == "x/y"
    assert shown["e"] == [1, 2, 3]
    assert shown["g"] == {"inner": [True, "text"]}
    assert shown["h"] == "builtins.print"
    assert "0x" not in shown["i"]
    assert shown["j"] == {"k": 3}
    assert shown["l"].endswith("Odd")


@pytest.fixture
def hparams() -> RecordingDict:
    return RecordingDict({"a": 1, "b": 2, "c": 3})


@pytest.mark.parametrize(
    ("look", "keys"),
    [
        (lambda d: d["a"], "a"),
        (lambda d: d.get("b"), "b"),
        (lambda d: "c" in d, "c"),
        (lambda d: d.setdefault("a", 5), "a"),
        (lambda d: d.pop("a"), "a"),
        (lambda d: len(d), ""),
        (lambda d: d.update(x=1), ""),
        (list, "abc"),
        (lambda d: list(reversed(d)), "abc"),
        (lambda d: d.keys(), "abc"),
        (lambda d: d.values(), "abc"),
        (lambda d: d.items(), "abc"),
        (lambda d: d.popitem(), "abc"),
        (dict, "abc"),
        (lambda d: {**d}, "abc"),
        (lambda d: (lambda **given: given)(**d), "abc"),
        (lambda d: {"x": 1} | d, "abc"),
        (lambda d: d | {"x": 1}, "abc"),
        (lambda d: d.copy(), "abc"),
        (copy.copy, "abc"),
        (copy.deepcopy, "abc"),
        (pickle.dumps, "abc"),
        (json.dumps, "abc"),
        (str, "abc"),
        (lambda d: f"{d}", "abc"),
        (lambda d: d == {"a": 1}, "abc"),
        (lambda d: d != {"a": 1}, "abc"),
        (lambda d: {}.update(d), "abc"),
        (lambda d: "{a}".format_map(d), "a"),
    ],
)
def test_lookups_are_recorded(
    hparams: RecordingDict, look: Callable[[RecordingDict], Any], keys: str
) -> None:
    look(hparams)
    assert hparams.looked_up == set(keys)


def test_values_are_those_of_a_dict(hparams: RecordingDict) -> None:
    assert isinstance(hparams, dict)
    assert hparams == {"a": 1, "b": 2, "c": 3}
    assert hparams.get("x") is None
    assert hparams.get("x", 4) == 4
    assert hparams | {"a": 5} == {"a": 5, "b": 2, "c": 3}
    assert {"a": 5} | hparams == {"a": 1, "b": 2, "c": 3}
    assert repr(hparams) == "{'a': 1, 'b': 2, 'c': 3}"
    for copied in (hparams.copy(), copy.deepcopy(hparams), pickle.loads(pickle.dumps(hparams))):
        assert type(copied) is dict
        assert copied == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(KeyError, match="x"):
        hparams["x"]
    with pytest.raises(TypeError):
        hash(hparams)
    assert hparams.pop("x", 6) == 6


def test_recording_is_taken_switched_off_and_silenced(hparams: RecordingDict) -> None:
    hparams["a"]
    assert hparams.take_lookups() == {"a"}
    assert hparams.looked_up == set()
    hparams.recording = False
    hparams["a"]
    hparams.recording = True
    hparams.unrecorded()
    plain(hparams)
    with hparams.quiet():
        hparams["b"]
        with hparams.quiet():
            hparams["b"]
        hparams["b"]
        other = threading.Thread(target=lambda: hparams["c"])
        other.start()
        other.join()
    assert hparams.looked_up == {"c"}
    hparams["b"]
    assert hparams.looked_up == {"b", "c"}


def test_lookups_of_many_threads() -> None:
    hparams = RecordingDict({str(n): n for n in range(800)})
    seen: list[int] = []

    def look(first: int) -> None:
        for n in range(first, 800, 8):
            hparams[str(n)]
            seen.append(len(hparams.looked_up))

    threads = [threading.Thread(target=look, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hparams.looked_up == set(hparams.unrecorded())
    assert max(seen) == 800
