"""The plan of a campaign: which processes, in which order, as a value."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from deeptool.errors import UserError
from hpc.campaign.definition import Campaign
from hpc.campaign.known_trials import Kept, trial_key
from hpc.campaign.plan import Plan, make_plan
from hpc.campaign.task_container import task_container
from hpc.campaign.toml_file import load, parse
from hpc.campaign.versions import made_under
from hpc.campaign.view_tasks import view_tasks
from hpc.local.plan_text import plan_text

GOLDEN = Path(__file__).parent / "golden"

VARIANTS = {
    "variants": [
        {"procID": 0, "hparams": {"size": 16}},
        {"procID": 3, "hparams": {"size": 32}},
    ]
}


@pytest.fixture
def campaign(tmp_path: Path) -> Any:
    (tmp_path / "settings.py").write_text("")

    def make(**parts: Any) -> Campaign:
        raw = {"name": "c", "settings": "settings.py", "run_dir": "/runs/c", **parts}
        return parse(raw, tmp_path / "c.toml")

    return make


@pytest.mark.parametrize("name", ["digits", "shards"])
def test_golden(name: str) -> None:
    plan = make_plan(load(ROOT / f"examples/campaigns/{name}.toml", run_dir=Path("/runs/x")), "id")
    text = plan_text(plan).replace(str(ROOT), "<repository>") + "\n"
    assert text == (GOLDEN / f"{name}.plan").read_text()


def names(plan: Plan) -> list[str]:
    return [task.name for task in plan.tasks]


def words(plan: Plan, name: str) -> str:
    (task,) = [task for task in plan.tasks if task.name == name]
    return " ".join(task.argv)


def test_a_trial_reads_the_variant_that_it_fits(campaign: Any) -> None:
    rows = [{"size": 32, "lr": 1}, {"size": 16}, {"procID": 3}]
    plan = make_plan(
        campaign(hparams={"nbEpoch": 2}, producers=VARIANTS, trials={"list": rows}), "id"
    )
    assert names(plan) == ["broker", "producer-0", "producer-3", "trial-0", "trial-1", "trial-2"]
    trials = plan.of("trial")
    assert [task.proc_id for task in trials] == [3, 0, 3]
    assert [task.after for task in trials] == [("producer-3",), ("producer-0",), ("producer-3",)]
    # A trial that does not say a data hparam takes that of its variant.
    assert [task.hparams for task in trials] == [
        {"nbEpoch": 2, "size": 32, "lr": 1},
        {"nbEpoch": 2, "size": 16},
        {"nbEpoch": 2, "size": 32},
    ]
    assert "--procID 3 --hparam nbEpoch=2 --hparam size=32 --hparam lr=1" in words(plan, "trial-0")
    assert "--procID 3 --split both --hparam nbEpoch=2 --hparam size=32 " in words(
        plan, "producer-3"
    )


def test_trials_that_fit_no_variant_or_several_are_all_named(campaign: Any) -> None:
    rows = [{"size": 16}, {"size": 64}, {"lr": 1}]
    with pytest.raises(UserError) as caught:
        make_plan(campaign(producers=VARIANTS, trials={"list": rows}), "id")
    text = str(caught.value)
    assert "{'size': 64}: none" in text
    assert "{'lr': 1}: several, procID 0, procID 3" in text
    assert "{'size': 16}:" not in text
    assert "procID 0: {'size': 16}; procID 3: {'size': 32}" in text


def test_shards_are_read_together(campaign: Any) -> None:
    plan = make_plan(
        campaign(
            producers={"num_procs": 2, "auto_shard": True, "epochs": 3, "codec": "example"},
            trials={"grid": {"lr": [1]}},
        ),
        "id",
    )
    assert names(plan) == ["broker", "producer-0", "producer-1", "trial-0"]
    assert plan.tasks[-1].after == ("producer-0", "producer-1")
    assert "--procID" not in words(plan, "trial-0")
    assert "--procID 1 --num-procs 2 --auto-shard" in words(plan, "producer-1")
    assert "--epochs 3 --codec example" in words(plan, "producer-1")


def test_an_existing_kafka_needs_no_broker(campaign: Any, tmp_path: Path) -> None:
    (tmp_path / "client").write_text("")
    broker = {"bootstrap_servers": ["a:1", "b:2"], "client_properties": "client"}
    plan = make_plan(campaign(broker=broker, trials={"grid": {"lr": [1]}}), "id")
    assert names(plan) == ["producer-0", "trial-0"]
    assert plan.tasks[0].after == ()
    assert plan.server == "a:1,b:2"
    command = plan.tasks[1].command(plan.server)
    assert command[command.index("--server") + 1] == "a:1,b:2"
    assert command[command.index("--client-properties") + 1] == str(tmp_path / "client")


def test_shards_of_each_variant(campaign: Any) -> None:
    made = {**VARIANTS, "num_procs": 2, "auto_shard": True}
    plan = make_plan(campaign(producers=made, trials={"grid": {"size": [16, 32]}}), "id")
    producers = plan.of("producer")
    assert [task.name for task in producers] == [f"producer-{index}" for index in range(4)]
    assert [task.proc_id for task in producers] == [0, 0, 3, 3]
    last = words(plan, "producer-3")
    assert "--procID 1 --num-procs 2 --auto-shard --variant 3 --split both" in last
    assert "--hparam size=32" in last
    first, second = plan.of("trial")
    assert "--variant 0" in words(plan, first.name)
    assert "--procID" not in words(plan, second.name)
    assert second.after == ("producer-2", "producer-3")
    assert plan.needed([first.name]) == (plan.tasks[0], *producers[2:], second)


def test_owners_stay_the_same_from_launch_to_launch(campaign: Any) -> None:
    first, again = (make_plan(campaign(producers=VARIANTS), "run") for _ in range(2))
    assert first == again
    owners = [task.env["DEEPTOOL_OWNER"] for task in first.of("producer")]
    assert owners == ["campaign:run:producer-0", "campaign:run:producer-3"]
    other = make_plan(campaign(producers=VARIANTS), "other")
    assert other.tasks[1].env != first.tasks[1].env


def test_known_trials_keep_their_index_and_new_ones_come_after(campaign: Any) -> None:
    known = {trial_key({"lr": 2}, 0, {}): 0, trial_key({"lr": 9}, 0, {}): 5}
    plan = make_plan(campaign(trials={"grid": {"lr": [1, 2, 3]}}), "id", Kept(known, 6))
    assert {task.name: task.hparams["lr"] for task in plan.of("trial")} == {
        "trial-6": 1,
        "trial-0": 2,
        "trial-7": 3,
    }
    assert "/runs/c/trials/6" in words(plan, "trial-6")


def test_a_trial_that_names_a_value_of_the_file_is_the_one_that_does_not(campaign: Any) -> None:
    defaults = {"lr": 2.0, "flag": True}
    known = {trial_key({"size": 8}, 0, defaults): 4}
    trials = {"list": [{"size": 8, "lr": 2}, {"size": 8}, {"size": 8, "flag": 1}]}
    plan = make_plan(campaign(trials=trials), "id", Kept(known, 5), defaults=defaults)
    assert [task.name for task in plan.of("trial")] == ["trial-4", "trial-5"]


def test_what_is_needed_for_the_trials_that_are_left(campaign: Any) -> None:
    plan = make_plan(campaign(producers=VARIANTS, trials={"grid": {"size": [16, 32]}}), "id")
    assert [task.name for task in plan.needed([])] == names(plan)
    assert [task.name for task in plan.needed(["trial-0"])] == ["broker", "producer-3", "trial-1"]
    assert plan.needed(["trial-0", "trial-1"]) == ()
    uploads = make_plan(campaign(producers=VARIANTS), "id")
    assert names(uploads) == ["broker", "producer-0", "producer-3"]
    assert uploads.needed([]) == uploads.tasks


def test_commands_for_what_an_earlier_launch_left(campaign: Any) -> None:
    options = {"options": ["--reader", "tfio"], "grid": {"lr": [1]}}
    plan = make_plan(campaign(trials=options, producers={"replace": True}), "id")
    _, producer, trial = plan.tasks
    assert trial.command("h:1")[-2:] == ("--reader", "tfio")
    # Under the settings, the hparams and the options that it began with.
    assert trial.command("h:1", again=True) == (
        *("deeptool", "train", "--restart_interrupted", "--model_dir", "/runs/c/trials/0"),
        *("--server", "h:1"),
    )
    assert "--replace" in producer.command("h:1")
    assert "--replace" not in producer.command("h:1", again=True)
    assert plan.tasks[0].command("h:1", again=True) == plan.tasks[0].argv


def test_how_trials_shuffle_and_where_copies_are(campaign: Any, tmp_path: Path) -> None:
    plain = campaign(trials={"grid": {"lr": [1]}})
    assert not {"--order", "--cache"} & set(words(make_plan(plain, "id"), "trial-0").split())
    said = {"grid": {"lr": [1]}, "order": "global", "cache": str(tmp_path)}
    said_words = words(make_plan(campaign(trials=said), "id"), "trial-0")
    assert f"--order global --cache {tmp_path}" in said_words
    assert made_under(plain) == made_under(campaign(trials={**said, "order": "auto"}))
    assert made_under(campaign(trials=said))["trials.order"] == "global"


def test_pictures_of_what_was_stored(campaign: Any) -> None:
    plan = make_plan(campaign(), "id")
    rows = [
        {"topic": f"s.0.{split}", "session": "s", "proc_id": 0, "split": split}
        for split in ("train", "val")
    ]
    (task,) = view_tasks(plan, rows)
    assert task.command("h:1") == (
        *("deeptool", "view", "s", "--server", "h:1", "--procID", "0", "--split", "train"),
        *("--output", "/runs/c/report/samples_s.0.train.png"),
    )


def test_trials_of_a_sealed_dataset(campaign: Any, tmp_path: Path) -> None:
    sealed = tmp_path / "digits"
    sealed.mkdir()
    made = campaign(
        data={"sealed": "digits"},
        producers=VARIANTS,
        trials={"list": [{"size": 32}]},
        backend="slurm",
        images={"use": True},
    )
    plan = make_plan(made, "id")
    # Neither a broker nor producers: nothing to wait for.
    assert names(plan) == ["trial-0"]
    (task,) = plan.tasks
    assert task.after == ()
    assert (plan.server, plan.client_properties, plan.sealed) == (str(sealed), None, True)
    command = " ".join(task.command(plan.server or ""))
    assert f"--procID 3 --hparam size=32 --from {sealed} --session-dir /runs/c/trials/0" in command
    assert "--kafka" not in command
    assert "--server" not in command
    resumed = ("--restart_interrupted", "--model_dir", "/runs/c/trials/0", "--from", str(sealed))
    assert task.command(plan.server or "", again=True)[2:] == resumed
    assert f"on the sealed dataset in {sealed}" in plan_text(plan)
    (view,) = view_tasks(plan, [{"topic": "t", "session": "s", "proc_id": 3, "split": "train"}])
    assert view.command(plan.server or "")[:5] == ("deeptool", "view", str(sealed), "--procID", "3")
    container = task_container(made)
    assert container is not None
    assert sealed in container.binds


def test_a_plan_is_frozen(campaign: Any) -> None:
    plan = make_plan(campaign(), "id")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.max_parallel = 3  # type: ignore[misc]
