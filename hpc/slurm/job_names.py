"""What Slurm calls the jobs of a run: for people the campaign, for programs the run's id."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JobNames:
    """The names of a run's jobs. No other run has such names, whatever its campaign is called.

    Attributes
    ----------
    run_id : str
        The run's, by which its jobs are found again.
    campaign : str
        Comes first, since squeue cuts names off. A campaign may change its name.
    """

    run_id: str
    campaign: str = ""

    def of(self, batch: str) -> str:
        """The name of a batch's jobs."""
        return f"{self.campaign}-{batch}-{self.run_id}"

    def has(self, name: str, batch: str = "") -> bool:
        """Whether a job of this name is one of the run's, and of its batch, where that is said."""
        return name.endswith(f"-{batch}-{self.run_id}" if batch else f"-{self.run_id}")

    def label(self, name: str) -> str:
        """The name of one of the run's jobs without the id."""
        return name.removesuffix(f"-{self.run_id}")
