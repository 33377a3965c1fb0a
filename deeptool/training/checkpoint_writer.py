"""Checkpoints are written to the disk while training continues: a copy of the values is enough."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deeptool.training import checkpoint


class CheckpointWriter:
    """Writes the checkpoints of a folder, one at a time.

    Parameters
    ----------
    folder : Path
        As `deeptool.training.checkpoint.save` takes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether one is being written."""
        return self._writing is not None and not self._writing.done()

    def begin(self, kept: checkpoint.Checkpoint) -> None:
        """Have a checkpoint written by another thread, after the one before it.

        Raises
        ------
        OSError
            The one before could not be written; nor is this one.
        """
        self.finish()
        self._writing = self._pool.submit(checkpoint.save, self._folder, kept)

    def write(self, kept: checkpoint.Checkpoint) -> None:
        """Write a checkpoint, and return when it is on the disk.

        Raises
        ------
        OSError
            It could not be written, or the one before.
        """
        self.begin(kept)
        self.finish()

    def finish(self) -> None:
        """Wait for the one that is being written.

        Raises
        ------
        OSError
            It could not be written.
        """
        writing = self._writing
        if writing is not None:
            # Kept until then: a signal may end the waiting, and whoever cleans up waits again.
            try:
                writing.result()
            except OSError:
                self._writing = None
                raise
            self._writing = None

    def close(self) -> None:
        """`finish`, for good."""
        try:
            self.finish()
        finally:
            self._pool.shutdown(wait=False)
