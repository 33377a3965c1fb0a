"""The CPU time that a run saved by preprocessing once: measured figures only."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from deeptool.report.other_ways import FORMULAS, NAMES, Way, epoch_cpu, other_ways

FORMULA = (
    "this run = CPU of the trials' reading + CPU of the producers + CPU of the broker;"
    " saved = the cheapest other way - this run"
)
BREAK_EVEN_FORMULA = (
    "break-even = (CPU of the producers + CPU of the broker - what the cheapest other way spends"
    " once) / (what a trial spends that way on average - the CPU of its reading)"
)

NO_EPOCH = "it ran no epoch"


def account(
    trials: Sequence[MutableMapping[str, Any]],
    uploads: Sequence[Mapping[str, Any]],
    broker_cpu_seconds: float | None,
) -> dict[str, Any] | None:
    """Compare what was spent with what the trials would have cost without a store.

    Each trial gets ``pipeline_cpu_seconds`` (what preprocessing in each of its epochs would have
    taken) and ``saved_cpu_seconds`` (that minus its reading; None where it is not known).

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
        All terms of the formulas, in CPU seconds, and what was left out and why. ``ways`` are the
        other ways (see `deeptool.report.other_ways.Way`), ``cheapest`` is the one of them that
        ``saved_cpu_seconds``, ``saved_share`` and ``break_even_trials`` compare with, and
        ``verdict`` says so in words. None where no trial's reading can be compared with a measured
        pipeline.
    """
    reasons = {trial["index"]: _judge(trial, uploads) for trial in trials}
    counted = [trial for trial in trials if trial["saved_cpu_seconds"] is not None]
    if not counted:
        return None
    # Reading in vain is charged too. Where no pipeline was measured, the reading has nothing to
    # be compared with, and is left out.
    idle = [trial for trial in trials if reasons[trial["index"]] == NO_EPOCH]
    reading = sum(trial["input_cpu_seconds"] or 0.0 for trial in [*counted, *idle])
    producers = sum(upload.get("cpu_seconds") or 0.0 for upload in uploads)
    fixed = producers + (broker_cpu_seconds or 0.0)
    ways = other_ways([(trial, _read_by(trial, uploads)) for trial in counted])
    cheapest, least = _cheapest(ways)
    saved = least - reading - fixed
    own = sum(trial["input_cpu_seconds"] for trial in counted) / len(counted)
    savings = {
        "trials_counted": len(counted),
        "ways": [way.to_json() for way in ways],
        "pipeline_cpu_seconds": ways[0].cpu_seconds,
        "cheapest": cheapest.way,
        "cheapest_cpu_seconds": least,
        "input_cpu_seconds": reading,
        "producer_cpu_seconds": producers,
        "broker_cpu_seconds": broker_cpu_seconds,
        "spent_cpu_seconds": reading + fixed,
        "saved_cpu_seconds": saved,
        "saved_share": saved / least if least > 0 else None,
        "saved_per_trial_cpu_seconds": cheapest.per_trial - own,
        "break_even_trials": cheapest.break_even(fixed, own),
        "formulas": [FORMULA, BREAK_EVEN_FORMULA, *FORMULAS],
        "left_out": [{"index": index, "why": why} for index, why in reasons.items() if why],
    }
    return {**savings, "verdict": verdict(savings)}


def verdict(savings: Mapping[str, Any]) -> str:
    """Whether the run saved CPU time against the cheapest other way, in one sentence.

    Parameters
    ----------
    savings : mapping
        As `account` makes it.
    """
    name, saved = way_name(savings), savings["saved_cpu_seconds"]
    pays = savings["break_even_trials"]
    if saved < 0:
        later = "" if pays is None else f"; storing costs less from {pays} trials on"
        return f"{-saved:.1f} CPU s lost: {name} would have cost less{later}"
    start = "the first trial" if pays == 1 else f"{pays} trials"
    later = "" if pays is None else f"; it pays from {start} on"
    return f"{saved:.1f} CPU s saved against {name}{later}"


def way_name(savings: Mapping[str, Any]) -> str:
    """The cheapest other way, in words."""
    return NAMES[savings["cheapest"]]


def _cheapest(ways: Sequence[Way]) -> tuple[Way, float]:
    """The way that costs least, and what it costs."""
    known = [
        (way.cpu_seconds, place) for place, way in enumerate(ways) if way.cpu_seconds is not None
    ]
    seconds, place = min(known)
    return ways[place], seconds


def _judge(trial: MutableMapping[str, Any], uploads: Sequence[Mapping[str, Any]]) -> str | None:
    """Set what the trial saved; returns why it is not known, if so."""
    trial["pipeline_cpu_seconds"] = trial["saved_cpu_seconds"] = None
    if trial["data_from"] == "pipeline":
        return "it ran the input pipeline itself"
    if not trial["epochs_run"]:
        return NO_EPOCH
    read = _read_by(trial, uploads)
    if not read or any(
        upload.get("pipeline_cpu_seconds") is None or not upload.get("epochs") for upload in read
    ):
        return "the CPU of its dataset's pipeline was not measured"
    trial["pipeline_cpu_seconds"] = trial["epochs_run"] * sum(map(epoch_cpu, read))
    if trial["input_cpu_seconds"] is None:
        return "the CPU of its reading was not measured"
    trial["saved_cpu_seconds"] = trial["pipeline_cpu_seconds"] - trial["input_cpu_seconds"]
    return None


def _read_by(
    trial: Mapping[str, Any], uploads: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """What a trial reads in an epoch: its variant's splits, or all shards'."""
    return [upload for upload in uploads if _reads(trial, upload)]


def _reads(trial: Mapping[str, Any], upload: Mapping[str, Any]) -> bool:
    name = upload.get("session")
    if name is not None and trial.get("session_name") not in (None, name):
        return False
    # All shards of a dataset are read, whichever variant that is.
    shard = upload.get("num_procs", 1) > 1
    return shard or trial["proc_id"] in (None, upload["proc_id"])
