"""Versions of what trials are made from, and which of the trials that are there they outdate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpc.campaign.definition import Campaign

# The dataset that a trial reads, where it is not one variant's: all shards together.
SHARDS = "all"


def dataset_key(proc_id: int | None) -> str:
    """Under which name ``deeptool plan`` speaks of the dataset that a trial reads."""
    return SHARDS if proc_id is None else str(proc_id)


@dataclass(frozen=True)
class Versions:
    """What trials are made from as the files are now: samples and code, one version per dataset.

    Attributes
    ----------
    blobs : mapping
        Version -> what ``deeptool plan`` says that it is; those of earlier launches included.
    now : mapping
        Dataset (`dataset_key`) -> the version that new trials are made from.
    same : mapping
        Dataset -> the known versions that equal what is there now.
    """

    blobs: Mapping[str, Any] = field(default_factory=dict)
    now: Mapping[str, str] = field(default_factory=dict)
    same: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def current(self, proc_id: int | None, version: str) -> bool:
        """Whether a trial of `version` that reads this dataset would be made the same way now."""
        return version in self.same.get(dataset_key(proc_id), frozenset())

    def why_not(self, proc_id: int | None, version: str) -> str:
        """What has changed since `version`, in words; empty where it is current."""
        if self.current(proc_id, version):
            return ""
        dataset = dataset_key(proc_id)
        if dataset not in self.now:
            return f"no variant of this campaign has procID {dataset}"
        if version not in self.blobs:
            return "its launch did not record what it was made from"
        return changes(self.blobs[version], self.blobs[self.now[dataset]])


def versions_now(
    known: Mapping[str, Any],
    answered: Mapping[str, Any],
    same: Mapping[str, Sequence[str]],
    used: Iterable[str],
) -> Versions:
    """The versions after ``deeptool plan`` has answered.

    Parameters
    ----------
    known : mapping
        Version -> what it is, of earlier launches.
    answered : mapping
        Dataset -> what the files make now.
    same : mapping
        Dataset -> the versions of `known` that equal it.
    used : iterable of str
        The versions of the trials that are there; others are forgotten.
    """
    blobs = {version: known[version] for version in dict.fromkeys(used) if version in known}
    now, equal = {}, {}
    for dataset, blob in answered.items():
        alike = [version for version in same.get(dataset, ()) if version in blobs]
        # The name of what it is: the same edit, made again, is the same version.
        text = json.dumps(blob, sort_keys=True).encode()
        now[dataset] = alike[-1] if alike else hashlib.sha256(text).hexdigest()[:12]
        equal[dataset] = frozenset({*alike, now[dataset]})
        blobs.setdefault(now[dataset], blob)
    return Versions(blobs, now, equal)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two versions, by the names that ``deeptool plan`` gives to code."""
    training = _different(before.get("training", {}), now.get("training", {}))
    code = f"training code changed: {', '.join(training)}" if training else ""
    parts = (sample_changes(before, now), code)
    return "; ".join(filter(None, parts)) or "its samples or its code may differ"


def sample_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is known to differ in the samples of two versions; empty where nothing is."""
    names = _different(_samples_code(before), _samples_code(now))
    if names:
        return f"samples changed: {', '.join(names)}"
    if _other_digests(before, now):
        return "samples changed"
    both = before.get("sealed"), now.get("sealed")
    return "another sealed dataset" if all(both) and both[0] != both[1] else ""


def _other_digests(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a digest differs where both were read as far: some are read further than others."""
    for split, facts in _samples(before).items():
        old = dict(facts.get("checkpoints", ()))
        new = dict(_samples(now).get(split, {}).get("checkpoints", ()))
        if any(old[count] != new[count] for count in old.keys() & new.keys()):
            return True
    return False


def _samples(version: Mapping[str, Any]) -> Mapping[str, Any]:
    samples: Mapping[str, Any] = version.get("data", {})
    return samples


def _samples_code(version: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> hash of the code that makes the samples, of all splits."""
    found: dict[str, Any] = {}
    for facts in _samples(version).values():
        found |= facts.get("code", {})
    return found


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = [*before, *(name for name in now if name not in before)]
    return [name for name in names if before.get(name) != now.get(name)]


def made_under(campaign: Campaign) -> dict[str, Any]:
    """What else of a campaign decides what a trial comes to, by its keys in the file.

    Numbers of processes and of partitions, memory, brokers: with others it comes to the same.
    """
    producers, trials = campaign.producers, campaign.trials
    order = trials.order if trials is not None else "auto"
    return {
        "producers.epochs": producers.epochs,
        "producers.split": producers.split,
        "producers.num_procs": producers.num_procs,
        "producers.auto_shard": producers.auto_shard,
        "trials.online": trials is not None and trials.online,
        "trials.options": list(trials.options) if trials is not None else [],
        # Earlier releases did not say it.
        **({} if order == "auto" else {"trials.order": order}),
    }


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of `made_under` differs, as ``key: old -> new``; empty where nothing does."""
    return "; ".join(
        f"{name}: {json.dumps(before.get(name))} -> {json.dumps(now.get(name))}"
        for name in _different(before, now)
    )
