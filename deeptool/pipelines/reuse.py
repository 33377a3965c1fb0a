"""Whether a stored dataset is what an upload would store now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeptool.catalog.events import Begun
from deeptool.catalog.fold import Upload
from deeptool.pipelines.pipeline_probe import ProbeReport
from deeptool.settings.pipeline_facts import PipelineFacts, kept_facts, proven_same, same_samples
from deeptool.settings.upload_comparison import describe_raw_data, other_values


@dataclass(frozen=True)
class AskedUpload:
    """How a dataset is to be stored, as far as that decides what is in it."""

    epochs: int = 1
    codec: str | None = None
    limit: int | None = None
    auto_shard: bool = False


def stored_facts(upload: Upload) -> PipelineFacts | None:
    """What the catalog knows of an upload's pipeline; None where it knows nothing."""
    return None if upload.completed is None else kept_facts(upload.completed.pipeline)


def differences(upload: Upload, now: ProbeReport, asked: AskedUpload) -> list[str]:
    """How a complete upload differs from what would be stored now; empty: it does not.

    Comments, the optimizer, numbers of epochs and the batch size are no part of it.

    Parameters
    ----------
    upload : Upload
        A complete one.
    now : ProbeReport
        Of the same split.
    asked : AskedUpload
    """
    begun = upload.begun
    stored_epochs = len(upload.completed.epochs) if upload.completed else 0
    limits = {asked.limit} if asked.limit else set(now.limits)
    pairs = {
        "num_procs": (begun.num_procs, now.num_procs),
        "auto_shard": (begun.auto_shard, asked.auto_shard),
        "epochs": (stored_epochs, asked.epochs),
        "codec": (begun.codec, asked.codec or begun.codec),
        "limit": (begun.limit, begun.limit if begun.limit in limits else max(limits, key=bool)),
    }
    found = [
        f"{name}: {stored} stored, {new} now"
        for name, (stored, new) in pairs.items()
        if stored != new
    ]
    own = {"procID": now.proc_id, "num_procs": now.num_procs, **now.hparams}
    found += [
        f"{other.key} = {other.there!r} stored, {other.here!r} now"
        for other in other_values(own, begun, upload.data_hparams, now.declared)
    ]
    facts = stored_facts(upload)
    found += _other_raw_data(begun, now, facts)
    if facts is not None:
        return [*found, *same_samples(facts, now.facts)]
    if begun.settings_sha256 != now.settings_sha256:
        found.append("the settings file has changed, and the upload kept no digest of its samples")
    return found


def _other_raw_data(begun: Begun, now: ProbeReport, facts: PipelineFacts | None) -> list[str]:
    """Other names or sizes of raw files matter, unless all samples are known to be the same."""
    before, after = begun.raw_data, now.raw_data
    if (facts is not None and proven_same(facts, now.facts)) or not (before or after):
        return []
    if before is None or after is None:
        return [f"raw data: {bool(before)} stored, {bool(after)} now"]
    if _listing(before) == _listing(after) or before.get("digest") == after["digest"]:
        return []
    return [f"raw data: {describe_raw_data(before)} stored, {describe_raw_data(after)} now"]


def _listing(raw_data: Mapping[str, Any]) -> Any:
    """Names and sizes alone; an earlier release kept them with the times only."""
    return raw_data.get("names_digest", raw_data["digest"])
