"""What Slurm and its users do to the jobs of a campaign, on the real Slurm of a test machine."""

from __future__ import annotations

import pytest
from campaigns import Make, small

from hpc.slurm import scheduler

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_a_last_job_that_is_cancelled_keeps_nobody_waiting(make: Make) -> None:
    gpus = '[slurm.train]\ngpus = "lab:1"\n'
    bench = make(small("list = [{ learning_rate = 0.003 }]", gpus, epochs=1))
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
