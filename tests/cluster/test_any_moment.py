"""Jobs that Slurm takes away at any moment: the data stays exact, and every trial ends."""

from __future__ import annotations

import csv
import random
import subprocess
import time
from pathlib import Path

import pytest
from campaigns import PACED, SAMPLES, Bench, Make

from deeptool.errors import WorkError
from hpc.slurm import scheduler

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

# How often a job is taken away.
TAKEN = [3, pytest.param(25, marks=pytest.mark.timeout(7200))]
EPOCHS = 30


def take_away(bench: Bench, chance: random.Random) -> str | None:
    """Requeue a job that runs, or take its node for one in `urgent`; says which it was."""
    tasks = bench.json("state.json")["tasks"]
    running = [name for name in tasks if bench.running(name)]
    if bench.broker().get("state") in ("starting", "ready"):
        running.append("broker")
    if not running:
        return None
    name = chance.choice(running)
    if chance.random() < 0.5:
        try:
            scheduler.requeue(bench.job(name))
        except WorkError:
            return None  # It ended meanwhile.
        return f"{name} requeued"
    node = bench.broker().get("host") if name == "broker" else bench.record(name).get("node")
    subprocess.run(
        ["sbatch", "-p", "urgent", "-w", str(node), "--exclusive", "-t", "1", "-o", "/dev/null"]
        + ["--job-name", "urgent", "--wrap", "sleep 2"],
        check=True,
        capture_output=True,
    )
    return f"{name} preempted on {node}"


@pytest.mark.parametrize("times", TAKEN)
def test_a_campaign_gets_to_its_end(make: Make, tmp_path: Path, times: int) -> None:
    chance = random.Random(times)
    epochs = EPOCHS * times // 3
    bench = make(
        f"""
name = "moments"
settings = "{PACED}"
hparams = {{ nbEpoch = {epochs}, epoch_seconds = 1 }}
[broker]
folder = "{tmp_path}/data"
[images]
use = false
[[producers.variants]]
procID = 0
hparams = {{ image_size = 16 }}
[[producers.variants]]
procID = 1
hparams = {{ image_size = 32 }}
[trials]
grid = {{ image_size = [16, 32], learning_rate = [0.0001, 0.0002] }}
"""
    )
    launch = bench.start()
    bench.wait("something is submitted", lambda: (bench.run / "state.json").exists(), 200)
    taken: list[str] = []
    deadline = time.monotonic() + 100 * times
    while len(taken) < times and launch.poll() is None and time.monotonic() < deadline:
        time.sleep(chance.uniform(1, 20))
        done = take_away(bench, chance)
        taken += [done] if done else []
        print(done, flush=True)
    output, _ = launch.communicate(timeout=500 + 100 * times)
    assert launch.returncode == 0, f"{taken}\n{output}{bench.log()}"
    assert len(taken) == times, taken
    uploads = bench.json("summary.json")["uploads"]
    assert [sum(each["samples"] for each in uploads)] == [2 * SAMPLES]
    for index in range(4):
        result = bench.rows()[f"trial-{index}"]["result"]
        with open(bench.run / "trials" / str(index) / "history.csv", newline="") as file:
            epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
        assert epochs == list(range(1, result["epochs_run"] + 1)), taken
        assert result["samples_read"] >= result["epochs_run"] * SAMPLES, taken
    bench.wait("its processes have ended", lambda: not bench.own_processes(), 60)
