"""What to store, and from how many trials that pays: pure arithmetic on measured costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What this project's clients spend on a byte, as multiples of copying it once in memory: measured
# beside each other on one machine, and rounded. Encoding and decoding come on top: these are
# measured on the pipeline's own samples.
SEND, FETCH, READ_COPY = 10, 20, 8
# Another cut must be cheaper by so much in each epoch to be worth a change.
_WORTH = 0.9
# Cuts below these stages make sense: they change samples, not their order or number.
_MOVABLE = ("Map", "get_online_pipeline")
_PASSING = ("Prefetch", "Options", "Model")

BASIS = (
    "pipeline, encoding, decoding, save(), load() and cache(): measured now, on a sample of the"
    " pipeline's own; CPU seconds of this process",
    f"sending, reading from the broker and reading from the node's copy: estimates, {SEND}, {FETCH}"
    f" and {READ_COPY} times the CPU of copying the same bytes in memory, which was measured now",
    "the broker's CPU and get_online_pipeline are not counted: the latter costs each way the same",
)


def advise(costs: Mapping[str, Any], producers: int) -> dict[str, Any]:
    """What follows from measured costs.

    Parameters
    ----------
    costs : mapping
        As `deeptool.pipelines.pipeline_costs.measure_costs` returns it.
    producers : int
        Processes that share an upload, each with as many cores as this one.

    Returns
    -------
    dict
        ``cuts`` (for each split what to store and what to leave to get_online_pipeline),
        ``uploads`` (samples, bytes, and seconds with one and with `producers`), ``epoch`` (CPU
        seconds of one trial's epoch each way), ``once`` (those spent once), ``break_even`` (for
        each other way, the trials from which storing costs less, and the epochs of a single trial;
        None: never), ``basis``, ``notes``.
    """
    splits = costs["splits"]
    known = {split: row for split, row in splits.items() if row["samples"] is not None}
    unknown = [split for split in splits if split not in known]
    ways = _ways(known.values())
    epochs = costs["nbEpoch"]
    return {
        "cuts": {split: cut(row) for split, row in splits.items()},
        "uploads": {split: _upload(row, producers) for split, row in splits.items()},
        "producers": producers,
        "epochs": epochs,
        **ways,
        "break_even": _break_even(ways["once"], ways["epoch"], ways["trial"], epochs),
        "basis": list(BASIS),
        "notes": [
            f"how many samples a pass of {split} has is not known: it is not counted"
            for split in unknown
        ],
    }


def cut(split: Mapping[str, Any]) -> dict[str, Any]:
    """Where to end what is stored, so that an epoch of a trial costs least.

    Parameters
    ----------
    split : mapping
        ``stages`` and ``stored``, as `measure_costs` says.

    Returns
    -------
    dict
        ``now`` and ``best``: how many of the stages are stored; ``now_seconds``, ``best_seconds``:
        per sample and epoch, for reading what is stored and for the stages that remain;
        ``leave_online`` and ``store`` (numbers of stages to be moved, of which one list is empty);
        ``random`` (those that are stored and draw random numbers).
    """
    stages: Sequence[Mapping[str, Any]] = split["stages"]
    now = sum(not stage["online"] for stage in stages)
    stored = split["stored"]
    byte = READ_COPY * stored["copy_seconds"] / stored["record_bytes"]
    work = sum(stage["seconds"] for stage in stages[:now])
    # Work that waits for files takes no CPU. What each stage waits is not known.
    cpu = split["cpu_seconds"] / work if work else 1.0

    def seconds(place: int) -> float:
        remaining = sum(stage["seconds"] for stage in stages[place:])
        return float(byte * stages[place - 1]["bytes"] + cpu * remaining)

    places = [now, *_earlier(stages, now), *_later(stages, now)]
    best = min(places, key=lambda place: (seconds(place), place != now))
    if seconds(best) > _WORTH * seconds(now):
        best = now
    return {
        "now": now,
        "best": best,
        "now_seconds": seconds(now),
        "best_seconds": seconds(best),
        "leave_online": list(range(best, now)),
        "store": list(range(now, best)),
        "random": [place for place in range(min(best, now)) if stages[place]["random"]],
    }


def _earlier(stages: Sequence[Mapping[str, Any]], now: int) -> list[int]:
    """Cuts before the last stages that get_online_pipeline could do."""
    found = []
    for place in range(now - 1, 0, -1):
        kind = stages[place]["kind"]
        if any(name in kind for name in _MOVABLE):
            found.append(place)
        elif not any(name in kind for name in _PASSING):
            break
    return found


def _later(stages: Sequence[Mapping[str, Any]], now: int) -> list[int]:
    """Cuts after stages of get_online_pipeline that make the same of a sample each time."""
    found = []
    for place in range(now, len(stages)):
        kind, random = stages[place]["kind"], stages[place]["random"]
        if random or not any(name in kind for name in (*_MOVABLE, *_PASSING)):
            break
        # Whether a pipeline whose operations are not seen is random, is not known.
        if not kind:
            break
        found.append(place + 1)
    return found


def _upload(split: Mapping[str, Any], producers: int) -> dict[str, Any]:
    count, stored = split["samples"], split["stored"]
    per_sample = stored["record_bytes"]
    wall = split["wall_seconds"] + stored["encode_seconds"] + SEND * stored["copy_seconds"]
    return {
        "samples": count,
        "record_bytes": per_sample,
        "bytes": None if count is None else round(count * per_sample),
        "pass_seconds": None if count is None else count * split["wall_seconds"],
        "upload_seconds": None if count is None else count * wall,
        "upload_seconds_shared": None if count is None else count * wall / producers,
        "pass_cpu_seconds": None if count is None else count * split["cpu_seconds"],
    }


def _ways(splits: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """CPU seconds of each way: once, once in each trial, and in each epoch of each trial."""
    total: dict[str, float] = dict.fromkeys(
        ("pipeline", "again", "encode", "send", "fill", "copy", "save", "load", "cache", "bytes"),
        0.0,
    )
    saves = True
    for split in splits:
        count, stored = split["samples"], split["stored"]
        copy = stored["copy_seconds"]
        saves = saves and stored["save_seconds"] is not None
        for name, seconds in (
            ("pipeline", split["cpu_seconds"]),
            ("again", split["cpu_seconds"] * _share_after_cache(split["stages"])),
            ("encode", stored["encode_seconds"]),
            ("send", SEND * copy),
            ("fill", FETCH * copy + stored["decode_seconds"]),
            ("copy", READ_COPY * copy),
            ("save", stored["save_seconds"] or 0.0),
            ("load", stored["load_seconds"] or 0.0),
            ("cache", stored["cache_seconds"]),
            ("bytes", stored["record_bytes"]),
        ):
            total[name] += count * seconds
    first = total["pipeline"]
    return {
        "once": {
            "store": first + total["encode"] + total["send"] + total["fill"],
            "each_epoch": 0.0,
            "cache": 0.0,
            "save": first + total["save"] if saves else None,
        },
        # The first epoch of a trial, beyond what each of its epochs costs.
        "trial": {
            "store": 0.0,
            "each_epoch": first - total["again"],
            "cache": first - total["cache"],
            "save": 0.0 if saves else None,
        },
        "epoch": {
            "store": total["copy"],
            "each_epoch": total["again"],
            "cache": total["cache"],
            "save": total["load"] if saves else None,
        },
        "memory": {"cache": total["bytes"]},
    }


def _share_after_cache(stages: Sequence[Mapping[str, Any]]) -> float:
    """Of the pipeline's work, what later epochs of a trial do again: all of it, without a cache."""
    own = [stage for stage in stages if not stage["online"]]
    caches = [place for place, stage in enumerate(own) if "Cache" in stage["kind"]]
    work = sum(stage["seconds"] for stage in own)
    if not caches or not work:
        return 1.0
    return float(sum(stage["seconds"] for stage in own[caches[-1] :]) / work)


def _break_even(
    once: Mapping[str, float | None],
    epoch: Mapping[str, float | None],
    trial: Mapping[str, float | None],
    epochs: int,
) -> dict[str, dict[str, int | None] | None]:
    found: dict[str, dict[str, int | None] | None] = {}
    for way in ("each_epoch", "cache", "save"):
        other = (once[way], trial[way], epoch[way])
        mine = (once["store"], trial["store"], epoch["store"])
        if None in other or None in mine:
            found[way] = None
            continue
        fixed, of_trial, of_epoch = (
            (a or 0.0) - (b or 0.0) for a, b in zip(mine, other, strict=True)
        )
        found[way] = {
            "trials": least_count(fixed, -of_trial - epochs * of_epoch),
            "epochs": least_count(fixed + of_trial, -of_epoch),
        }
    return found


def least_count(fixed: float, saved: float) -> int | None:
    """From how many times on `saved` is more than `fixed` was; None: never."""
    if saved <= 0:
        return None
    return max(1, math.floor(fixed / saved) + 1)
