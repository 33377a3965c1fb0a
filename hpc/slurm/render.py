"""A campaign on Slurm as text: scripts, commands and properties, as they would be submitted."""

from __future__ import annotations

import shlex
from pathlib import Path

from hpc.broker import kafka
from hpc.broker.options import PRIVATE
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import SERVER, Plan, Task
from hpc.campaign.task_container import task_container
from hpc.processes.apptainer import exec_argv
from hpc.slurm.batch import Batch, make_batches, parameters
from hpc.slurm.executor import sbatch_text

# What a site's Slurm says is not asked for here.
_LARGEST = 1001
_PROGRAM = "apptainer"


def render_slurm(campaign: Campaign, plan: Plan) -> str:
    """Every sbatch script, container command and broker property of a campaign.

    Job ids, hosts and ports, which are not known before, stand as ``<...>``.
    """
    batches = make_batches(campaign, plan, plan.tasks, _LARGEST)
    ids = {batch.name: f"<job of {batch.name}>" for batch in batches}
    folder = campaign.folder / "logs" / "submitit"
    parts = [f"campaign {plan.name}: {len(batches)} calls of sbatch, in {plan.run_dir}"]
    for batch in batches:
        asked = parameters(batch, "<run id>", ids)
        count = max(1, len(batch.tasks))
        parts += [f"==== {batch.name}", sbatch_text(asked, count, folder).rstrip()]
        if batch.name == "broker":
            parts += [_broker(campaign, node) for node in range(campaign.broker.count)]
        else:
            parts += [_command(campaign, batch, task) for task in batch.tasks]
    return "\n\n".join(parts)


def _command(campaign: Campaign, batch: Batch, task: Task) -> str:
    box = task_container(campaign)
    argv = task.argv
    env = dict(task.env)
    if box is not None:
        argv = box.argv(argv, _PROGRAM, nv=bool(batch.resources.gpus))
        env = box.environment(env, _PROGRAM)
    lines = [f"-- {task.name}"]
    lines += [f"{key}={shlex.quote(value)} \\" for key, value in env.items()]
    words = [word if word == SERVER else shlex.quote(word) for word in argv]
    return "\n".join([*lines, " ".join(words)])


def _broker(campaign: Campaign, node: int) -> str:
    broker = campaign.broker
    home = broker.folder or Path("<scratch>")
    if node and broker.folder:
        home = home / f"node-{node}"
    settled = kafka.Kafka(
        mode=broker.mode,
        host="<host>",
        port=0,
        metadata_port=0,
        data=home / "data",
        node=node,
        replication=broker.replication,
        metadata_host="<host of node 0>" if node else None,
        jaas=home / PRIVATE / "jaas.conf" if campaign.secured else None,
    )
    texts = {"broker.properties": kafka.broker_properties(settled)}
    mains = {"broker": (kafka.BROKER_MAIN, broker.memory)}
    if broker.mode == "zookeeper" and node == 0:
        texts["zookeeper.properties"] = kafka.zookeeper_properties(settled)
        mains["zookeeper"] = (kafka.ZOOKEEPER_MAIN, "128m")
    parts = [f"-- {file} of node {node}\n{text.rstrip()}" for file, text in texts.items()]
    for name, (main, heap) in mains.items():
        argv: tuple[str, ...] = tuple(
            kafka.java_argv(
                kafka.IN_IMAGE if campaign.in_images else kafka.Runtime(Path("java"), Path("jars")),
                main,
                [home / f"{name}.properties"],
                home=home,
                heap=heap,
                jaas=settled.jaas,
            )
        )
        if campaign.in_images:
            image = getattr(campaign.images, "zookeeper" if name == "zookeeper" else "kafka")
            argv = exec_argv(_PROGRAM, image, argv, binds=[home], pid=True)
        parts.append(f"-- {name} of node {node}\n{shlex.join(argv)}")
    return "\n\n".join(parts)
