"""A plan as calls of sbatch: which tasks share a job array, and which array waits for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan
from hpc.campaign.task import Task
from hpc.slurm.job_names import JobNames
from hpc.slurm.resources import Resources, minutes, slurm_options
from hpc.slurm.scheduler import chunks

Dependency = Literal["after", "afterok", "afterany"]

# Before the walltime ends Slurm warns a job so many seconds ahead.
WARNING_SECONDS = 90
_FINISH_MINUTES = "15"


@dataclass(frozen=True)
class Batch:
    """One call of sbatch: a job, or an array of jobs.

    Attributes
    ----------
    name : str
        ``broker``, ``producers``, ``trials`` (``trials-1``, ... where one array cannot hold all),
        ``finish``.
    tasks : tuple of Task
        Those of the array, in the order of its indices; of ``finish`` none.
    after : tuple
        Slurm's dependencies: kind and the batch that is waited for.
    resources : Resources
        Of each job.
    parallel : int
        Array tasks at a time.
    nodes : int
        Of each job.
    requeue : bool
        Whether Slurm may start it again.
    """

    name: str
    tasks: tuple[Task, ...]
    after: tuple[tuple[Dependency, str], ...]
    resources: Resources
    parallel: int = 1
    nodes: int = 1
    requeue: bool = True


def make_batches(
    campaign: Campaign, plan: Plan, tasks: Sequence[Task], largest: int
) -> tuple[Batch, ...]:
    """The fewest calls of sbatch that run `tasks`, in the order to make them.

    Parameters
    ----------
    campaign, plan
        What is run.
    tasks : sequence of Task
        What of the plan is to run; a broker that is up already is not among them.
    largest : int
        How many tasks an array can have: Slurm's MaxArraySize.
    """
    slurm, broker = slurm_options(campaign), campaign.broker
    of = {role: [task for task in tasks if task.role == role] for role in ("broker", "producer")}
    batches: list[Batch] = []
    ready: tuple[tuple[Dependency, str], ...] = ()
    if of["broker"]:
        resources = slurm.role("broker")
        # A new start would find nothing of data that went with the job.
        requeue = broker.folder is not None
        batches.append(
            Batch("broker", tuple(of["broker"]), (), resources, 1, broker.count, requeue)
        )
        ready = (("after", "broker"),)
    # A batch that waits for another one runs none of its tasks before all of that one's are done:
    # so the pieces of an array come one after the other, and no more tasks run at a time than said.
    uploads = _pieces("producers", of["producer"], ready, slurm.role("producers"), largest)
    batches += uploads
    complete: list[tuple[Dependency, str]] = [("afterok", batch.name) for batch in uploads]
    online = campaign.trials is not None and campaign.trials.online
    trials = [task for task in tasks if task.role == "trial"]
    resources = slurm.role("train")
    after = ready if online or not uploads else tuple(complete)
    searches = _pieces("trials", trials, after, resources, largest, plan.max_parallel)
    batches += searches
    ends: list[tuple[Dependency, str]] = [
        ("afterany", batch.name) for batch in (*searches, *(uploads if online else ()))
    ]
    if not trials:
        ends = [("afterany", batch.name) for batch in uploads]
    small = Resources(cpus=1, time=_FINISH_MINUTES)
    base = {"partition": slurm.partition, "account": slurm.account, "setup": slurm.setup}
    finish = small.model_copy(update={**base, "extra": slurm.extra_but_gpus})
    return (*batches, Batch("finish", (), tuple(ends), finish))


def _pieces(
    name: str,
    tasks: Sequence[Task],
    after: tuple[tuple[Dependency, str], ...],
    resources: Resources,
    largest: int,
    parallel: int | None = None,
) -> list[Batch]:
    pieces: list[Batch] = []
    for number, piece in enumerate(chunks(len(tasks), largest)):
        chosen = tuple(tasks[piece.start : piece.stop])
        batch = Batch(name, chosen, after, resources, parallel or len(chosen))
        if pieces:
            before: tuple[Dependency, str] = ("afterany", pieces[-1].name)
            batch = replace(batch, name=f"{name}-{number}", after=(*after, before))
        pieces.append(batch)
    return pieces


def parameters(batch: Batch, names: JobNames, ids: dict[str, str]) -> dict[str, Any]:
    """The parameters of a batch for submitit's Slurm executor.

    Parameters
    ----------
    batch : Batch
        The batch.
    names : JobNames
        Of the run's jobs.
    ids : dict
        Batch -> job id of those submitted before it.
    """
    asked = batch.resources
    waits = [f"{kind}:{ids[name]}" for kind, name in batch.after if name in ids]
    extra = dict(asked.extra)
    if "dependency" in extra:
        waits.append(str(extra.pop("dependency")))
    values: dict[str, Any] = {
        "job_name": names.of(batch.name),
        "time": minutes(asked.time or _FINISH_MINUTES),
        "partition": asked.partition,
        "account": asked.account,
        "cpus_per_task": asked.cpus,
        "mem": asked.memory,
        "gpus_per_node": asked.gpus or None,
        "nodes": batch.nodes,
        "ntasks_per_node": 1,
        "setup": list(asked.setup) or None,
        "dependency": ",".join(waits) or None,
        "array_parallelism": batch.parallel,
        "signal_delay_s": WARNING_SECONDS,
        "stderr_to_stdout": True,
        # submitit would name its own, which a site that checks such keys refuses.
        "wckey": None,
        # srun does not take it over from sbatch by itself.
        "srun_args": [f"--cpus-per-task={asked.cpus}"] if asked.cpus else None,
        "additional_parameters": {
            "kill-on-invalid-dep": "yes",
            ("requeue" if batch.requeue else "no-requeue"): True,
            **extra,
        },
    }
    return {key: value for key, value in values.items() if value is not None or key == "wckey"}
