"""JSON files with a format version, between this project's own processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from deeptool.errors import UserError
from deeptool.files import read_json, write_json

T = TypeVar("T")


def read_versioned(path: str | os.PathLike[str], newest: int) -> dict[str, Any] | None:
    """The values of a file that `write_versioned` wrote; None where there is no such file.

    Parameters
    ----------
    path : path
        The file. One without a version is of format 1.
    newest : int
        The newest format that the caller knows.

    Raises
    ------
    UserError
        When it is not a JSON object, or of a newer format.
    """
    try:
        values = read_json(path)
    except ValueError as error:
        raise _unreadable(path, str(error)) from error
    if values is None:
        return None
    if not isinstance(values, dict):
        raise _unreadable(path, f"a {type(values).__name__} instead of an object")
    version = values.pop("format", 1)
    if not isinstance(version, int) or version > newest:
        raise UserError(
            "this file was written by a newer version of deeptool",
            seen=f"{os.fspath(path)}: format {version}",
            valid=f"format {newest} or older",
            next_step="use the version of deeptool that launched the campaign",
        )
    return values


def write_versioned(path: str | os.PathLike[str], values: Mapping[str, Any], version: int) -> None:
    """Replace a file with `values` and their format version."""
    write_json(path, {"format": version, **values})


def said(value: Any) -> dict[str, Any]:
    """A dataclass as JSON values, without the fields that hold their defaults.

    Fields that are dataclasses themselves, or tuples or mappings of them, are converted too.
    """
    found = {}
    for field in fields(value):
        held = getattr(value, field.name)
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        if held != default:
            found[field.name] = _plain(held)
    return found


def known(cls: type[T], values: Mapping[str, Any], path: str | os.PathLike[str]) -> T:
    """`values` as a dataclass; keys that it does not have are ignored.

    Raises
    ------
    UserError
        When one that it needs is missing; `path` is the file that is named then.
    """
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    try:
        return cls(**{key: value for key, value in values.items() if key in names})
    except TypeError as error:
        raise _unreadable(path, str(error)) from error


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return said(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return value


def _unreadable(path: str | os.PathLike[str], why: str) -> UserError:
    return UserError(
        "this file is damaged",
        seen=f"{os.fspath(path)}: {why}",
        valid="the JSON that deeptool-hpc writes there",
        next_step="restore the file; or delete the run folder and launch again",
    )
