"""What ``deeptool plan`` has measured and advises, in words: for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deeptool.report.stage_names import stage_name
from deeptool.report.text import bytes_text, duration

_WAYS = {
    "each_epoch": "running the pipeline in every epoch",
    "cache": "cache() in each trial",
    "save": "one dataset.save()",
}


def stage_rows(stages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Of each stage its name, and its seconds of work and bytes after it, per sample."""
    return [
        (
            stage_name(stage) + (" (online)" if stage["online"] else ""),
            small_duration(stage["seconds"]),
            bytes_text(round(stage["bytes"])),
        )
        for stage in stages
    ]


def small_duration(seconds: float) -> str:
    """Seconds as microseconds, milliseconds or longer, three digits of it."""
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * size:
            return f"{seconds / size:.3g} {unit}"
    return duration(seconds)


def advice_lines(
    costs: Mapping[str, Any], advice: Mapping[str, Any]
) -> Iterator[tuple[str, list[str]]]:
    """Titles, each with its lines."""
    yield "where to cut", _deduplicated(_cut_lines(costs, advice))
    yield "the upload", list(_upload_lines(advice))
    yield "from when on storing takes less CPU time than", list(_break_even_lines(costs, advice))
    yield "based on", [*advice["basis"], *advice["notes"]]


def _deduplicated(lines: Iterator[tuple[str, str]]) -> list[str]:
    """Both splits most often get the same advice."""
    found: dict[str, list[str]] = {}
    for split, line in lines:
        found.setdefault(line, []).append(split)
    return [f"{', '.join(splits)}: {line}" for line, splits in found.items()]


def _cut_lines(costs: Mapping[str, Any], advice: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for split, cut in advice["cuts"].items():
        stages = costs["splits"][split]["stages"]
        online, store, random = (
            ", ".join(stage_name(stages[place]) for place in cut[name])
            for name in ("leave_online", "store", "random")
        )
        if online:
            yield split, f"leave to get_online_pipeline: {online}; it costs less than the bytes"
        if store:
            yield split, f"move into get_input_pipeline: {store}; it costs more than the bytes"
        if not online and not store:
            yield split, "store what get_input_pipeline yields, as it is"
        if random:
            yield (
                split,
                f"{random} draws random numbers, which are stored once: upload several passes"
                " (--epochs E), or do it in get_online_pipeline",
            )


def _upload_lines(advice: Mapping[str, Any]) -> Iterator[str]:
    total, together = 0, 0.0
    for split, row in advice["uploads"].items():
        size = bytes_text(round(row["record_bytes"]))
        if row["samples"] is None:
            yield f"{split}: {size} per sample in records; how many samples is not known"
            continue
        total += row["bytes"]
        together += row["pass_cpu_seconds"]
        yield (
            f"{split}: {row['samples']:,} samples x {size} in records = {bytes_text(row['bytes'])};"
            f" a pass takes about {duration(row['upload_seconds'])}, with"
            f" {advice['producers']} producers {duration(row['upload_seconds_shared'])}"
        )
    yield f"together {bytes_text(total)}; a pass of the pipeline takes {duration(together)} of CPU"


def _break_even_lines(costs: Mapping[str, Any], advice: Mapping[str, Any]) -> Iterator[str]:
    epochs = advice["epochs"]
    for way, title in _WAYS.items():
        even, epoch = advice["break_even"][way], advice["epoch"]
        if even is None:
            reasons = {row["stored"]["save_failed"] for row in costs["splits"].values()}
            yield f"{title}: not possible here ({'; '.join(sorted(filter(None, reasons)))})"
            continue
        trials = _count(even["trials"], "trial")
        alone = _count(even["epochs"], "epoch")
        line = f"{title}: {trials} of {epochs} epochs, or {alone} of a single trial"
        line += f" (an epoch: {duration(epoch[way])}, stored {duration(epoch['store'])})"
        if way == "cache":
            line += f"; each needs {bytes_text(round(advice['memory']['cache']))} of memory"
        yield line


def _count(number: int | None, name: str) -> str:
    if number is None:
        return f"never by {name}s"
    return f"{number:,} {name}{'' if number == 1 else 's'}"
