"""The campaign file: TOML over the site's defaults, and what the command line changes in it."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from deeptool.errors import UserError, did_you_mean
from hpc.campaign import site_file
from hpc.campaign.backend_traits import option_tables
from hpc.campaign.definition import Campaign
from hpc.campaign.fields import Strict

M = TypeVar("M", bound=Strict)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load(
    file: str | os.PathLike[str],
    *,
    sets: Iterable[str] = (),
    grids: Iterable[str] = (),
    run_dir: Path | None = None,
    max_parallel: int | None = None,
    backend: str | None = None,
    images: bool | None = None,
) -> Campaign:
    """Read a campaign file over the site's defaults, and what the command line changes in it.

    Parameters
    ----------
    file : path
        The TOML file.
    sets : iterable of str
        ``key=value``, the key dotted (``broker.memory=1g``), the value as TOML or else a string.
    grids : iterable of str
        ``hparam=value,value``: trials are a grid with these; the file's other grid keys stay.
    run_dir, max_parallel, backend, images
        Instead of the file's.

    Raises
    ------
    UserError
        Listing everything that is wrong, each with its key, the value seen and what is valid.
    """
    path = Path(file)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        there = [each.name for each in path.absolute().parent.glob("*.toml")]
        raise UserError(
            f"the campaign file cannot be read{did_you_mean(path.name, there)}",
            seen=f"{path}: {error}",
            next_step="deeptool init writes one to start from",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError("the campaign file is not TOML", seen=f"{path}: {error}") from error
    raw = site_file.under(raw, site_file.load())
    for text in sets:
        key, value = _split(text, "--set", "key=value, the key dotted: --set broker.memory=1g")
        _put(raw, key, _toml(value))
    chosen = [_split(text, "--grid", "hparam=value,value") for text in grids]
    if chosen:
        trials = _table(raw, "trials")
        trials.pop("list", None)
        trials.pop("random", None)
        for key, value in chosen:
            _table(trials, "grid")[key] = _toml_list(value)
    if max_parallel is not None:
        _table(raw, "trials")["max_parallel"] = max_parallel
    if run_dir is not None:
        raw["run_dir"] = str(run_dir)
    if backend is not None:
        raw["backend"] = backend
    if images is not None:
        _table(raw, "images")["use"] = images
    campaign = parse(raw, path)
    if campaign.options is not None:
        campaign.options.check_complete()
    return campaign


def parse(raw: Mapping[str, Any], file: Path) -> Campaign:
    """`raw` (a TOML document) as a campaign; `file` is where its relative paths start.

    Raises
    ------
    UserError
        As `load`.
    """
    rest = dict(raw)
    tables = {name: rest.pop(name) for name in option_tables() if name in rest}
    problems: list[str] = []
    campaign = _validated(Campaign, rest, file, (), problems)
    # All are read, whichever backend is chosen: a mistake is found before that one is used.
    options = {
        name: _validated(model, tables.get(name, {}), file, (name,), problems)
        for name, model in option_tables().items()
    }
    if campaign is not None and not problems:
        return campaign.with_options(options.get(campaign.backend))
    number = "one thing" if len(problems) == 1 else f"{len(problems)} things"
    raise UserError(
        f"{file}: {number} to correct", seen="".join(f"\n    {line}" for line in problems)
    )


def _validated(
    model: type[M], raw: Any, file: Path, where: tuple[str, ...], problems: list[str]
) -> M | None:
    """`raw` as a model; what is wrong is added to `problems`, with its key below `where`."""
    # As JSON, where arrays are what tuples are read from, and strings paths, though all is strict.
    text = json.dumps(raw, default=str)
    try:
        return model.model_validate_json(text, context={"base": file.parent})
    except ValidationError as error:
        for each in error.errors(include_url=False):
            problems.append(_problem({**each, "loc": (*where, *each["loc"])}))
    return None


def dump(campaign: Campaign) -> dict[str, Any]:
    """The campaign as JSON, as a run folder keeps it."""
    values = campaign.model_dump(mode="json", by_alias=True)
    if campaign.options is not None:
        values[campaign.backend] = campaign.options.model_dump(mode="json", by_alias=True)
    return values | {"run_dir": str(campaign.folder)}


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> "old -> new" for what differs between two `dump`s."""
    before, after = _flat(earlier), _flat(now)
    return {
        key: f"{json.dumps(before.get(key))} -> {json.dumps(after.get(key))}"
        for key in [*before, *(key for key in after if key not in before)]
        if before.get(key) != after.get(key)
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= _flat(inner, f"{prefix}{key}.")
        elif inner is not None:
            flat[prefix + key] = inner
    return flat


def _split(text: str, option: str, valid: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise UserError(f"{option} takes a key and a value", seen=text, valid=valid)
    return key.strip(), value.strip()


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml_list(text: str) -> list[Any]:
    try:
        return list(tomllib.loads(f"value = [{text}]")["value"])
    except tomllib.TOMLDecodeError:
        return [_toml(part.strip()) for part in text.split(",")]


def _table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    table = raw.setdefault(key, {})
    if not isinstance(table, dict):
        raise UserError(f"{key} is a table in a campaign", seen=table, valid=f"[{key}]")
    return table


def _put(raw: dict[str, Any], dotted: str, value: Any) -> None:
    *tables, key = dotted.split(".")
    for table in tables:
        raw = _table(raw, table)
    raw[key] = value


def _problem(error: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: key, value seen, what is valid."""
    where = [part for part in error["loc"] if not str(part).startswith("<")]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)[1:]
    if error["type"] == "extra_forbidden":
        known = _keys(where[:-1])
        near = difflib.get_close_matches(str(where[-1]), known, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        return f"{key}: unknown key{meant}; valid: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = message.replace("a valid array", "a list, such as [0.1, 0.01]")
    seen = f"seen {error['input']!r}, " if not isinstance(error["input"], dict) else ""
    return f"{key or 'campaign'}: {seen}valid: {message}"


def _keys(where: Iterable[str | int]) -> list[str]:
    """The valid keys of the table at `where`."""
    tables = option_tables()
    model: type[BaseModel] = Campaign
    known = [*_names(Campaign), *tables]
    for part in where:
        fields = model.model_fields
        found = next((each for name, each in fields.items() if part in (name, each.alias)), None)
        if found is not None:
            model = _model(found.annotation) or model
        elif part in tables:
            model = tables[str(part)]
        known = _names(model)
    return known


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model(each))), None)
