"""What a launch's input work cost, beside what other ways would have cost, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Characters of the longest bar.
_WIDTH = 40


def savings_lines(savings: Mapping[str, Any] | None) -> Iterator[str]:
    """Lines for the terminal; everything in them was measured.

    Parameters
    ----------
    savings : mapping or None
        As `deeptool.report.savings.account` returns it.
    """
    if not savings or not savings["trials_counted"]:
        return
    spent = [f"producers {savings['producer_cpu_seconds']:.1f} s"]
    if savings["broker_cpu_seconds"] is not None:
        spent.append(f"broker {savings['broker_cpu_seconds']:.1f} s")
    spent.append(f"reading {savings['input_cpu_seconds']:.1f} s")
    trials = savings["trials_counted"]
    yield f"CPU of the input work of {trials} trial{'s' if trials > 1 else ''}:"
    known = [way for way in savings["ways"] if way["cpu_seconds"] is not None]
    bars = [("this run", savings["spent_cpu_seconds"], f" ({', '.join(spent)})")]
    bars += [(way["name"], way["cpu_seconds"], "") for way in known]
    longest = max(seconds for _, seconds, _ in bars) or 1.0
    widest = max(len(name) for name, _, _ in bars)
    for name, seconds, more in bars:
        bar = "#" * max(1, round(_WIDTH * seconds / longest))
        yield f"  {name:{widest}} {seconds:8.1f} s {bar}{more}"
    for way in savings["ways"]:
        if way["cpu_seconds"] is None:
            yield f"  {way['name']}: not known ({way['why']})"
    hint = " (docs/when-to-use.md)" if savings["saved_cpu_seconds"] < 0 else ""
    yield f"{savings['verdict']}{hint}"
