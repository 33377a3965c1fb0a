"""What a run's trials would have cost without a store: each other way to feed them, measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
# Of one counted trial, and the uploads that it reads.
Reading = tuple[Row, Sequence[Row]]

EACH_EPOCH, CACHE, SAVE = "each_epoch", "cache", "save"
NAMES = {
    EACH_EPOCH: "preprocessing in every epoch",
    CACHE: "cache() in each trial",
    SAVE: "one dataset.save()",
}
FORMULAS = (
    "preprocessing in every epoch = sum over trials of epochs run × CPU of the input pipeline for"
    " one epoch of the trial's dataset (training and validation, measured while it was uploaded)",
    "cache() in each trial = sum over trials of the pipeline's CPU for one epoch + (epochs run - 1)"
    " × CPU of reading an epoch from cache()",
    "one dataset.save() = sum over datasets of the pipeline's CPU + CPU of save() + sum over"
    " trials of epochs run × CPU of reading an epoch from Dataset.load()",
    "cache(), save() and load() were measured by the producers, on each dataset's first samples."
    " The start of a process that saves, and whatever fast disk its folder needs, are not counted;"
    " the start of the producers is.",
)


@dataclass(frozen=True)
class Way:
    """One other way, in CPU seconds.

    Attributes
    ----------
    way : str
        A key of `NAMES`.
    once, per_trial : float
        Spent once, and by a trial on average.
    cpu_seconds : float or None
        Of all counted trials; None where it was not measured.
    why : str
        Why it was not.
    """

    way: str
    once: float = 0.0
    per_trial: float = 0.0
    cpu_seconds: float | None = None
    why: str = ""

    def break_even(self, fixed: float, reading_per_trial: float) -> int | None:
        """From how many trials on storing costs no more, whose own cost is given; None: never."""
        saved = self.per_trial - reading_per_trial
        if saved <= 0:
            return None
        return max(1, math.ceil((fixed - self.once) / saved))

    def to_json(self) -> dict[str, Any]:
        return {
            "way": self.way,
            "name": NAMES[self.way],
            "cpu_seconds": self.cpu_seconds,
            "why": self.why,
        }


def other_ways(read: Sequence[Reading]) -> list[Way]:
    """What each way would have cost the counted trials.

    Parameters
    ----------
    read : sequence of (trial, uploads)
        Not empty. Every upload's pipeline was measured; an epoch of the trial reads one epoch of
        each of them.
    """
    anew = [trial["epochs_run"] * sum(map(epoch_cpu, uploads)) for trial, uploads in read]
    found = [_way(EACH_EPOCH, 0.0, anew)]
    distinct = {id(upload): upload for _, uploads in read for upload in uploads}.values()
    why = _unknown(distinct, "cache_seconds")
    cached = [
        sum(
            epoch_cpu(upload) + (trial["epochs_run"] - 1) * _epoch(upload, "cache_seconds")
            for upload in uploads
        )
        for trial, uploads in ([] if why else read)
    ]
    found.append(Way(CACHE, why=why) if why else _way(CACHE, 0.0, cached))
    why = _unknown(distinct, "load_seconds")
    loaded = [
        trial["epochs_run"] * sum(_epoch(upload, "load_seconds") for upload in uploads)
        for trial, uploads in ([] if why else read)
    ]
    once = 0.0 if why else sum(_saved(upload) for upload in distinct)
    found.append(Way(SAVE, why=why) if why else _way(SAVE, once, loaded))
    return found


def epoch_cpu(upload: Row) -> float:
    """CPU seconds of one pass of an upload's pipeline."""
    return float(upload["pipeline_cpu_seconds"] / len(upload["epochs"]))


def _way(way: str, once: float, trials: Sequence[float]) -> Way:
    return Way(way, once, sum(trials) / len(trials), once + sum(trials))


def _unknown(uploads: Any, name: str) -> str:
    """Why a way is not known; empty where it is."""
    for upload in uploads:
        costs = upload.get("other_ways")
        if costs is None:
            how = "by an earlier release, or without a settings file"
            return f"{upload.get('topic')} was uploaded {how}"
        if costs.get(name) is None:
            return f"{upload.get('topic')}: {costs.get('failed') or 'not measured'}"
    return ""


def _epoch(upload: Row, name: str) -> float:
    """CPU seconds of reading one epoch of an upload in another way."""
    samples = upload["samples"] / len(upload["epochs"])
    return float(samples * upload["other_ways"][name])


def _saved(upload: Row) -> float:
    """CPU seconds of running an upload's pipeline and saving what it yields, all epochs of it."""
    saving = upload["samples"] * upload["other_ways"]["save_seconds"]
    return float(upload["pipeline_cpu_seconds"] + saving)
