"""Plans as calls of sbatch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, make_plan
from hpc.campaign.toml_file import load, parse
from hpc.slurm.batch import Batch, make_batches, parameters
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
    told = parameters(made["producers"], "id", {"broker": "7"})
    assert told["dependency"] == "after:7"
    assert told["time"] == 60
    assert told["job_name"] == "deeptool-id-producers"
    more = told["additional_parameters"]
    assert more["kill-on-invalid-dep"] == "yes"
    assert more["requeue"] is True
    assert more["cpu-freq"] == "high"
    broker = parameters(made["broker"], "id", {})
    assert broker["nodes"] == 2
    # Its data would be gone at a second start.
    assert "no-requeue" in broker["additional_parameters"]
    kept = batches(campaign(broker={"folder": "/data"}))[1]["broker"]
    assert "requeue" in parameters(kept, "id", {})["additional_parameters"]


def test_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    campaign = load(
        ROOT / "examples/campaigns/digits.toml", run_dir=Path("/runs/x"), backend="slurm"
    )
    monkeypatch.setattr("hpc.slurm.sbatch_script.sys.executable", "python")
    text = render_slurm(campaign, make_plan(campaign, "id")).replace(str(ROOT), "<repository>")
    assert text + "\n" == (GOLDEN / "digits.slurm").read_text()
