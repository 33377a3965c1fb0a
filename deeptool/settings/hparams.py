"""Values of hyperparameters: texts of a command line converted, and all as JSON has them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np

from deeptool.errors import UserError, did_you_mean
from deeptool.settings.recording_dict import RecordingDict

# Accepted as overrides even where the file's hparams lack them.
ALWAYS_VALID = ("procID", "num_procs")
_WORDS: dict[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def convert(key: str, given: object, replaced: object) -> Any:
    """Convert an override to the type of the value that it replaces.

    Parameters
    ----------
    key : str
        Named in errors.
    given : object
        Text from a command line, or a value from Python.
    replaced : object
        The file's own value. In the place of None, a text is read as a Python literal if it is
        one.

    Raises
    ------
    UserError
        The value cannot be what the file's own value is.
    """
    try:
        return _convert(given, replaced)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise UserError(
            f"hyperparameter '{key}' cannot be {given!r}",
            seen=given,
            valid=f"{type(replaced).__name__}, as the file's own value {replaced!r} is",
        ) from error


def _convert(given: Any, replaced: object) -> Any:
    if replaced is None:
        return _literal_or_text(given) if isinstance(given, str) else given
    if isinstance(replaced, np.generic):
        return type(replaced)(_convert(given, replaced.item()))
    kind = type(replaced)
    value = _parse(given, kind) if isinstance(given, str) and kind is not str else given
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and type(value) is int:
        return float(value)
    if kind in (list, tuple) and isinstance(value, (list, tuple)):
        return kind(value)  # type: ignore[call-arg]
    if isinstance(value, kind) and isinstance(value, bool) == isinstance(replaced, bool):
        return value
    raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")


def _parse(text: str, kind: type) -> Any:
    if issubclass(kind, bool):
        if text.strip().lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.strip().lower()]
    if issubclass(kind, (int, float)):
        return kind(text)
    return ast.literal_eval(text)


def _literal_or_text(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def check_overrides(own: Mapping[str, Any], overrides: Iterable[Mapping[str, Any]]) -> None:
    """Reject what no trial or producer could take as ``--hparam key=value``.

    Parameters
    ----------
    own : mapping
        The hparams of the settings file itself.
    overrides : iterable of mapping
        Of several trials and producers.

    Raises
    ------
    UserError
        Keys that the file does not have, and values of another type: all of them in one error.
    """
    problems: dict[str, None] = {}
    for key, given in (pair for each in overrides for pair in each.items()):
        if key not in own:
            if key not in ALWAYS_VALID:
                problems[f"{key}: the file has no such hyperparameter{did_you_mean(key, own)}"] = (
                    None
                )
            continue
        try:
            # As its text on the command line; but for a file's string, a number is no text.
            convert(key, given if isinstance(own[key], str) else str(given), own[key])
        except UserError as error:
            problems[f"{key} = {given!r}: valid is {error.valid}"] = None
    if problems:
        count = "one hyperparameter" if len(problems) == 1 else f"{len(problems)} hyperparameters"
        raise UserError(
            f"{count} of the campaign cannot be set in the settings file",
            seen="".join(f"\n    {problem}" for problem in problems),
            valid=", ".join(own),
            next_step="correct [trials], [producers] or hparams in the campaign, or add the"
            " hyperparameter to hparams of the settings file",
        )


def plain(value: object) -> Any:
    """`value` as JSON has it: the catalog keeps hparams so, and compares them so.

    Tuples and sets become lists, NumPy's scalars and arrays numbers and lists, what JSON has no
    word for its name or its repr (without addresses, which differ from process to process).
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, RecordingDict):
        value = value.unrecorded()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, PathLike):
        return str(fspath(value))
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"  # type: ignore[union-attr]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
