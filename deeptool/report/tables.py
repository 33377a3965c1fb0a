"""Tables that the reader can sort, and the columns of the trials'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from deeptool.report.figure_style import trial_colours
from deeptool.report.text import MISSING, amount, bytes_text, number, seconds

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """What one cell shows, and what its column is sorted by.

    Attributes
    ----------
    value : object
        For sorting; None sorts last.
    shown : str or None
        None: the value itself.
    before : str
        HTML in front of it.
    pill : bool
        Whether it is shown as a coloured state.
    hint : str
        Shown where the pointer rests on it.
    """

    value: Any
    shown: str | None = None
    before: str = ""
    pill: bool = False
    hint: str = ""

    def html(self) -> str:
        shown = escape(MISSING if self.value is None else str(self.value))
        if self.shown is not None:
            shown = escape(self.shown)
        if self.pill:
            shown = f'<span class="pill {shown}">{shown}</span>'
        return self.before + shown


@dataclass(frozen=True)
class Column:
    """One column: its head, and its cell in a row; text stands left, numbers right."""

    name: str
    cell: Callable[[Row], Cell]
    text: bool = False


def dot(colour: str) -> str:
    """A trial's mark in its colour."""
    return f'<span class="dot" style="background:{colour}"></span>'


def timed(name: str, key: str) -> Column:
    """A column of seconds."""
    return Column(name, lambda row: Cell(row.get(key), seconds(row.get(key))))


def table(columns: Sequence[Column], rows: Sequence[Row], *, best: bool = False) -> str:
    """An HTML table, sorted by a click on a head; `best` makes its first row stand out."""
    head = "".join(
        f'<th scope="col" aria-sort="none"{_class(column)}>'
        f'<button type="button">{escape(column.name)}</button></th>'
        for column in columns
    )
    lines = []
    for place, row in enumerate(rows):
        cells = []
        for column in columns:
            cell = column.cell(row)
            value = "" if cell.value is None else escape(str(cell.value))
            hint = f' title="{escape(cell.hint)}"' if cell.hint else ""
            cells.append(f'<td{_class(column)}{hint} data-value="{value}">{cell.html()}</td>')
        mark = ' class="best"' if best and place == 0 else ""
        lines.append(f"<tr{mark}>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def trial_columns(summary: Mapping[str, Any]) -> list[Column]:
    """What the table of trials shows: hparams that vary, validation metrics, what it took."""
    by_trial = trial_colours(summary["trials"])
    shown = dict.fromkeys([summary["metric"]])
    shown |= dict.fromkeys(
        name for trial in summary["trials"] for name in trial["best"] if name.startswith("val_")
    )

    def index(trial: Row) -> Cell:
        return Cell(trial["index"], before=dot(by_trial[trial["index"]]), hint=trial["folder"])

    def hparam(name: str) -> Column:
        values = [trial["hparams"].get(name) for trial in summary["trials"]]
        text = any(isinstance(value, (str, list, tuple, dict)) for value in values)
        return Column(name, lambda trial: Cell(trial["hparams"].get(name)), text)

    def metric(name: str) -> Column:
        def cell(trial: Row) -> Cell:
            return Cell(trial["best"].get(name), number(trial["best"].get(name)))

        return Column(f"{name} at best epoch", cell)

    def epochs(trial: Row) -> Cell:
        return Cell(
            trial["epochs_run"], f"{trial['epochs_run'] or 0} / {_or(trial, 'epochs_planned')}"
        )

    columns = [
        Column("trial", index, text=True),
        Column("state", lambda trial: Cell(trial["status"], pill=True), text=True),
        *[hparam(name) for name in summary["varied"]],
        *[metric(name) for name in shown],
        Column("best epoch", lambda trial: Cell(trial["best_epoch"])),
        Column("epochs", epochs),
        timed("seconds", "wall_seconds"),
        Column(
            "samples read", lambda trial: Cell(trial["samples_read"], amount(trial["samples_read"]))
        ),
        *[
            timed(name, key)
            for name, key in (
                ("input CPU s", "input_cpu_seconds"),
                ("CPU s not preprocessed again", "saved_cpu_seconds"),
            )
            if any(trial[key] is not None for trial in summary["trials"])
        ],
    ]
    if len({trial["proc_id"] for trial in summary["trials"]}) > 1:
        columns.insert(2, Column("procID", lambda trial: Cell(trial["proc_id"])))
    return columns


def upload_columns() -> list[Column]:
    """What the table of stored datasets shows."""

    def hparams(row: Row) -> Cell:
        return Cell(", ".join(f"{k}={v}" for k, v in (row.get("data_hparams") or {}).items()))

    def rate(row: Row) -> Cell:
        seconds = row.get("wall_seconds")
        value = (row.get("samples") or 0) / seconds if seconds else None
        return Cell(value, MISSING if value is None else f"{value:,.0f}")

    return [
        Column("topic", lambda row: Cell(row.get("topic")), text=True),
        Column("data hparams", hparams, text=True),
        Column("samples", lambda row: Cell(row.get("samples"), amount(row.get("samples")))),
        Column("epochs", lambda row: Cell(len(row.get("epochs") or ()))),
        Column("size", lambda row: Cell(row.get("bytes"), bytes_text(row.get("bytes") or 0))),
        Column("partitions", lambda row: Cell(row.get("partitions"))),
        Column("codec", lambda row: Cell(row.get("codec")), text=True),
        timed("seconds", "wall_seconds"),
        Column("samples/s", rate),
        timed("pipeline CPU s", "pipeline_cpu_seconds"),
        timed("producer CPU s", "cpu_seconds"),
    ]


def _or(trial: Row, name: str) -> Any:
    return MISSING if trial[name] is None else trial[name]


def _class(column: Column) -> str:
    return ' class="text"' if column.text else ""
