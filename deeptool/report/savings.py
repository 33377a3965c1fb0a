"""The CPU time that a run saved by preprocessing once: measured figures only."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

FORMULA = (
    "saved = sum over trials of epochs run × CPU of the input pipeline for one epoch of the trial's"
    " dataset (training and validation, as measured while it was uploaded) − CPU of the trials'"
    " reading − CPU of the producers − CPU of the broker"
)
BREAK_EVEN_FORMULA = (
    "break-even = (CPU of the producers + CPU of the broker)"
    " / (mean over trials of the pipeline's CPU that it did not spend − the CPU of its reading)"
)

ASSUMPTION = (
    "Without the store, each trial is assumed to run the pipeline once per epoch. A pipeline that"
    " keeps its result in memory (cache()) would run once per trial."
)

NO_EPOCH = "it ran no epoch"


def account(
    trials: Sequence[MutableMapping[str, Any]],
    uploads: Sequence[Mapping[str, Any]],
    broker_cpu_seconds: float | None,
) -> dict[str, Any] | None:
    """Compare what was spent with what preprocessing in every trial would have cost.

    Each trial gets ``pipeline_cpu_seconds`` (what its own preprocessing would have taken) and
    ``saved_cpu_seconds`` (that minus its reading; None where it is not known).

    Parameters
    ----------
    trials : sequence of dict
        As `summarize` makes them.
    uploads : sequence of mapping
        Rows of ``deeptool inspect --json``.
    broker_cpu_seconds : float or None
        None where the broker is not the run's own: nothing is charged.

    Returns
    -------
    dict or None
        All terms of the formulas, in CPU seconds, and what was left out and why. None where no
        trial's reading can be compared with a measured pipeline.
    """
    reasons = {trial["index"]: _judge(trial, uploads) for trial in trials}
    counted = [trial for trial in trials if trial["saved_cpu_seconds"] is not None]
    if not counted:
        return None
    pipeline = sum(trial["pipeline_cpu_seconds"] for trial in counted)
    # Reading in vain is charged too. Where no pipeline was measured, the reading has nothing to
    # be compared with, and is left out.
    idle = [trial for trial in trials if reasons[trial["index"]] == NO_EPOCH]
    reading = sum(trial["input_cpu_seconds"] or 0.0 for trial in [*counted, *idle])
    producers = sum(upload.get("cpu_seconds") or 0.0 for upload in uploads)
    fixed = producers + (broker_cpu_seconds or 0.0)
    per_trial = sum(trial["saved_cpu_seconds"] for trial in counted) / len(counted)
    saved = pipeline - reading - fixed
    return {
        "trials_counted": len(counted),
        "pipeline_cpu_seconds": pipeline,
        "input_cpu_seconds": reading,
        "producer_cpu_seconds": producers,
        "broker_cpu_seconds": broker_cpu_seconds,
        "spent_cpu_seconds": reading + fixed,
        "saved_cpu_seconds": saved,
        "saved_share": saved / pipeline if pipeline > 0 else None,
        "saved_per_trial_cpu_seconds": per_trial,
        "break_even_trials": max(1, math.ceil(fixed / per_trial)) if per_trial > 0 else None,
        "formula": FORMULA,
        "break_even_formula": BREAK_EVEN_FORMULA,
        "left_out": [{"index": index, "why": why} for index, why in reasons.items() if why],
    }


def _judge(trial: MutableMapping[str, Any], uploads: Sequence[Mapping[str, Any]]) -> str | None:
    """Set what the trial saved; returns why it is not known, if so."""
    trial["pipeline_cpu_seconds"] = trial["saved_cpu_seconds"] = None
    if trial["data_from"] == "pipeline":
        return "it ran the input pipeline itself"
    if not trial["epochs_run"]:
        return NO_EPOCH
    per_epoch = _pipeline_cpu_per_epoch(trial, uploads)
    if per_epoch is None:
        return "the CPU of its dataset's pipeline was not measured"
    trial["pipeline_cpu_seconds"] = trial["epochs_run"] * per_epoch
    if trial["input_cpu_seconds"] is None:
        return "the CPU of its reading was not measured"
    trial["saved_cpu_seconds"] = trial["pipeline_cpu_seconds"] - trial["input_cpu_seconds"]
    return None


def _pipeline_cpu_per_epoch(
    trial: Mapping[str, Any], uploads: Sequence[Mapping[str, Any]]
) -> float | None:
    """CPU seconds of one pass over what a trial reads: its variant's splits, or all shards'."""
    read = [upload for upload in uploads if _reads(trial, upload)]
    if not read:
        return None
    total = 0.0
    for upload in read:
        epochs = len(upload.get("epochs") or ())
        if upload.get("pipeline_cpu_seconds") is None or not epochs:
            return None
        total += upload["pipeline_cpu_seconds"] / epochs
    return total


def _reads(trial: Mapping[str, Any], upload: Mapping[str, Any]) -> bool:
    name = upload.get("session")
    if name is not None and trial.get("session_name") not in (None, name):
        return False
    # All shards of a dataset are read, whichever variant that is.
    shard = upload.get("num_procs", 1) > 1
    return shard or trial["proc_id"] in (None, upload["proc_id"])
