"""How far an upload or a check is: shown on the terminal, and kept in a file for others to read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from os import PathLike

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from deeptool.files import write_json

_BAR_SECONDS, _FILE_SECONDS, _LINE_SECONDS = 0.2, 1.0, 5.0


@dataclass(frozen=True)
class Progress:
    """A moment of the work.

    Attributes
    ----------
    state : str
        "running", then "complete" or "failed".
    epoch, epochs : int
        The epoch under way, from 0, and how many there are to be.
    samples : int
        Done so far, over all epochs.
    total : int or None
        About how many there will be, over all epochs; None where nothing tells.
    bytes : int
        Of the record values of these samples.
    seconds : float
        Since the work began.
    """

    state: str
    epoch: int
    epochs: int
    samples: int
    total: int | None
    bytes: int
    seconds: float

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds > 0 else 0.0

    @property
    def mb_per_second(self) -> float:
        return self.bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, object]:
        values = asdict(self)
        del values["seconds"]
        return {
            **values,
            "samples_per_second": round(self.samples_per_second, 1),
            "mb_per_second": round(self.mb_per_second, 3),
        }

    def __str__(self) -> str:
        # The total is an estimate: the last batch may be a smaller one.
        known = self.total is not None and self.state != "complete"
        of = f" of {self.total:,}" if known else ""
        epoch = f", epoch {self.epoch + 1} of {self.epochs}" if self.epochs > 1 else ""
        rates = f"{self.samples_per_second:,.0f} samples/s, {self.mb_per_second:,.1f} MB/s"
        return f"{self.samples:,}{of} samples{epoch}, {rates}"


Listener = Callable[[Progress], None]


@contextmanager
def shown(
    title: str, file: str | PathLike[str] | None = None, console: Console | None = None
) -> Iterator[Listener]:
    """A listener that shows progress: a bar on a terminal, else a line every few seconds.

    Parameters
    ----------
    title : str
        What is being done.
    file : path, optional
        Rewritten about once a second, and whenever the state changes.
    console : Console, optional
        Standard error by default, so that results have standard output for themselves.
    """
    console = console or Console(stderr=True)
    bar = _Bar(title, console) if console.is_terminal else None
    show: Listener = _seldom(_BAR_SECONDS, bar.show) if bar else _lines(title, console)
    write: Listener | None = (
        _seldom(_FILE_SECONDS, lambda progress: write_json(file, progress.to_json()))
        if file is not None
        else None
    )

    def listener(progress: Progress) -> None:
        show(progress)
        if write is not None:
            write(progress)

    try:
        yield listener
    finally:
        if bar:
            bar.close()


class _Bar:
    def __init__(self, title: str, console: Console) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("samples{task.fields[rates]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            # Drawn by the thread that works: another one would be charged to the pipeline.
            auto_refresh=False,
        )
        self._task = self._bar.add_task(title, total=None, rates="")
        self._bar.start()

    def show(self, progress: Progress) -> None:
        total = progress.samples if progress.state == "complete" else progress.total
        rates = f", {progress.samples_per_second:,.0f}/s, {progress.mb_per_second:,.1f} MB/s"
        self._bar.update(
            self._task, completed=progress.samples, total=total, rates=rates, refresh=True
        )

    def close(self) -> None:
        self._bar.stop()


def _lines(title: str, console: Console) -> Listener:
    def show(progress: Progress) -> None:
        ended = "" if progress.state == "running" else f" {progress.state}:"
        console.print(f"{title}:{ended} {progress}", highlight=False, soft_wrap=True)

    return _seldom(_LINE_SECONDS, show)


def _seldom(seconds: float, listener: Listener) -> Listener:
    """Pass on at most one progress in each span of `seconds`, and every change of state."""
    last, state = time.monotonic() - seconds, ""

    def listen(progress: Progress) -> None:
        nonlocal last, state
        now = time.monotonic()
        if progress.state != state or now - last >= seconds:
            last, state = now, progress.state
            listener(progress)

    return listen
