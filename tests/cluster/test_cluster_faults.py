"""What Slurm and its users do to the jobs of a campaign, on the real Slurm of a test machine."""

from __future__ import annotations

import subprocess

import pytest
from campaigns import Make, small, wait_for_words

from hpc.slurm import scheduler

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_a_last_job_that_is_cancelled_keeps_nobody_waiting(make: Make) -> None:
    gpus = '[slurm.train]\ngpus = "lab:1"\n'
    bench = make(small("list = [{ learning_rate = 0.003 }]", gpus, nbEpoch=1))
    launch = bench.start()
    bench.wait("all is submitted", lambda: bench.submitted(), 100)
    (finish,) = bench.json("state.json")["jobs"]["finish"]
    scheduler.cancel([finish])
    output, _ = launch.communicate(timeout=200)
    assert launch.returncode == 0, output + bench.log()
    said = "the job finish was lost (Slurm: cancelled): this launch writes the report"
    assert said in output, output
    assert (bench.run / "report.html").exists()
    assert bench.status()["state"] == "complete"
    assert bench.record("trial-0")["devices"] in ("0", "1")
    bench.wait("its jobs have left the queue", lambda: not bench.live(), 60)


def test_a_producer_that_is_cancelled_is_named(make: Make) -> None:
    bench = make(small("list = [{ learning_rate = 0.003 }]", "[slurm.producers]\ncpus = 8\n"))
    # The broker has two CPUs of a node of eight, and this has the other node: it cannot begin.
    filler = subprocess.run(
        ["sbatch", "--parsable", "--exclusive", "-t", "5", "-o", "/dev/null", "--wrap=sleep 200"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    try:
        launch = bench.start()
        wait_for_words(launch, "producer-0 waiting: queued (Resources)")
        assert "Resources" in bench.rows()["producer-0"]["note"]
        scheduler.cancel([bench.job("producer-0")])
        output, _ = launch.communicate(timeout=150)
    finally:
        scheduler.cancel([filler])
    assert launch.returncode == 1, output
    assert "1 of 1 producers cancelled" in output, output
    assert "seen: producer-0 (Slurm: cancelled" in output
    states = {row["state"] for row in bench.rows().values() if row["role"] != "broker"}
    assert states == {"cancelled"}
    bench.wait("its jobs have left the queue", lambda: not bench.live(), 60)
