"""What a launch shows: a live picture on a terminal, a line for each event elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpc.snapshot import Row, Snapshot, metrics, varying

_STYLES = {
    "complete": "green",
    "ready": "green",
    "running": "cyan",
    "failed": "red",
    "killed": "red",
    "interrupted": "yellow",
    "waiting": "dim",
}
_ROWS = 12


class Screen:
    """Where a launch's events and state go.

    Parameters
    ----------
    console : Console
        Decides by itself: pictures on a terminal only.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4, auto_refresh=False)

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            # The table of the end says it all again.
            self._live.update(Text(), refresh=True)
            self._live.stop()

    def event(self, line: str, style: str = "") -> None:
        """Something happened."""
        self._console.print(Text(line, style), highlight=False, soft_wrap=True)

    def show(self, snapshot: Callable[[], Snapshot]) -> None:
        """Draw the state anew, where it is drawn at all."""
        if self._live is not None:
            self._live.update(picture(snapshot()), refresh=True)


def picture(snapshot: Snapshot) -> RenderableType:
    """A campaign at one moment, to be printed by rich."""
    parts: list[RenderableType] = [_header(snapshot)]
    if snapshot.of("producer"):
        parts.append(_producers(snapshot.of("producer")))
    trials = snapshot.of("trial")
    if trials:
        parts += [_count(trials), trial_table(_shown(trials), varying(trials))]
    return Group(*parts)


def _header(snapshot: Snapshot) -> Text:
    brokers = [f"{row.state} {row.note}".strip() for row in snapshot.of("broker")]
    text = Text(f"{snapshot.name} ", "bold")
    text.append(snapshot.state, _STYLES.get(snapshot.state, ""))
    text.append(f"  {clock(snapshot.seconds)}  broker ", "default")
    state = brokers[0] if brokers else "existing"
    text.append(state, _STYLES.get(state.split()[0], ""))
    text.append(f" {snapshot.server}", "default")
    return text


def _producers(rows: Sequence[Row]) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        seen = row.progress
        total = seen.get("total")
        bar: RenderableType = Text("")
        if row.state == "complete":
            bar = ProgressBar(total=1, completed=1, width=30)
        elif total and row.state == "running":
            bar = ProgressBar(total=total, completed=min(seen["samples"], total), width=30)
        table.add_row(
            Text(row.name), Text(row.state, _STYLES.get(row.state, "")), bar, Text(upload_text(row))
        )
    return table


def upload_text(row: Row) -> str:
    """How far a producer is, in words."""
    if row.note:
        return row.note
    if not row.progress:
        return ""
    seen = row.progress
    total = f" of {seen['total']:,}" if seen.get("total") and row.state == "running" else ""
    return f"{seen['samples']:,}{total} samples, {seen['mb_per_second']:,.1f} MB/s"


def trial_text(row: Row) -> str:
    """What a trial that is complete came to, in words."""
    found = [f"{name} {number(value)}" for name, value in metrics(row).items()]
    return ", ".join([*found, f"{row.seconds or 0:.1f} s"])


def _count(rows: Sequence[Row]) -> Table:
    states = [row.state for row in rows]
    ended = sum(state in ("complete", "failed") for state in states)
    words = [f"{ended} of {len(rows)} trials"]
    for state in ("running", "failed", "interrupted"):
        if state in states:
            words.append(f"{states.count(state)} {state}")
    table = Table.grid(padding=(0, 2))
    table.add_row(ProgressBar(total=len(rows), completed=ended, width=30), Text(", ".join(words)))
    return table


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Those that fit on a screen: running ones, then the last that ended, then the next."""

    def rank(row: Row) -> tuple[int, int]:
        if row.state == "running":
            return 0, row.index
        return (2, row.index) if row.state == "waiting" else (1, -row.index)

    return sorted(sorted(rows, key=rank)[:_ROWS], key=lambda row: row.index)


def trial_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """A table of trials.

    Parameters
    ----------
    rows : sequence of Row
        The trials.
    names : sequence of str
        The hparams to show.
    """
    measured = list(dict.fromkeys(name for row in rows for name in metrics(row)))[:3]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("trial", justify="right", no_wrap=True)
    for name in names:
        table.add_column(name, overflow="fold")
    table.add_column("state", no_wrap=True)
    placed = any(row.node for row in rows)
    for title in ("epoch", *measured, "seconds", "samples", "input\nCPU s"):
        table.add_column(title, justify="right", no_wrap=True)
    if placed:
        table.add_column("node:GPU")
    for row in rows:
        values = metrics(row)
        table.add_row(
            str(row.index),
            *(str(row.hparams.get(name, "")) for name in names),
            Text(row.state, _STYLES.get(row.state, "")),
            _epoch(row),
            *(number(values.get(name)) for name in measured),
            "" if row.seconds is None else f"{row.seconds:.1f}",
            _count_text(row.result, "samples_read"),
            _seconds_text(row.result, "input_cpu_seconds"),
            *([f"{row.node}:{row.device}" if row.node else row.note] if placed else []),
        )
    return table


def _epoch(row: Row) -> str:
    if row.result.get("epochs_run") is not None:
        return str(row.result["epochs_run"])
    if not row.progress:
        return ""
    return f"{row.progress.get('epoch', '')}/{row.progress.get('epochs', '')}"


def _count_text(result: Mapping[str, Any], key: str) -> str:
    return f"{result[key]:,}" if result.get(key) is not None else ""


def _seconds_text(result: Mapping[str, Any], key: str) -> str:
    return f"{result[key]:.2f}" if result.get(key) is not None else ""


def number(value: float | None) -> str:
    """A metric, short."""
    return "" if value is None else f"{value:.4g}"


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
