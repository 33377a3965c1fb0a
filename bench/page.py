"""Pure: the part of docs/performance.md that comes from the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.rows import ROWS
from bench.workloads import SIZES

BEGIN, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"
# A processor that waits for nothing else: more than that, and something else ran.
_QUIET = 0.5


def with_results(page: str, found: Mapping[str, Any]) -> str:
    """The page with the results of a full run in place of earlier ones.

    Raises
    ------
    ValueError
        The page has no place for them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no place for results")
    return f"{before}{BEGIN}\n{rendered(found)}\n{END}{after}"


def rendered(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    parts = [_where(found), _targets(found["targets"])]
    for name, workload in SIZES[found["size"]].items():
        rows = found["rows"].get(name)
        if rows:
            title = workload.title[0].upper() + workload.title[1:]
            parts += [
                f"### {title}: {workload.samples:,} samples, {workload.size / 1e6:,.0f} MB, "
                f"batches of {workload.batch_size:,}",
                f"![{workload.title}: MB/s of each row](../bench-results/{name}.svg)",
                _rows(rows),
                _absent(rows),
            ]
    return "\n\n".join(part for part in parts if part)


def _where(found: Mapping[str, Any]) -> str:
    machine, load = found["machine"], found["load_before"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    busy = (
        f"The machine was not quiet: its load was {load:.1f} before the run. Only ratios count."
        if load > _QUIET
        else f"The load before the run was {load:.1f}."
    )
    return (
        f"{found['date']}, commit {found['commit']}, medians of {found['rounds']}, "
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']:.0f} GB of "
        f"memory, Linux {machine['kernel']}; {versions}. {busy}"
    )


def _table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    cells = list(head)
    rows = [cells, ["---"] * len(cells), *map(list, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _targets(targets: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, target in targets.items():
        got = "not measured" if target["got"] is None else f"{target['got']:.3g}"
        met = "yes" if target["met"] else "no"
        lines.append([name, f"{target['bound']} {target['asked']:g}", got, met])
    return _table(("figure", "target", "measured", "met"), lines)


def _rows(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for row in ROWS:
        one = rows.get(row.name)
        if one is None or "absent" in one:
            continue
        part = "" if one["whole"] else " *"
        entropy = f"{100 * one['entropy']:.1f}%" if "entropy" in one else ""
        rate = "" if row.name == "first batch" else f"{one['rate']:,.0f}"
        lines.append(
            [
                f"**{row.name}**" if row.ours else row.name,
                row.how,
                rate + part if rate else f"{one['seconds']:.2f} s",
                f"{one['mb_per_s']:,.0f}" if rate else "",
                f"{one['cpu_seconds_per_gb']:.2f}" if rate else "",
                entropy,
                f"{one['anonymous_mb']:,.0f}",
            ]
        )
    head = ("row", "how", "samples/s", "MB/s", "CPU s/GB", "label entropy", "memory, MB")
    return _table(head, lines)


def _absent(rows: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        f"- Not measured: {name}: {one['absent']}" for name, one in rows.items() if "absent" in one
    )
