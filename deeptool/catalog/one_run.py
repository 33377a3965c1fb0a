"""Whether two uploads are parts of one dataset: made by the same code, of the same raw data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deeptool.catalog.fold import Upload
from deeptool.catalog.stored import PLACE_HPARAMS

# Compared instead, where both sides have it: comments and times of files make no other run.
_CODE = "pipeline code"
_INSTEAD = {"settings file": _CODE, "raw data": "raw data files"}


def run_differences(first: Upload, other: Upload, whole: bool) -> list[str]:
    """What tells two uploads apart that should be of one run.

    Parameters
    ----------
    first, other : Upload
    whole : bool
        Whether all of the dataset is complete; else only what is known of an upload when it begins
        is compared.

    Returns
    -------
    list of str
        ``what: one and another``, sorted.
    """
    here, there = _facts(first, whole), _facts(other, whole)
    keys = here.keys() | there.keys()
    for coarse, fine in _INSTEAD.items():
        keys -= {coarse if fine in here.keys() & there.keys() else fine}
    if "batch size" not in here.keys() & there.keys():
        keys -= {"batch size"}
    found = [
        f"{key}: {here.get(key)} and {there.get(key)}"
        for key in sorted(keys - {_CODE})
        if here.get(key) != there.get(key)
    ]
    changed = _changed(_code(first), _code(other)) if _CODE in keys else []
    return found + ([f"{_CODE}: {', '.join(changed)}"] if changed else [])


def _code(upload: Upload) -> Mapping[str, Any]:
    """Names of the code behind the samples -> hashes; empty where they are not known."""
    pipeline = upload.completed.pipeline if upload.completed else None
    code = pipeline.get("code") if pipeline else None
    return code if isinstance(code, Mapping) else {}


def _changed(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What differs; a file that one shard alone has opened is its own affair."""
    keys = here.keys() | there.keys()
    alone = {key for key in here.keys() ^ there.keys() if key.startswith("file:")}
    return sorted(key for key in keys - alone if here.get(key) != there.get(key))


def _facts(upload: Upload, whole: bool) -> dict[str, str]:
    begun = upload.begun
    # Shards may cut their last batches differently: how many rows a batch has is not compared.
    spec = begun.element_spec.with_rows(None)
    facts: dict[str, Any] = {
        "settings file": (begun.settings_sha256 or "")[:16],
        "raw data": str((begun.raw_data or {}).get("digest", ""))[:16],
        "codec": begun.codec,
        "limit": begun.limit,
        "auto-shard": begun.auto_shard,
        "element_spec": f"{spec}{'' if spec.batched else ', single samples'}",
    }
    if whole and _code(upload):
        facts[_CODE] = "known"
    if names := (begun.raw_data or {}).get("names_digest"):
        facts["raw data files"] = str(names)[:16]
    # Elsewhere readers make their own batches.
    if spec.open_paths or begun.auto_shard:
        facts["batch size"] = begun.batch_size
    hparams = begun.data_hparams
    if whole and upload.completed is not None:
        hparams = upload.completed.data_hparams
        facts["stored epochs"] = len(upload.completed.epochs)
    facts.update((f"hparam {k}", v) for k, v in hparams.items() if k not in PLACE_HPARAMS)
    return {key: json.dumps(value, sort_keys=True, default=repr) for key, value in facts.items()}
