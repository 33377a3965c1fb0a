"""The site file: a cluster's defaults for every campaign, said once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from deeptool.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV = "DEEPTOOL_SITE"
# A campaign's name, settings and trials are its own.
KEYS = ("backend", "slurm", "images", "broker")


def path() -> Path:
    """Where the site file is: ``$DEEPTOOL_SITE``, else ``~/.config/deeptool/site.toml``."""
    chosen = os.environ.get(ENV)
    return Path(chosen) if chosen else platformdirs.user_config_path("deeptool") / "site.toml"


def load() -> dict[str, Any]:
    """The site file's document, empty where there is none.

    Raises
    ------
    UserError
        When it is not TOML, or holds what only a campaign can say.
    """
    file = path()
    try:
        raw: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if os.environ.get(ENV):
            raise UserError("there is no such site file", seen=f"{ENV}={file}") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError("the site file cannot be read", seen=f"{file}: {error}") from error
    unknown = [key for key in raw if key not in KEYS]
    if unknown:
        raise UserError(
            "the site file holds what is not a site's to say",
            seen=f"{', '.join(unknown)} in {file}",
            valid=", ".join(KEYS),
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
