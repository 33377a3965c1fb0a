"""The record of a trial's epochs: ``history.csv``."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

Row = dict[str, float]
# Metrics may have any name, also those of the file's own columns.
_RENAMED = {name: f"metric {name}" for name in ("epoch", "seconds")}


class History:
    """One row an epoch: its number from 1, all metrics, the learning rate, its seconds.

    Parameters
    ----------
    path : Path
        The file; its rows up to epoch `upto` are kept, those behind it dropped.
    upto : int
        Epochs that the trial has behind it when it resumes.
    """

    def __init__(self, path: Path, upto: int) -> None:
        self._path = path
        self.rows: list[Row] = [row for row in _read(path) if row["epoch"] <= upto]
        self._columns: list[str] = []
        self._rewrite()

    def add(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Append the row of an epoch."""
        named = {_RENAMED.get(name, name): value for name, value in metrics.items()}
        self.rows.append({"epoch": epoch, **named, "seconds": round(seconds, 3)})
        if set(self.rows[-1]) <= set(self._columns):
            with open(self._path, "a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(_text(self.rows[-1]))
        else:
            self._rewrite()

    def sync(self) -> None:
        """See to it that the file is on the disk."""
        with open(self._path, "rb") as file:
            os.fsync(file.fileno())

    def _rewrite(self) -> None:
        self._columns = _columns(self.rows)
        temporary = self._path.with_name(f".{self._path.name}")
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(map(_text, self.rows))
        temporary.replace(self._path)


def _columns(rows: Sequence[Row]) -> list[str]:
    """The epoch first, the seconds last."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ("epoch", "seconds"))
    return ["epoch", *names, "seconds"]


def _text(row: Row) -> dict[str, str]:
    return {name: repr(value) for name, value in row.items()}


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        found = []
        for values in csv.DictReader(file):
            try:
                row = {name: float(value) for name, value in values.items() if value}
                found.append(row | {"epoch": int(values["epoch"])})
            except (TypeError, ValueError):
                break  # A line that was being written when the process was killed.
        return found
