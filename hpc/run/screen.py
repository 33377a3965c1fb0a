"""What a launch shows: a live picture on a terminal, a line for each event elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpc.run.snapshot import Snapshot, TaskRow, metrics, varying
from hpc.run.state import DONE, UNSUCCESSFUL

STYLES = {
    "complete": "green",
    "ready": "green",
    "running": "cyan",
    "diverged": "red",
    "failed": "red",
    "outdated": "dim",
    "killed": "red",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "preempted": "magenta",
    "lost": "magenta",
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
        # Reason -> the first that failed for it.
        self._failures: dict[str, str] = {}
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
        """Print one line for something that happened."""
        self._console.print(Text(line, style), highlight=False, soft_wrap=True)

    def failed(self, name: str, reason: str, log: object) -> None:
        """Print why a trial failed; what was printed of an earlier one is not printed again."""
        first = self._failures.setdefault(reason, name)
        said = reason if first == name else f"as {first}"
        self.event(f"{name} failed: {said}\n  log: {log}", STYLES["failed"])

    def show(self, snapshot: Callable[[], Snapshot]) -> None:
        """Draw the state again, on a terminal."""
        if self._live is not None:
            self._live.update(picture(snapshot()), refresh=True)


def picture(snapshot: Snapshot, *, whole: bool = False) -> RenderableType:
    """A campaign at one moment, to be printed by rich; `whole`: all trials, however many."""
    parts: list[RenderableType] = [_header(snapshot)]
    if snapshot.of("producer"):
        parts.append(_producers(snapshot.of("producer")))
    trials = current(snapshot.of("trial"))
    if trials:
        shown = list(trials) if whole else _shown(trials)
        parts += [_count(trials), TrialTable(shown, varying(trials))]
        if len(shown) < len(trials):
            rest = len(trials) - len(shown)
            parts.append(Text(f"{rest} more: deeptool-hpc status {snapshot.run_dir} | cat", "dim"))
    parts += _outdated_lines(snapshot.of("trial"))
    return Group(*parts)


def current(trials: Sequence[TaskRow]) -> tuple[TaskRow, ...]:
    """The trials that are not outdated."""
    return tuple(row for row in trials if row.state != "outdated")


def trial_tables(trials: Sequence[TaskRow], ranked: Sequence[int] = ()) -> list[RenderableType]:
    """All trials, to be printed by rich: those that are outdated apart, and why they are.

    Parameters
    ----------
    trials : sequence of TaskRow
    ranked : sequence of int
        The indices in the order of the report, the best first; those that are not there come last.
    """
    places = {index: place for place, index in enumerate(ranked)}
    now = tuple(sorted(current(trials), key=lambda row: places.get(row.index, len(places))))
    parts: list[RenderableType] = [TrialTable(now, varying(now))] if now else []
    outdated = tuple(row for row in trials if row.state == "outdated")
    if outdated:
        parts += [Text(""), *_outdated_lines(outdated), TrialTable(outdated, varying(outdated))]
    return parts


def _outdated_lines(trials: Sequence[TaskRow]) -> list[RenderableType]:
    """The trials that are outdated, a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for row in trials:
        if row.state == "outdated":
            reasons.setdefault(row.note, []).append(str(row.index))
    return [
        Text(f"outdated, not compared with the others: {', '.join(names)} ({why})", "dim")
        for why, names in reasons.items()
    ]


def _header(snapshot: Snapshot) -> Text:
    # A broker is not what a campaign completes.
    states = {"complete": "stopped"}
    if snapshot.state != "running":
        # Nothing was left to run.
        states["waiting"] = "not needed"
    brokers = [
        " ".join(
            filter(None, (states.get(row.state, row.state), row.note, row.job and f"job {row.job}"))
        )
        for row in snapshot.of("broker")
    ]
    text = Text(f"{snapshot.name} ", "bold")
    text.append(snapshot.state, STYLES.get(snapshot.state, ""))
    # An address has no slash: this is the folder of a sealed dataset.
    sealed = "/" in snapshot.server
    text.append(f"  {clock(snapshot.seconds)}  {'dataset' if sealed else 'broker'} ", "default")
    state = brokers[0] if brokers else "sealed in" if sealed else "existing"
    text.append(state, STYLES.get(state.split()[0], ""))
    text.append(f" {snapshot.server}", "default")
    return text


def _producers(rows: Sequence[TaskRow]) -> Table:
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
            Text(row.name),
            Text(row.state, STYLES.get(row.state, "")),
            bar,
            Text(upload_text(row)),
            Text(f"job {row.job}" if row.job else "", "dim"),
        )
    return table


def upload_text(row: TaskRow) -> str:
    """How far a producer is, in words."""
    if row.note:
        return row.note
    if not row.progress:
        return ""
    seen = row.progress
    total = f" of {seen['total']:,}" if seen.get("total") and row.state == "running" else ""
    return f"{seen['samples']:,}{total} samples, {seen['mb_per_second']:,.1f} MB/s"


def trial_text(row: TaskRow) -> str:
    """What a trial that is complete came to, in words."""
    found = [f"{name} {number(value)}" for name, value in metrics(row).items()]
    run, planned = row.result.get("epochs_run"), row.progress.get("epochs")
    if row.state == "complete" and run and planned and run < planned:
        found.append(f"stopped after {run} of {planned} epochs")
    return ", ".join([*found, f"{row.seconds or 0:.1f} s"])


def _count(rows: Sequence[TaskRow]) -> Table:
    states = [row.state for row in rows]
    # What was interrupted or preempted may go on.
    ended = sum(state in (*DONE, "failed", "cancelled", "lost") for state in states)
    words = [f"{ended} of {len(rows)} trials"]
    for state in ("running", "diverged", *UNSUCCESSFUL):
        if state in states:
            words.append(f"{states.count(state)} {state}")
    table = Table.grid(padding=(0, 2))
    table.add_row(ProgressBar(total=len(rows), completed=ended, width=30), Text(", ".join(words)))
    return table


def _shown(rows: Sequence[TaskRow]) -> list[TaskRow]:
    """Those that fit on a screen: running ones, then the last that ended, then the next."""

    def rank(row: TaskRow) -> tuple[int, int]:
        if row.state == "running":
            return 0, row.index
        return (2, row.index) if row.state == "waiting" else (1, -row.index)

    return sorted(sorted(rows, key=rank)[:_ROWS], key=lambda row: row.index)


class TrialTable:
    """A table of trials, for rich: of as many columns as are whole in the width that there is.

    Parameters
    ----------
    rows : sequence of TaskRow
        The trials.
    names : sequence of str
        The hparams to show; what the trials took gives way to them.
    """

    def __init__(self, rows: Sequence[TaskRow], names: Sequence[str]) -> None:
        self._rows = rows
        measured = list(dict.fromkeys(name for row in rows for name in metrics(row)))[:3]
        self._columns = [
            _Column("trial", lambda row: str(row.index), right=True),
            *(_Column(name, partial(_hparam, name)) for name in names),
            _Column("state", lambda row: Text(row.state, STYLES.get(row.state, "")), whole=True),
            _Column("epoch", _epoch, right=True),
            *(
                _Column(name, partial(_metric, name), right=True, spare=2 + place if place else 0)
                for place, name in enumerate(measured)
            ),
            _Column("seconds", _seconds, right=True, spare=5),
            _Column("samples", partial(_count_text, "samples_read"), right=True, spare=7),
            _Column(
                "input\nCPU s", partial(_seconds_text, "input_cpu_seconds"), right=True, spare=6
            ),
        ]
        if any(row.node or row.note for row in rows):
            self._columns.append(_Column("node:GPU", _place, spare=1))
        if any(row.job for row in rows):
            self._columns.append(_Column("job", lambda row: row.job, spare=4))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        unbounded = options.update_width(10_000)
        shown, table = self._columns, self._table(self._columns)
        while console.measure(table, options=unbounded).maximum > options.max_width:
            first = max(shown, key=lambda column: column.spare)
            if not first.spare:
                break
            shown = [column for column in shown if column is not first]
            table = self._table(shown)
        yield table

    def _table(self, shown: Sequence[_Column]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in shown:
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=column.right or column.whole,
                overflow="fold",
            )
        for row in self._rows:
            table.add_row(*(column.cell(row) for column in shown))
        return table


@dataclass(frozen=True)
class _Column:
    """What a trial shows under a title; of those to `spare` (not 0) the largest gives way first."""

    title: str
    cell: Callable[[TaskRow], RenderableType]
    right: bool = False
    whole: bool = False
    spare: int = 0


def _hparam(name: str, row: TaskRow) -> str:
    return str(row.hparams.get(name, ""))


def _metric(name: str, row: TaskRow) -> str:
    return number(metrics(row).get(name))


def _place(row: TaskRow) -> str:
    return f"{row.node}:{row.device}" if row.node else row.note


def _epoch(row: TaskRow) -> str:
    """How many of how many: fewer at the end of a trial that stopped early."""
    done = row.result.get("epochs_run", row.progress.get("epoch"))
    if done is None:
        return ""
    planned = row.progress.get("epochs")
    return str(done) if planned is None else f"{done}/{planned}"


def _seconds(row: TaskRow) -> str:
    return "" if row.seconds is None else f"{row.seconds:.1f}"


def _count_text(key: str, row: TaskRow) -> str:
    return f"{row.result[key]:,}" if row.result.get(key) is not None else ""


def _seconds_text(key: str, row: TaskRow) -> str:
    return f"{row.result[key]:.2f}" if row.result.get(key) is not None else ""


def number(value: float | None) -> str:
    """A metric, short."""
    return "" if value is None else f"{value:.4g}"


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
