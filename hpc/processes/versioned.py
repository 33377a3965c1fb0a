"""JSON files with a format version, between this project's own processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from deeptool.errors import UserError
from deeptool.files import read_json, write_json

T = TypeVar("T")


def read_versioned(
    path: str | os.PathLike[str], kind: str, newest: int, build: Callable[[dict[str, Any]], T]
) -> T | None:
    """What a file of `write_versioned` holds; None where there is no such file.

    Parameters
    ----------
    path : path
        The file. One without a version is of format 1.
    kind : str
        Whose file it is to be: several folders have a ``state.json``. One that does not say is
        taken for the right one.
    newest : int
        The newest format that the caller knows.
    build : callable
        Makes the result of the file's values. Whatever it finds missing, or of another type, the
        file is damaged.

    Raises
    ------
    UserError
        When the file is damaged, of another kind, or of a newer format.
    """
    try:
        values = read_json(path)
        if values is None:
            return None
        found = values.pop("kind", kind)
        if found != kind:
            raise UserError(
                f"this folder is that of a {found}, not of a {kind}",
                seen=os.fspath(path),
                next_step=f"give the folder of a {kind}",
            )
        version = values.pop("format", 1)
        if version <= newest:
            return build(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "this file is damaged",
            seen=f"{os.fspath(path)}: {error}",
            valid="the JSON that deeptool-hpc writes there",
            next_step="restore the file, or use another folder",
        ) from error
    raise UserError(
        "this file was written by a newer version of deeptool",
        seen=f"{os.fspath(path)}: format {version}",
        valid=f"format {newest} or older",
        next_step="use the version of deeptool that launched the campaign",
    )


def write_versioned(
    path: str | os.PathLike[str], kind: str, version: int, values: Mapping[str, Any]
) -> None:
    """Replace a file with `versioned` values."""
    write_json(path, versioned(kind, version, values))


def versioned(kind: str, version: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with whose file it is, and their format version: what `read_versioned` reads."""
    return {"kind": kind, "format": version, **values}


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


def known(cls: type[T], values: Mapping[str, Any]) -> T:
    """`values` as a dataclass; keys that it does not have are ignored.

    Raises
    ------
    TypeError
        When one that it needs is missing.
    """
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    return cls(**{key: value for key, value in values.items() if key in names})


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return said(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return value
