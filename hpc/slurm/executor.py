"""Submission to Slurm, through submitit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from deeptool.errors import UserError
from hpc.slurm import scheduler


class SlurmExecutor:
    """Submits batches to Slurm: each by one call of sbatch.

    Parameters
    ----------
    folder : Path
        For submitit's own files, on the file system that the nodes share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Jobs whose log folder is missing fail without a word.
        folder.mkdir(parents=True, exist_ok=True)

    def submit(
        self, works: Sequence[Callable[[], None]], parameters: Mapping[str, Any]
    ) -> list[str]:
        """Submit an array, or a job where there is one piece of work; returns the job ids.

        Parameters
        ----------
        works : sequence of callable
            What each array task calls; they are pickled.
        parameters : mapping
            As `hpc.slurm.batch.parameters` has them.

        Raises
        ------
        UserError
            When Slurm refuses the job.
        """
        executor = submitit.SlurmExecutor(self._folder)
        try:
            with scheduler.outside_jobs():
                executor.update_parameters(**parameters)
                if len(works) == 1:
                    return [executor.submit(works[0]).job_id]
                with executor.batch():
                    jobs = [executor.submit(work) for work in works]
        except submitit.core.utils.FailedJobError as error:
            raise UserError(
                "Slurm refuses a job of this campaign",
                seen=_refusal(error),
                valid=f"partitions: {', '.join(scheduler.partitions())}",
                next_step="correct [slurm] in the campaign or the site file",
            ) from error
        return [job.job_id for job in jobs]


def _refusal(error: Exception) -> str:
    """Of submitit's account of a failed sbatch, what Slurm said."""
    lines = [line for line in str(error).splitlines() if "sbatch: " in line]
    return "; ".join(line.split("sbatch: ")[-1] for line in lines) or str(error)
