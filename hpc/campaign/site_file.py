"""The site file: a cluster's defaults for every campaign, said once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from deeptool.errors import UserError
from hpc.campaign.backend_traits import option_tables

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV = "DEEPTOOL_SITE"
# Besides the backends' tables. A campaign's name, settings and trials are its own.
_KEYS = ("backend", "images", "broker")


def paths() -> tuple[Path, ...]:
    """Where site files are, each over the one before: ``/etc/xdg/deeptool/site.toml`` for all users
    of a machine and ``~/.config/deeptool/site.toml``, or ``$DEEPTOOL_SITE`` in place of both.
    """
    chosen = os.environ.get(ENV)
    if chosen:
        return (Path(chosen),)
    folders = (platformdirs.site_config_path("deeptool"), platformdirs.user_config_path("deeptool"))
    return tuple(folder / "site.toml" for folder in folders)


def load() -> dict[str, Any]:
    """What the site files say, empty where there is none.

    Raises
    ------
    UserError
        When one is not TOML, or has keys that only a campaign may have.
    """
    merged: dict[str, Any] = {}
    for file in paths():
        merged = under(_document(file), merged)
    return merged


def _document(file: Path) -> dict[str, Any]:
    try:
        raw: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if os.environ.get(ENV):
            raise UserError("there is no such site file", seen=f"{ENV}={file}") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError("the site file cannot be read", seen=f"{file}: {error}") from error
    known = (*_KEYS, *option_tables())
    unknown = [key for key in raw if key not in known]
    if unknown:
        raise UserError(
            "these keys are not allowed in the site file",
            seen=f"{', '.join(unknown)} in {file}",
            valid=", ".join(known),
        )
    return raw


def under(campaign: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """`campaign` over the defaults of `site`, table by table."""
    merged: dict[str, Any] = dict(site)
    for key, value in campaign.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = under(value, below)
        merged[key] = value
    return merged
