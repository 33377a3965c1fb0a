"""What a trial says while it runs: a line an epoch, and on a terminal a bar within it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """Writes to standard error, so that results have standard output for themselves.

    Parameters
    ----------
    verbose : bool
        False: `say` only.
    """

    def __init__(self, verbose: bool) -> None:
        self._console = Console(stderr=True)
        self._verbose = verbose
        self._bar: Progress | None = None
        self._last = ""

    def say(self, text: str) -> None:
        """One line, but not the same one twice in a row."""
        if text != self._last:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._last = text

    def begin(self, epoch: int, epochs: int, steps: int | None) -> None:
        """An epoch begins; it is counted from 1."""
        if not self._verbose or not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            # Drawn by the thread that trains, now and then.
            auto_refresh=False,
        )
        self._bar.add_task(f"epoch {epoch}/{epochs}", total=steps)
        self._bar.start()

    def step(self, step: int) -> None:
        """So many batches of the epoch are done."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, refresh=True)

    def end(self, epoch: int, epochs: int, metrics: Mapping[str, float], seconds: float) -> None:
        """An epoch ended."""
        self.close()
        if self._verbose:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self.say(f"epoch {epoch}/{epochs}  {shown}  {seconds:.1f} s")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
