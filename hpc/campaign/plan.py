"""Which processes a campaign is, and in which order: a pure value that any backend runs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from deeptool.errors import UserError
from deeptool.outcome import OUTCOME_VARIABLE
from hpc.broker.passwords import CLIENT_PROPERTIES, NAME
from hpc.campaign.definition import Campaign, Trials, Variant
from hpc.campaign.sampling import Value

Role = Literal["broker", "producer", "view", "trial"]

# Stands in a plan for the address that is known once the broker is up.
SERVER = "{broker}"
# The order in which a launch's processes are stopped: who reads, who writes, what they talk to.
STOP_ORDER: tuple[tuple[Role, ...], ...] = (("trial", "view"), ("producer",), ("broker",))
# How long an online trial waits for the uploads that begin when it does.
_ONLINE_SECONDS = 600
# Seconds that a process has to end by itself once it was asked to; the broker ends two servers.
GRACE: Mapping[Role, float] = {"broker": 45.0, "producer": 15.0, "view": 2.0, "trial": 15.0}


@dataclass(frozen=True)
class Task:
    """One process of a campaign.

    Attributes
    ----------
    name : str
        Unique in the campaign: ``broker``, ``producer-<procID>``, ``trial-<index>``.
    role, index
        What it is, and which one: a producer's procID, a trial's index.
    argv : tuple of str
        The command. Its first word is one of this project's, for the backend to find (or to put
        into a container); `SERVER` stands for the broker's address.
    after : tuple of str
        The tasks that must be complete first, or ready, where they are a broker.
    env : mapping
        Added to the environment.
    again : tuple of str
        The command instead of `argv` where an earlier run of the task has left something: a trial
        that can be resumed, a dataset that need not be replaced once more. Empty: `argv`.
    proc_id, hparams
        Of a trial: the dataset it reads (None: the shards, all of them), and its hparams.
    """

    name: str
    role: Role
    index: int
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    again: tuple[str, ...] = ()
    proc_id: int | None = None
    hparams: Mapping[str, Value] = field(default_factory=dict)

    @property
    def grace(self) -> float:
        """Seconds to end in, once asked to."""
        return GRACE[self.role]

    def command(self, server: str, *, again: bool = False) -> tuple[str, ...]:
        """`argv`, or `again`, for a broker's address."""
        return with_server((again and self.again) or self.argv, server)


def with_server(argv: Sequence[str], server: str) -> tuple[str, ...]:
    """A command for a broker's address."""
    return tuple(server if word == SERVER else word for word in argv)


@dataclass(frozen=True)
class Plan:
    """A campaign's processes, each after those that it needs.

    Attributes
    ----------
    name : str
        The campaign's.
    run_dir : Path
        The run folder.
    server : str or None
        The address of the existing Kafka, comma separated; None: the task ``broker`` says it.
    client_properties : Path or None
        The file with the client settings of that Kafka.
    tasks : tuple of Task
        In the order to start them.
    max_parallel : int
        Trials at a time.
    """

    name: str
    run_dir: Path
    server: str | None
    client_properties: Path | None
    tasks: tuple[Task, ...]
    max_parallel: int

    @property
    def connection(self) -> tuple[str, ...]:
        """The options of a ``deeptool`` command that lead it to the broker."""
        properties = self.client_properties
        file = () if properties is None else ("--client-properties", str(properties))
        return ("--server", SERVER, *file)

    def of(self, *roles: Role) -> tuple[Task, ...]:
        """The tasks of some roles."""
        return tuple(task for task in self.tasks if task.role in roles)

    def needed(self, done: Collection[str]) -> tuple[Task, ...]:
        """What is left to run when the trials in `done` need not: they, and all they come after."""
        last = self.of("trial") or self.of("producer")
        names = {task.name for task in last} - set(done)
        for task in reversed(self.tasks):
            if task.name in names:
                names |= set(task.after)
        return tuple(task for task in self.tasks if task.name in names)


def make_plan(campaign: Campaign, run_id: str, indices: Mapping[str, int] | None = None) -> Plan:
    """The processes of `campaign`.

    Parameters
    ----------
    campaign : Campaign
        What to run.
    run_id : str
        Stays the same when the campaign is launched again: it makes the producers' owner, who may
        take over his own interrupted uploads at once.
    indices : mapping of str to int, optional
        `trial_key` -> index of the trials that the run folder knows; new ones come after them.

    Raises
    ------
    UserError
        Listing all trials that no dataset, or more than one, is made for.
    """
    own = not campaign.broker.bootstrap_servers
    properties = campaign.broker.client_properties
    if campaign.secured:
        properties = secrets_folder(campaign) / CLIENT_PROPERTIES
    plan = Plan(
        name=campaign.name,
        run_dir=campaign.folder,
        server=None if own else ",".join(campaign.broker.bootstrap_servers),
        client_properties=properties,
        tasks=(_broker(campaign),) if own else (),
        max_parallel=campaign.trials.max_parallel if campaign.trials else 1,
    )
    producers = _producers(campaign, plan, run_id)
    trials = _trials(campaign, plan, dict(indices or {}), producers)
    tasks = (*plan.tasks, *producers, *trials)
    return replace(plan, tasks=tuple(_reporting(task, plan.run_dir) for task in tasks))


def outcome_file(run_dir: Path, name: str) -> Path:
    """Where the process of a task says how it ended: `deeptool.outcome`."""
    return run_dir / "jobs" / f"{name}.outcome.json"


def _reporting(task: Task, run_dir: Path) -> Task:
    """The task, told where to say how it ended: below the run folder, which images see too."""
    variable = {OUTCOME_VARIABLE: str(outcome_file(run_dir, task.name))}
    return replace(task, env={**task.env, **variable})


def trial_key(hparams: Mapping[str, Value], proc_id: int | None) -> str:
    """What makes a trial the same one in a later launch."""
    return json.dumps([proc_id, hparams], sort_keys=True)


def broker_folder(campaign: Campaign) -> Path:
    """Where the campaign's own broker keeps its files."""
    return campaign.broker.folder or campaign.folder / "broker"


def secrets_folder(campaign: Campaign) -> Path:
    """Where the password of the campaign's own broker is, and what is made from it."""
    return campaign.folder / "secrets"


def view_tasks(plan: Plan, uploads: Sequence[Mapping[str, Any]]) -> tuple[Task, ...]:
    """The processes that draw samples of stored datasets, for the report.

    Parameters
    ----------
    uploads : sequence of mapping
        Rows of ``deeptool inspect --json``.
    """
    tasks = (
        Task(
            name=f"view-{row['topic']}",
            role="view",
            index=int(row["proc_id"]),
            argv=(
                *("deeptool", "view", str(row["session"]), *plan.connection),
                *("--procID", str(row["proc_id"]), "--split", str(row["split"])),
                *("--output", str(plan.run_dir / "report" / f"samples_{row['topic']}.png")),
            ),
        )
        for row in uploads
        if row["split"] == "train"
    )
    return tuple(_reporting(task, plan.run_dir) for task in tasks)


def _hparams(hparams: Mapping[str, Value]) -> list[str]:
    return [word for key, value in hparams.items() for word in ("--hparam", f"{key}={value}")]


def _broker(campaign: Campaign) -> Task:
    broker = campaign.broker
    argv = ("deeptool-hpc", "broker", "up", "--dir", str(broker_folder(campaign)))
    options = ["--mode", broker.mode, "--memory", broker.memory]
    if campaign.secured:
        options += ["--secret", str(secrets_folder(campaign) / NAME)]
    if campaign.in_images:
        images = campaign.images
        options += ["--kafka-image", str(images.kafka), "--zookeeper-image", str(images.zookeeper)]
    return Task("broker", "broker", 0, (*argv, *options))


def _producers(campaign: Campaign, plan: Plan, run_id: str) -> list[Task]:
    options = campaign.producers
    if options.num_procs is not None:
        variants = [Variant(procID=index) for index in range(options.num_procs)]
        shards = ["--num-procs", str(options.num_procs)]
        shards += ["--auto-shard"] if options.auto_shard else []
    else:
        variants, shards = list(campaign.variants), []
    return [_producer(campaign, plan, run_id, variant, shards) for variant in variants]


def _producer(
    campaign: Campaign, plan: Plan, run_id: str, variant: Variant, shards: Sequence[str]
) -> Task:
    options, folder = campaign.producers, campaign.folder / "producers" / str(variant.procID)

    def command(taking: str) -> tuple[str, ...]:
        return (
            *("deeptool", "produce", "--usersettings", str(campaign.settings)),
            *("--procID", str(variant.procID), *shards, "--split", options.split),
            *_hparams({**campaign.hparams, **variant.hparams}),
            *("--epochs", str(options.epochs), "--codec", options.codec),
            *("--compression", options.compression, "--partitions", str(options.partitions)),
            *(taking, *plan.connection, "--progress-file", str(folder / "progress.json")),
        )

    return Task(
        name=f"producer-{variant.procID}",
        role="producer",
        index=variant.procID,
        argv=command("--replace" if options.replace else "--reuse"),
        again=command("--reuse"),
        after=tuple(task.name for task in plan.tasks),
        env={"DEEPTOOL_OWNER": f"campaign:{run_id}:producer-{variant.procID}"},
    )


def _trials(
    campaign: Campaign, plan: Plan, indices: dict[str, int], producers: Sequence[Task]
) -> list[Task]:
    trials = campaign.trials
    if trials is None:
        return []
    tasks, problems = [], []
    for row in trials.rows():
        if campaign.variants:
            fitting = [each for each in campaign.variants if _fits(row, each)]
            if len(fitting) != 1:
                found = ", ".join(f"procID {each.procID}" for each in fitting)
                problems.append(f"{row}: {f'several, {found}' if found else 'none'}")
                continue
            proc_id = fitting[0].procID
            hparams = {**campaign.hparams, **fitting[0].hparams, **row}
            hparams.pop("procID", None)
        else:
            proc_id = None
            hparams = {**campaign.hparams, **row}
        key = trial_key(hparams, proc_id)
        index = indices.setdefault(key, max(indices.values(), default=-1) + 1)
        after = [task.name for task in producers if proc_id in (None, task.index)]
        if trials.online:
            after = [task.name for task in plan.tasks]
        tasks.append(_trial(campaign, trials, plan, index, hparams, proc_id, tuple(after)))
    if problems:
        raise UserError(
            "each trial reads the one variant whose hparams are its own",
            seen="".join(f"\n    {line}" for line in problems),
            valid="; ".join(f"procID {each.procID}: {each.hparams}" for each in campaign.variants),
            next_step="say the missing hparams in [trials], or add a variant to [producers]",
        )
    return tasks


def _fits(row: Mapping[str, Value], variant: Variant) -> bool:
    made_under = {**variant.hparams, "procID": variant.procID}
    return all(row.get(key, value) == value for key, value in made_under.items())


def _trial(
    campaign: Campaign,
    trials: Trials,
    plan: Plan,
    index: int,
    hparams: Mapping[str, Value],
    proc_id: int | None,
    after: tuple[str, ...],
) -> Task:
    folder = str(campaign.folder / "trials" / str(index))
    return Task(
        name=f"trial-{index}",
        role="trial",
        index=index,
        argv=(
            *("deeptool", "train", "--usersettings", str(campaign.settings)),
            *(() if proc_id is None else ("--procID", str(proc_id))),
            *_hparams(hparams),
            *("--kafka", *plan.connection, "--session-dir", folder),
            *(("--online", "--wait", str(_ONLINE_SECONDS)) if trials.online else ()),
            *trials.options,
        ),
        after=after,
        # Under the settings, the hparams and the options that it began with.
        again=("deeptool", "train", "--restart_interrupted", "--model_dir", folder)
        + plan.connection,
        proc_id=proc_id,
        hparams=hparams,
    )
