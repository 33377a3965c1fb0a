"""Campaigns on a real Slurm with two nodes and four GPU slots, in real images, as an ordinary user.

Where the work is not about images the processes run as they are installed: they start faster.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from campaigns import DIGITS, PACED, SAMPLES, Make, small
from image_builds import ROOT, Images

from hpc.broker.discovery import DEAD_SECONDS
from hpc.slurm import scheduler

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def scratch() -> list[Path]:
    return list(Path("/tmp").glob(f"deeptool-broker-{os.getuid()}-*"))


def test_the_digits_from_launch_to_report(make: Make, images: Images) -> None:
    bench = make(
        f"""
name = "digits"
settings = "{DIGITS}"
hparams = {{ image_size = 16, nbEpoch = 3 }}
[broker]
count = 2
replication = 2
[producers]
num_procs = 4
auto_shard = true
[trials]
max_parallel = 4
grid = {{ learning_rate = [0.002, 0.003, 0.004], augmentation = [0.0, 0.5] }}
[images]
kafka = "{images.kafka}"
zookeeper = "{images.zookeeper}"
tensorflow = "{images.tensorflow}"
"""
    )
    launch = bench.start()
    bench.wait("the brokers are ready", lambda: bench.broker(1).get("state") == "ready", 200)
    assert [bench.broker(node)["host"] for node in range(2)] == ["n1", "n2"]
    assert bench.broker(0)["bootstrap"] != bench.broker(1)["bootstrap"]
    password = (bench.run / "secrets" / "password").read_text().strip()
    seen = [
        text
        for path in Path("/proc").glob("[0-9]*")
        for name in ("cmdline", "environ")
        if (text := read(path / name)) and password.encode() in text
    ]
    assert seen == []
    output, _ = launch.communicate(timeout=600)
    assert launch.returncode == 0, output + bench.log()

    rows = bench.rows()
    trials = [rows[f"trial-{index}"] for index in range(6)]
    assert {row["state"] for row in trials} == {"complete"}
    # Training and validation set, each sample once an epoch.
    assert {row["result"]["samples_read"] for row in trials} == {3 * SAMPLES}
    uploads = bench.json("summary.json")["uploads"]
    assert sum(upload["samples"] for upload in uploads) == SAMPLES
    # Never more at once than there are slots, and no two with one device.
    records = [bench.record(f"trial-{index}") for index in range(6)]
    moments = [record["start"] for record in records]
    at_once = [[r for r in records if r["start"] <= now < r["end"]] for now in moments]
    assert max(len(found) for found in at_once) == 4
    for found in at_once:
        slots = [(record["node"], record["devices"]) for record in found]
        assert len(set(slots)) == len(slots), slots
    assert {record["node"] for record in records} == {"n1", "n2"}
    # The broker's job, three arrays and the last job: as few calls of sbatch as can be.
    assert len(bench.json("state.json")["jobs"]) == output.count("submitted ")
    page = (bench.run / "report.html").read_text()
    assert "timeline" in page.lower()
    assert len(list((bench.run / "report").glob("samples_*.png"))) == 4

    bench.wait("its jobs have left the queue", lambda: not bench.live())
    bench.wait("its processes have ended", lambda: not bench.own_processes(), 30)
    assert scratch() == []
    kept = [path for path in bench.run.rglob("*") if path.is_file()]
    open_to_all = [path for path in kept if path.parent != bench.run / "secrets"]
    assert [path for path in open_to_all if password.encode() in path.read_bytes()] == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_kept_data_and_brokers_that_follow_each_other(make: Make, tmp_path: Path) -> None:
    broker = f'[broker]\nmode = "kraft"\nfolder = "{tmp_path}/data"\n'
    # With a copy on the node, the trials would need no broker from their second epoch on.
    trials = 'grid = { learning_rate = [0.002, 0.003] }\ncache = "off"'
    bench = make(small(trials, broker, nbEpoch=20, epoch_seconds=1))
    launch = bench.start()
    bench.wait("a trial is in its third epoch", lambda: bench.epochs(0) >= 2, 200)
    scheduler.requeue(bench.job("broker"))
    bench.wait("the broker is up again", lambda: bench.broker().get("restarts") == 1)
    output, _ = launch.communicate(timeout=400)
    assert launch.returncode == 0, output + bench.log()
    results = [bench.rows()[f"trial-{index}"]["result"] for index in range(2)]
    assert [result["status"] for result in results] == ["complete"] * 2
    assert {result["samples_read"] for result in results} >= {
        result["epochs_run"] * SAMPLES for result in results
    }

    again = make(small("grid = { learning_rate = [0.004] }", broker, nbEpoch=2), "again")
    done = again.launch()
    assert done.returncode == 0, done.stdout + again.log()
    assert "is there already" in done.stdout
    assert ": stored " not in done.stdout
    assert again.rows()["trial-0"]["result"]["samples_read"] == 2 * SAMPLES


def test_a_broker_whose_walltime_ends_is_followed_by_another(make: Make, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    broker = f'[broker]\nfolder = "{tmp_path}/data"\n'
    # From the broker, every epoch: a copy on the node would be read from instead.
    trials = 'list = [{ learning_rate = 0.002 }]\ncache = "off"'
    bench = make(small(trials, broker, nbEpoch=6, go_on=str(go_on)))
    launch = bench.start()
    bench.wait("a trial is in its third epoch", lambda: bench.epochs(0) >= 2, 200)
    # It is warned 90 seconds before the end of its time, which now is one or two minutes away.
    job = bench.job("broker")
    shown = subprocess.run(["squeue", "-h", "-j", job, "-o", "%M"], capture_output=True, text=True)
    minutes = int(shown.stdout.split(":")[-2]) + 2
    subprocess.run(["scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}"], check=True)
    bench.wait("the broker is up again", lambda: bench.broker().get("restarts", 0) >= 1)
    assert bench.running("trial-0"), bench.log()
    go_on.touch()
    output, _ = launch.communicate(timeout=400)
    assert launch.returncode == 0, output + bench.log()
    result = bench.rows()["trial-0"]["result"]
    assert result["epochs_run"] == 6
    assert result["samples_read"] >= 6 * SAMPLES


def test_preempted_tasks_go_on(make: Make) -> None:
    bench = make(small("list = [{ learning_rate = 0.002 }]", nbEpoch=30, epoch_seconds=1))
    launch = bench.start()
    bench.wait("the trial is in its third epoch", lambda: bench.epochs(0) >= 2, 200)
    before = bench.epochs(0)
    node = bench.record("trial-0")["node"]
    urgent = subprocess.run(
        ["sbatch", "--parsable", "-p", "urgent", "-w", node, "--gres=gpu:2", "-t", "5"]
        + ["-o", "/dev/null", "--wrap", "sleep 3"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    try:
        bench.wait("it runs again", lambda: len(bench.record("trial-0").get("runs", [])) == 1, 150)
    finally:
        scheduler.cancel([urgent])
    output, _ = launch.communicate(timeout=400)
    assert launch.returncode == 0, output + bench.log()
    epochs = [
        int(line.split(",")[0])
        for line in (bench.run / "trials/0/history.csv").read_text().splitlines()[1:]
    ]
    assert epochs == list(range(epochs[0], epochs[0] + len(epochs))), epochs
    assert len(epochs) == bench.rows()["trial-0"]["result"]["epochs_run"] > before
    assert "resumes after" in bench.log() or "starts at epoch" in bench.log() or epochs[-1] > before
    timeline = [row for row in bench.json("summary.json")["timeline"] if row["name"] == "trial-0"]
    assert len(timeline) == 2


def test_a_producer_that_is_requeued_uploads_once(make: Make) -> None:
    bench = make(small("list = [{ learning_rate = 0.003 }]", sample_seconds=0.01))
    launch = bench.start()
    bench.wait("the producer runs", lambda: bench.running("producer-0"), 200)
    time.sleep(5)
    scheduler.requeue(bench.job("producer-0"))
    output, _ = launch.communicate(timeout=400)
    assert launch.returncode == 0, output + bench.log()
    assert bench.record("producer-0")["restarts"] == 1
    assert sum(each["samples"] for each in bench.json("summary.json")["uploads"]) == SAMPLES
    assert bench.rows()["trial-0"]["result"]["samples_read"] == 3 * SAMPLES


def test_a_broker_that_is_cancelled_is_one_clear_error_and_no_orphan(make: Make) -> None:
    # With a copy on the node, the trial would need no broker from its second epoch on.
    bench = make(
        small('list = [{ learning_rate = 0.002 }]\ncache = "off"', nbEpoch=400, epoch_seconds=0.5)
    )
    launch = bench.start()
    bench.wait("the trial trains", lambda: bench.epochs(0) >= 1, 200)
    # The supervisor alone: its servers end with it.
    supervisor = min(bench.workers(bench.job("broker")))
    os.kill(supervisor, signal.SIGKILL)
    bench.wait(
        "no server is left",
        lambda: not [line for line in bench.own_processes() if "java" in line],
        30,
    )
    output, _ = launch.communicate(timeout=400)
    # What its servers said is not in its scratch, which goes.
    assert "started" in (bench.run / "logs" / "broker-servers" / "broker.log").read_text()
    assert launch.returncode == 1, output
    assert "trial-0 failed" in output
    assert "the campaign's broker has died" in bench.rows()["trial-0"]["note"], output
    # It did not wait for its reader to give up.
    lost = bench.record("trial-0")["end"] - bench.broker()["heartbeat"]
    assert lost < DEAD_SECONDS + 30, lost


def test_an_interrupted_launch_goes_on_and_down_ends_it(make: Make) -> None:
    bench = make(small("grid = { learning_rate = [0.002, 0.003] }", nbEpoch=2))
    launch = bench.start()
    bench.wait("the producer runs", lambda: bench.running("producer-0"), 200)
    launch.send_signal(signal.SIGINT)
    output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 130
    assert "the jobs continue: deeptool-hpc status" in output
    log = bench.command("logs", bench.run, "broker")
    assert "ready at 127.0.0.1:" in log.stdout
    again = bench.start()
    text, _ = again.communicate(timeout=300)
    assert again.returncode == 0, text + bench.log()
    assert "the jobs are in the queue already" in text
    assert {row["state"] for row in bench.rows().values()} == {"complete"}

    third = bench.start("--grid", "learning_rate=0.004", "--set", "hparams.epoch_seconds=100")
    bench.wait("the third trial trains", lambda: bench.running("trial-2"), 200)
    bystander = subprocess.run(
        ["sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 300"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    try:
        down = bench.command("down", bench.run)
        assert down.returncode == 0, down.stdout
        assert "stopped: " in down.stdout
        assert "broker" in down.stdout
        assert not bench.live()
        assert scheduler.queue()[bystander].live
        third.communicate(timeout=60)
        assert third.returncode == 1
        bench.wait("its processes have ended", lambda: not bench.own_processes(), 30)
        assert scratch() == []
        nothing = bench.command("down", bench.run)
        assert "nothing of" in nothing.stdout
    finally:
        scheduler.cancel([bystander])


def test_arrays_are_split_where_slurm_says_so(make: Make) -> None:
    largest = scheduler.max_array_size()
    if largest > 50:
        pytest.skip(f"MaxArraySize is {largest} here: LAB_MAX_ARRAY=5 makes this cheap to test")
    rates = ", ".join(str(0.001 * (n + 1)) for n in range(largest + 2))
    bench = make(small(f"max_parallel = 4\ngrid = {{ learning_rate = [{rates}] }}", nbEpoch=1))
    done = bench.launch()
    assert done.returncode == 0, done.stdout + bench.log()
    jobs = bench.json("state.json")["jobs"]
    assert [len(jobs[name]) for name in ("trials", "trials-1")] == [largest, 2]
    rows = bench.rows()
    assert all(rows[f"trial-{n}"]["result"]["samples_read"] == SAMPLES for n in range(largest + 2))


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--set", "slurm.partition=nowhere"], "Slurm refuses a job of this campaign", 2),
        (["--set", "slurm.train.time=soon"], "slurm.train.time: seen 'soon'", 2),
        (["--images", "--set", "images.kafka=/no/such.sif"], "there is no such image", 2),
        (["--set", "slurm.gpu=1"], "did you mean gpus?", 2),
        (["--set", "broker.replication=2"], "a replication of at most count", 2),
    ],
)
def test_what_cannot_run_is_said_before_anything_runs(
    make: Make, words: list[str], message: str, code: int
) -> None:
    bench = make(small("list = [{ learning_rate = 0.003 }]"))
    done = bench.launch(*words)
    assert done.returncode == code, done.stdout
    assert message in done.stdout
    assert not (bench.run / "state.json").exists() or not bench.live()


def test_a_machine_without_slurm(make: Make, tmp_path: Path) -> None:
    bench = make(small("list = [{ learning_rate = 0.003 }]"))
    done = bench.launch(PATH=str(tmp_path))
    assert done.returncode == 2
    assert "this machine has no Slurm to submit to" in done.stdout
    assert "--backend local" in done.stdout


def test_a_run_folder_and_a_secret_that_will_not_do(make: Make, tmp_path: Path) -> None:
    bench = make(small("list = [{ learning_rate = 0.003 }]"))
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    done = bench.command("launch", bench.file, "--run-dir", shut / "run")
    assert done.returncode == 2, done.stdout
    assert "the run folder cannot be written" in done.stdout
    (bench.run / "secrets").mkdir(parents=True, mode=0o700)
    password = bench.run / "secrets" / "password"
    password.write_text("a-password-that-others-can-read\n")
    password.chmod(0o644)
    done = bench.launch()
    assert done.returncode == 2, done.stdout
    assert "mode 0644" in done.stdout
    assert "chmod 600" in done.stdout


def test_a_broker_that_never_starts(make: Make) -> None:
    bench = make(small("list = [{ learning_rate = 0.003 }]", '[broker]\nscratch = "/no/such"\n'))
    done = bench.launch()
    assert done.returncode == 1, done.stdout
    assert "there is no such scratch folder on this node" in done.stdout
    assert str(bench.run / "logs") in done.stdout


@pytest.mark.timed
def test_a_launch_takes_no_more_than_twice_what_it_takes_by_hand(
    make: Make, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """From the launch to the trial's first epoch, against the same jobs with sbatch alone."""
    bench = make(small("list = [{ learning_rate = 0.003 }]", nbEpoch=1))
    by_hand = by_sbatch(tmp_path / "hand")
    began = time.time()
    done = bench.launch()
    assert done.returncode == 0, done.stdout + bench.log()
    by_launch = first_step(bench.run / "trials/0") - began
    ratio = by_launch / by_hand
    print(f"to the first step: {by_launch} s launched, {by_hand} s by hand, ratio {ratio:.2f}")
    record_property("ratio", ratio)
    assert ratio <= 2


def first_step(trial: Path) -> float:
    """When the first epoch of a trial was there (Unix time)."""
    lines = (trial / "history.csv").read_text().splitlines()
    assert len(lines) == 2, lines
    result = json.loads((trial / "result.json").read_text())
    return float(result["finished"])


def by_sbatch(folder: Path) -> float:
    """Broker, upload and trial as somebody would submit them by hand; seconds to the first step."""
    folder.mkdir()
    python = Path(sys.executable).parent
    broker, secret = folder / "broker", folder / "secrets" / "password"
    common = f"--usersettings {PACED} --procID 0 --hparam image_size=16 --hparam nbEpoch=1"
    server = (
        f"--server $(cat {folder}/address) --client-properties {secret.parent}/client.properties"
    )
    scripts = {
        "broker": f"{python}/python -m hpc.cli broker up --dir {broker} --secret {secret}"
        f" > {folder}/address",
        "producer": f"while [ ! -s {folder}/address ]; do sleep 0.5; done;"
        f" {python}/deeptool produce {common} --split both {server}",
        "trial": f"{python}/deeptool train {common} --kafka {server} --session-dir {folder}/trial",
    }
    jobs: dict[str, str] = {}
    waits = {"broker": "", "producer": "after:{broker}", "trial": "afterok:{producer}"}
    began = time.time()
    for name, text in scripts.items():
        depends = waits[name].format(**jobs)
        argv = ["sbatch", "--parsable", "-t", "30", "-c", "2", "-o", f"{folder}/{name}.log"]
        argv += ["--chdir", str(ROOT), *([f"--dependency={depends}"] if depends else [])]
        argv += ["--gpus-per-node=1"] if name == "trial" else []
        done = subprocess.run(
            [*argv, "--wrap", f"set -e; {text}"], check=True, capture_output=True, text=True
        )
        jobs[name] = done.stdout.strip()
    try:
        deadline = time.monotonic() + 300
        while not (folder / "trial" / "result.json").exists():
            assert time.monotonic() < deadline, (folder / "producer.log").read_text()
            time.sleep(0.2)
        return first_step(folder / "trial") - began
    finally:
        scheduler.cancel(jobs.values())
        while any(seen.live for job, seen in scheduler.queue().items() if job in jobs.values()):
            time.sleep(0.5)


@pytest.mark.soak
def test_neighbours_on_a_node_do_not_see_each_others_data(make: Make) -> None:
    first = make(small("list = [{ learning_rate = 0.002 }]", nbEpoch=200, epoch_seconds=1), "first")
    launch = first.start()
    first.wait("its broker is ready", lambda: first.broker().get("state") == "ready", 120)
    server = first.broker()["bootstrap"]
    deeptool = str(Path(sys.executable).with_name("deeptool"))
    ask = [deeptool, "inspect", "--server", server, "--json"]
    own = first.run / "secrets" / "client.properties"
    nobody = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True)
    assert nobody.returncode == 2, nobody.stdout
    assert "does not accept this client" in nobody.stderr
    other = first.folder / "client.properties"
    other.write_text(own.read_text().replace("sasl.password=", "sasl.password=x"))
    other.chmod(0o600)
    wrong = subprocess.run(
        [*ask, "--client-properties", str(other)], cwd=ROOT, capture_output=True, text=True
    )
    assert wrong.returncode == 2, wrong.stdout
    right = subprocess.run(
        [*ask, "--client-properties", str(own)], cwd=ROOT, capture_output=True, text=True
    )
    assert right.returncode == 0, right.stderr
    second = make(small("list = [{ learning_rate = 0.002 }]", nbEpoch=1), "second")
    done = second.launch()
    assert done.returncode == 0, done.stdout + second.log()
    assert [a != b for a, b in pairwise([second.broker()["bootstrap"], server])] == [True]
    assert ": stored " in done.stdout
    launch.send_signal(signal.SIGINT)
    launch.communicate(timeout=60)
    assert first.command("down", first.run).returncode == 0
