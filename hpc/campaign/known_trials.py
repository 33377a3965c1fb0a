"""Which trial of a plan is one that an earlier launch has planned, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpc.campaign.sampling import Value


@dataclass(frozen=True)
class Kept:
    """What a plan takes over from the run folder.

    Attributes
    ----------
    indices : mapping of str to int
        `trial_key` -> index of the trials that are made as they would be now.
    first_new : int
        The index of the next trial that is not among them.
    """

    indices: Mapping[str, int] = field(default_factory=dict)
    first_new: int = 0


def trial_key(
    hparams: Mapping[str, Value], proc_id: int | None, defaults: Mapping[str, Any]
) -> str:
    """What makes a trial the same one in a later launch, whether it names the file's values or not.

    Parameters
    ----------
    defaults : mapping
        The hparams of the settings file.
    """
    other = {key: value for key, value in hparams.items() if not _is_same(value, defaults.get(key))}
    return json.dumps([proc_id, other], sort_keys=True)


def _is_same(value: Value, default: object) -> bool:
    # True equals 1 in Python.
    return value == default and isinstance(value, bool) == isinstance(default, bool)
