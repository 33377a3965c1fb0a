"""A campaign on Slurm as text: scripts, commands and properties, as they would be submitted."""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path

from hpc.broker.broker_options import PRIVATE
from hpc.broker.node import BrokerNode
from hpc.broker.servers import (
    IN_IMAGE,
    BrokerSetup,
    DataState,
    Runtime,
    ServerFile,
    common_files,
    start_order,
)
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan
from hpc.campaign.task import SERVER, Task
from hpc.campaign.task_container import task_container
from hpc.processes.apptainer import Images
from hpc.processes.service import GUARD, guarded
from hpc.slurm.batch import Batch, make_batches, parameters
from hpc.slurm.job_names import JobNames
from hpc.slurm.sbatch_script import sbatch_script
from hpc.slurm.worker import task_environment

# What a site's Slurm says is not asked for here.
_LARGEST = 1001
_PROGRAM = "apptainer"
# Where the cache of the node has them is known there.
_RUNTIME = Runtime(Path("<java>"), Path("<jars>"), Path("<class archive>"))


def render_slurm(campaign: Campaign, plan: Plan) -> str:
    """Every sbatch script, command, and file of a broker that a launch on Slurm comes to.

    They are made by the functions that the jobs themselves call. Job ids, hosts and the password,
    which are not known before, stand as ``<...>``, ports as 0.
    """
    batches = make_batches(campaign, plan, plan.tasks, _LARGEST)
    ids = {batch.name: f"<job of {batch.name}>" for batch in batches}
    folder = campaign.folder / "logs" / "submitit"
    parts = [f"campaign {plan.name}: {len(batches)} calls of sbatch, in {plan.run_dir}"]
    if campaign.in_images:
        parts.append(f"guard={shlex.quote(GUARD)}")
    for batch in batches:
        asked = parameters(batch, JobNames("<run id>", plan.name), ids)
        count = max(1, len(batch.tasks))
        walltime = f"walltime {timedelta(minutes=asked['time'])}"
        parts += [f"==== {batch.name}, {walltime}", sbatch_script(asked, count, folder).rstrip()]
        if batch.name == "broker":
            parts += [_broker(campaign, node) for node in range(campaign.broker.count)]
        else:
            parts += [_command(campaign, batch, task) for task in batch.tasks]
    return "\n\n".join(parts)


def _command(campaign: Campaign, batch: Batch, task: Task) -> str:
    box = task_container(campaign)
    argv = task.argv
    env = {key: value for key, value in task_environment(task, None).items() if value is not None}
    if box is not None:
        argv = guarded(box.argv(argv, _PROGRAM, nv=batch.resources.has_gpus))
        env = box.environment(env, _PROGRAM)
    lines = [f"-- {task.name}"]
    lines += [f"{key}={shlex.quote(value)} \\" for key, value in env.items()]
    words = [word if word == SERVER else shlex.quote(word) for word in argv]
    return "\n".join([*lines, _short(" ".join(words))])


def _broker(campaign: Campaign, node: int) -> str:
    """What one node of the broker's job writes and runs on a new folder."""
    setup = _setup(campaign, node)
    writes_user = campaign.secured and node == 0
    fresh = DataState(formatted=False, user_missing=writes_user, new_cluster_id="<cluster id>")
    parts = [_file(file, node) for file in common_files(setup)]
    for process in start_order(setup, fresh):
        parts += [_file(file, node) for file in process.files if _file(file, node) not in parts]
        command = shlex.join(guarded(process.argv) if process.guard else process.argv)
        parts.append(f"-- {process.name} of node {node}\n{_short(command)}")
    return "\n\n".join(parts)


def _setup(campaign: Campaign, node: int) -> BrokerSetup:
    broker, images = campaign.broker, campaign.images
    home = broker.folder or Path("<scratch>")
    if node and broker.folder:
        home = home / f"node-{node}"
    return BrokerSetup(
        BrokerNode(
            mode=broker.mode,
            host="<host>",
            port=0,
            metadata_port=0,
            data=home / "data",
            node=node,
            replication=broker.replication,
            metadata_host="<host of node 0>" if node else None,
            jaas=home / PRIVATE / "jaas.conf" if campaign.secured else None,
        ),
        home,
        IN_IMAGE if campaign.in_images else _RUNTIME,
        broker.memory,
        Images(images.kafka, images.zookeeper, _PROGRAM) if campaign.in_images else None,
        "<password>" if campaign.secured else None,
    )


def _file(file: ServerFile, node: int) -> str:
    return f"-- {file.path.name} of node {node}\n{file.text.rstrip()}"


def _short(command: str) -> str:
    """A command line that names the guard's script, which stands once at the top."""
    return command.replace(shlex.quote(GUARD), '"$guard"')
