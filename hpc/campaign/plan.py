"""Which processes a campaign is, and in which order: a pure value that any backend runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deeptool.errors import UserError
from deeptool.outcome import OUTCOME_VARIABLE
from hpc.broker.passwords import CLIENT_PROPERTIES, NAME
from hpc.campaign.definition import Campaign, Trials, Variant
from hpc.campaign.known_trials import Kept, trial_key
from hpc.campaign.sampling import Value
from hpc.campaign.task import SERVER, Role, Task
from hpc.campaign.uploads import PlannedUpload, planned_uploads
from hpc.campaign.versions import Versions, dataset_key

# How long an online trial waits for the uploads that begin when it does.
_ONLINE_SECONDS = 600
# Where a process finds the copies of the files that it reads instead of the files themselves.
SNAPSHOT_VARIABLE = "DEEPTOOL_SNAPSHOT"


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
        Where the data are: the address of the existing Kafka, comma separated, or the folder of a
        sealed dataset; None: the task ``broker`` says it.
    client_properties : Path or None
        The file with the client settings of that Kafka.
    tasks : tuple of Task
        In the order to start them.
    max_parallel : int
        Trials at a time.
    sealed : bool
        Whether `server` is the folder of a sealed dataset.
    """

    name: str
    run_dir: Path
    server: str | None
    client_properties: Path | None
    tasks: tuple[Task, ...]
    max_parallel: int
    sealed: bool = False

    @property
    def connection(self) -> tuple[str, ...]:
        """The options of ``deeptool train`` and ``plan`` that lead them to the data."""
        if self.sealed:
            return ("--from", self.server or "")
        properties = self.client_properties
        file = () if properties is None else ("--client-properties", str(properties))
        return ("--server", SERVER, *file)

    @property
    def inspected(self) -> tuple[str, ...]:
        """What ``deeptool inspect`` takes to list the data."""
        return (self.server or "",) if self.sealed else self.connection

    @property
    def others_mode(self) -> str:
        """What a summary says of a broker that is not the campaign's own."""
        return "sealed" if self.sealed else "existing"

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


def make_plan(
    campaign: Campaign,
    run_id: str,
    kept: Kept | None = None,
    versions: Versions | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    snapshot: Path | None = None,
    replace_others: bool = False,
) -> Plan:
    """The processes of `campaign`.

    Parameters
    ----------
    campaign : Campaign
        What to run.
    run_id : str
        Stays the same when the campaign is launched again: it makes the producers' owner, who may
        take over his own interrupted uploads at once.
    kept : Kept, optional
        The trials that the run folder knows.
    defaults : mapping, optional
        The hparams of the settings file.
    versions : Versions, optional
        What the files make now.
    snapshot : Path, optional
        The copies of the settings, the model and the user's modules that the processes read.
    replace_others : bool
        Whether producers replace a stored dataset that differs, whoever uploaded it.

    Raises
    ------
    UserError
        Listing all trials that no dataset, or more than one, is made for.
    """
    own, sealed = campaign.own_broker, campaign.data.sealed
    properties = campaign.broker.client_properties
    if campaign.secured:
        properties = secrets_folder(campaign) / CLIENT_PROPERTIES
    server = ",".join(campaign.broker.bootstrap_servers) if sealed is None else str(sealed)
    plan = Plan(
        name=campaign.name,
        run_dir=campaign.folder,
        server=None if own else server,
        client_properties=properties if sealed is None else None,
        tasks=(_broker(campaign),) if own else (),
        max_parallel=campaign.trials.max_parallel if campaign.trials else 1,
        sealed=sealed is not None,
    )
    producers = _producers(campaign, plan, run_id, replace_others)
    trials = _trials(campaign, plan, kept or Kept(), producers, defaults or {})
    now = {} if versions is None else versions.now
    tasks = [
        replace(
            task, version=now.get(dataset_key(task.proc_id), ""), env=_with_code(task, snapshot)
        )
        for task in (*producers, *trials)
    ]
    return replace(
        plan, tasks=tuple(reporting(task, plan.run_dir) for task in (*plan.tasks, *tasks))
    )


def _with_code(task: Task, snapshot: Path | None) -> dict[str, str]:
    """The environment in which a task reads the files as they were at the launch."""
    return {**task.env, **({} if snapshot is None else {SNAPSHOT_VARIABLE: str(snapshot)})}


def outcome_file(run_dir: Path, name: str) -> Path:
    """Where the process of a task says how it ended: `deeptool.outcome`."""
    return run_dir / "jobs" / f"{name}.outcome.json"


def reporting(task: Task, run_dir: Path) -> Task:
    """A task, told where to say how it ended: below the run folder, which images see too."""
    variable = {OUTCOME_VARIABLE: str(outcome_file(run_dir, task.name))}
    return replace(task, env={**task.env, **variable})


def broker_folder(campaign: Campaign) -> Path:
    """Where the campaign's own broker keeps its files."""
    return campaign.broker.folder or campaign.folder / "broker"


def secrets_folder(campaign: Campaign) -> Path:
    """Where the password of the campaign's own broker is, and what is made from it."""
    return campaign.folder / "secrets"


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


def _producers(campaign: Campaign, plan: Plan, run_id: str, replace_others: bool) -> list[Task]:
    options = campaign.producers
    if not campaign.uploads:
        return []
    reuse = "--reuse-any" if options.reuse == "always" else "--reuse"
    again = (reuse, "--replace") if replace_others and options.reuse == "verify" else (reuse,)
    first = ("--replace",) if options.replace else again
    return [
        _producer(campaign, plan, run_id, upload, (first, again))
        for upload in planned_uploads(campaign)
    ]


def _producer(
    campaign: Campaign,
    plan: Plan,
    run_id: str,
    upload: PlannedUpload,
    taking: tuple[Sequence[str], Sequence[str]],
) -> Task:
    """A producer; `taking` says what becomes of a stored dataset, at first and when run again."""
    options, folder = campaign.producers, campaign.folder / "producers" / str(upload.index)

    def command(taking: Sequence[str]) -> tuple[str, ...]:
        return (
            *("deeptool", "produce", "--usersettings", str(campaign.settings)),
            *(*upload.place, "--split", options.split),
            *_hparams({**campaign.hparams, **upload.hparams}),
            *("--epochs", str(options.epochs), "--codec", options.codec),
            *("--compression", options.compression, "--partitions", str(options.partitions)),
            *(*taking, *plan.connection, "--progress-file", str(folder / "progress.json")),
        )

    return Task(
        name=f"producer-{upload.index}",
        role="producer",
        index=upload.index,
        argv=command(taking[0]),
        again=command(taking[1]),
        after=tuple(task.name for task in plan.tasks),
        env={"DEEPTOOL_OWNER": f"campaign:{run_id}:producer-{upload.index}"},
        proc_id=upload.proc_id,
    )


def _trials(
    campaign: Campaign,
    plan: Plan,
    kept: Kept,
    producers: Sequence[Task],
    defaults: Mapping[str, Any],
) -> list[Task]:
    trials = campaign.trials
    if trials is None:
        return []
    indices, first_new = dict(kept.indices), kept.first_new
    tasks, problems, planned = [], [], set[str]()
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
        key = trial_key(hparams, proc_id, defaults)
        if key in planned:
            # Another row that differs in nothing but that it names a value of the file.
            continue
        planned.add(key)
        index = indices.setdefault(key, first_new)
        first_new += index == first_new
        after = [task.name for task in producers if proc_id == task.proc_id]
        if trials.online or not producers:
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


def _variant_option(campaign: Campaign) -> str:
    """By which option a trial names the variant that it reads."""
    return "--procID" if campaign.producers.num_procs is None else "--variant"


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
            *(() if proc_id is None else (_variant_option(campaign), str(proc_id))),
            *_hparams(hparams),
            *(() if plan.sealed else ("--kafka",)),
            *(*plan.connection, "--session-dir", folder),
            *(("--online", "--wait", str(_ONLINE_SECONDS)) if trials.online else ()),
            *(() if trials.order == "auto" else ("--order", trials.order)),
            *(() if trials.cache == "auto" else ("--cache", trials.cache)),
            *trials.options,
        ),
        after=after,
        # Under the settings, the hparams and the options that it began with.
        again=("deeptool", "train", "--restart_interrupted", "--model_dir", folder)
        + plan.connection,
        proc_id=proc_id,
        hparams=hparams,
    )
