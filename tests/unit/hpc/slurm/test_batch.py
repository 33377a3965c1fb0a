"""Plans as calls of sbatch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from deeptool.errors import UserError
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, make_plan
from hpc.campaign.toml_file import load, parse
from hpc.slurm.batch import Batch, make_batches, parameters
from hpc.slurm.job_names import JobNames
from hpc.slurm.render import render_slurm

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def campaign(tmp_path: Path) -> Any:
    (tmp_path / "settings.py").write_text("")

    def make(**parts: Any) -> Campaign:
        raw = {"name": "c", "settings": "settings.py", "run_dir": "/runs/c", "backend": "slurm"}
        return parse({**raw, "slurm": {"time": 60}, **parts}, tmp_path / "c.toml")

    return make


def batches(campaign: Campaign, largest: int = 1001) -> tuple[Plan, dict[str, Batch]]:
    plan = make_plan(campaign, "id")
    made = make_batches(campaign, plan, plan.tasks, largest)
    return plan, {batch.name: batch for batch in made}


def test_a_thousand_trials_are_one_array(campaign: Any) -> None:
    grid = {"lr": [n / 1000 for n in range(1, 1001)]}
    plan, made = batches(campaign(trials={"grid": grid, "max_parallel": 16}))
    assert list(made) == ["broker", "producers", "trials", "finish"]
    assert made["trials"].tasks == plan.of("trial")
    assert made["trials"].after == (("afterok", "producers"),)
    assert made["producers"].after == (("after", "broker"),)
    assert made["finish"].after == (("afterany", "trials"),)
    assert (made["trials"].parallel, made["trials"].resources.gpus) == (16, 1)


def test_arrays_are_split_at_the_limit_and_stay_in_order(campaign: Any) -> None:
    grid = {"lr": [float(n) for n in range(1, 14)]}
    plan, made = batches(campaign(trials={"grid": grid, "max_parallel": 3}), largest=5)
    pieces = [made[name] for name in ("trials", "trials-1", "trials-2")]
    assert [len(piece.tasks) for piece in pieces] == [5, 5, 3]
    assert sum((piece.tasks for piece in pieces), ()) == plan.of("trial")
    # Never more than three at a time: one piece after the other.
    assert pieces[1].after == (("afterok", "producers"), ("afterany", "trials"))
    assert pieces[2].after == (("afterok", "producers"), ("afterany", "trials-1"))
    assert ("afterany", "trials-2") in made["finish"].after


def test_trials_without_producers_begin_with_the_broker(campaign: Any) -> None:
    trials = {"grid": {"lr": [1, 2]}}
    _, made = batches(campaign(trials=trials, producers={"upload": False}))
    assert list(made) == ["broker", "trials", "finish"]
    assert made["trials"].after == (("after", "broker"),)


def test_jobs_are_told_where_the_copies_of_the_files_are(campaign: Any) -> None:
    made = campaign(trials={"grid": {"lr": [1]}}, images={"use": True})
    plan = make_plan(made, "id", snapshot=Path("/runs/c/code/12ab"))
    text = render_slurm(made, plan)
    # The run folder is bound, so that they are there in the image too.
    assert text.count("APPTAINERENV_DEEPTOOL_SNAPSHOT=/runs/c/code/12ab") == 2
    assert "--bind /runs/c" in text


def test_online_trials_begin_with_the_uploads(campaign: Any) -> None:
    plan, made = batches(campaign(trials={"list": [{"lr": 0.1}], "online": True}))
    assert made["trials"].after == (("after", "broker"),)
    assert set(made["finish"].after) == {("afterany", "trials"), ("afterany", "producers")}
    assert "--online" in plan.of("trial")[0].argv


def test_a_kafka_of_the_site_needs_no_broker_job(campaign: Any) -> None:
    _, made = batches(campaign(broker={"bootstrap_servers": ["k:9092"]}))
    assert list(made) == ["producers", "finish"]
    assert made["producers"].after == ()
    assert made["finish"].after == (("afterany", "producers"),)


def test_what_sbatch_is_told(campaign: Any) -> None:
    slurm = {"time": "1:00:00", "account": "a", "extra": {"cpu_freq": "high"}}
    made = batches(campaign(slurm=slurm, broker={"count": 2, "replication": 2}))[1]
    told = parameters(made["producers"], JobNames("id", "c"), {"broker": "7"})
    assert told["dependency"] == "after:7"
    assert told["time"] == 60
    assert told["job_name"] == "c-producers-id"
    more = told["additional_parameters"]
    assert more["kill-on-invalid-dep"] == "yes"
    assert more["requeue"] is True
    assert more["cpu-freq"] == "high"
    broker = parameters(made["broker"], JobNames("id"), {})
    assert broker["nodes"] == 2
    # Its data would be gone at a second start.
    assert "no-requeue" in broker["additional_parameters"]
    kept = batches(campaign(broker={"folder": "/data"}))[1]["broker"]
    assert "requeue" in parameters(kept, JobNames("id"), {})["additional_parameters"]


def test_a_dependency_of_the_user_comes_to_those_of_the_chain(campaign: Any) -> None:
    made = batches(campaign(slurm={"time": 60, "extra": {"dependency": "afterok:9,singleton"}}))[1]
    assert parameters(made["broker"], JobNames("id"), {})["dependency"] == "afterok:9,singleton"
    told = parameters(made["producers"], JobNames("id"), {"broker": "7"})
    assert told["dependency"] == "after:7,afterok:9,singleton"
    assert "dependency" not in told["additional_parameters"]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("array", "1-2", "array, which the campaign's jobs need for themselves"),
        ("--output", "x", "output, which the campaign's jobs need for themselves"),
        ("time", "5", "time, which is the key time here"),
        ("cpus_per_task", 4, "cpus-per-task, which is the key cpus here"),
        ("dep", "afterok:9", "dep, short for dependency"),
        ("dependency", "afterok:8?afterok:9", "a dependency other than text whose parts"),
    ],
)
def test_options_that_would_break_the_chain(
    campaign: Any, key: str, value: object, why: str
) -> None:
    with pytest.raises(UserError) as caught:
        campaign(slurm={"time": 60, "train": {"extra": {key: value}}})
    assert f"slurm.train.extra: valid: options of sbatch, but not {why}" in str(caught.value)


@pytest.mark.parametrize(
    ("train", "told", "extra"),
    [
        ({}, 1, {}),
        ({"gpus": "a100:2"}, "a100:2", {}),
        ({"gpus": 0}, None, {}),
        ({"extra": {"gres": "gpu:a100:1"}}, None, {"gres": "gpu:a100:1"}),
        ({"extra": {"gpus_per_node": "a100:1"}}, None, {"gpus-per-node": "a100:1"}),
        ({"gpus": 0, "extra": {"gres": "shm:1"}}, None, {"gres": "shm:1"}),
    ],
)
def test_gpus_are_asked_for_once_and_seen_in_images(
    campaign: Any, train: dict[str, Any], told: object, extra: dict[str, str]
) -> None:
    slurm = {"time": 60, "train": train}
    made = campaign(slurm=slurm, trials={"grid": {"lr": [1]}}, images={"use": True})
    plan, found = batches(made)
    asked = parameters(found["trials"], JobNames("id"), {})
    assert asked.get("gpus_per_node") == told
    assert asked["additional_parameters"].items() >= extra.items()
    has = told is not None or "gpu" in str(extra)
    assert found["trials"].resources.has_gpus == has
    assert (" --nv " in render_slurm(made, plan)) == has


def test_gpus_for_all_jobs_and_for_a_role(campaign: Any) -> None:
    slurm = {"time": 60, "extra": {"gres": "gpu:a100:1"}, "train": {"gpus": 2}}
    _, made = batches(campaign(slurm=slurm, trials={"grid": {"lr": [1]}}))
    assert made["producers"].resources.has_gpus
    assert (made["trials"].resources.gpus, made["trials"].resources.extra) == (2, {})
    assert not made["finish"].resources.has_gpus
    with pytest.raises(UserError, match=r"gpus or extra\.gres, not both"):
        campaign(slurm={"time": 60, "gpus": 1, "extra": {"gres": "gpu:1"}})


def test_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    campaign = load(
        ROOT / "examples/campaigns/digits.toml", run_dir=Path("/runs/x"), backend="slurm"
    )
    monkeypatch.setattr("hpc.slurm.sbatch_script.sys.executable", "python")
    text = render_slurm(campaign, make_plan(campaign, "id")).replace(str(ROOT), "<repository>")
    assert text + "\n" == (GOLDEN / "digits.slurm").read_text()
