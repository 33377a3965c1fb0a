"""Stands in for deeptool and deeptool-hpc: the same files and exit codes, no Kafka, no TensorFlow.

What is stored is a folder, FAKE_STORE. Hparams say what a trial does: ``sleep`` (seconds),
``fail`` (exit code), ``diverge``. Lines of the settings file that begin with ``data`` are what
samples depend on, those that begin with ``train`` what training does; comments are neither.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

# It runs without site-packages, to start in no time: this module needs the standard library alone.
sys.path.insert(0, str(Path(__file__).parents[2]))
from deeptool.outcome import CommandError, OutcomeFile, StoredTopic

ARGUMENTS = sys.argv[1:]
STORE = Path(os.environ["FAKE_STORE"])
OUTCOME = OutcomeFile()


def option(name: str, default: str = "") -> str:
    return ARGUMENTS[ARGUMENTS.index(name) + 1] if name in ARGUMENTS else default


def hparams() -> dict[str, object]:
    pairs = [ARGUMENTS[n + 1] for n, word in enumerate(ARGUMENTS) if word == "--hparam"]
    values = {}
    for key, value in (pair.split("=") for pair in pairs):
        try:
            values[key] = json.loads(value)
        except ValueError:
            values[key] = value
    return values


def settings(file: str) -> Path:
    """What a command reads instead of the settings file: its copy, where there is one."""
    copies = os.environ.get("DEEPTOOL_SNAPSHOT")
    if copies is None:
        return Path(file)
    return Path(copies, json.loads(Path(copies, "snapshot.json").read_text())[file])


def code(file: Path, begin: str) -> str:
    lines = [line for line in file.read_text().splitlines() if line.startswith(begin)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def log(what: str) -> None:
    with open(STORE / "calls", "a") as file:
        file.write(json.dumps([what, time.time(), os.getpid(), ARGUMENTS]) + "\n")


def leave(code: int, what: str, next_step: str | None = None) -> NoReturn:
    """End with an error, as `deeptool.errors.run_command` does."""
    message = what if next_step is None else f"{what}\n  next: {next_step}"
    print(f"error: {message}", file=sys.stderr)
    OUTCOME.write(code, CommandError(message=message, what=what, next_step=next_step))
    sys.exit(code)


def end(signum: int, frame: object) -> None:
    log(f"stopped {ARGUMENTS[0]} {ARGUMENTS[1]}")
    said = f"ended by {signal.Signals(signum).name}"
    OUTCOME.write(128 + signum, CommandError(message=said, what=said))
    sys.exit(128 + signum)


def broker() -> None:
    folder = Path(option("--dir"))
    state = {"state": "starting", "supervisor": {"pid": os.getpid(), "started": 0}, "processes": {}}
    state |= {"cpu_seconds": 0.0, "bootstrap": "127.0.0.1:1", "mode": option("--mode")}
    write(folder / "state.json", state)
    time.sleep(0.1)
    log("broker ready")
    write(folder / "state.json", state | {"state": "ready", "cpu_seconds": 1.5})
    if os.environ.get("FAKE_BROKER_DIES"):
        while not (STORE / "uploading").exists():
            time.sleep(0.05)
        leave(1, "the disk is full")
    signal.pause()


def plan() -> None:
    """As ``deeptool plan`` answers a request."""
    file = Path(option("--usersettings"))
    asked = json.loads(Path(option("--request")).read_text())
    if "broken" in file.read_text():
        leave(2, "the settings file cannot be loaded", "correct it")
    copies = Path(option("--snapshot"))
    write(copies / "snapshot.json", {str(file): "0_settings.py"})
    (copies / "0_settings.py").write_bytes(file.read_bytes())
    datasets, versions, same = [], {}, {}
    variants = [None] if asked["num_procs"] else [row["procID"] for row in asked["variants"]]
    samples = code(file, "data")
    for variant in variants:
        made = {**asked["hparams"]}
        for row in asked["variants"]:
            made |= row["hparams"] if row["procID"] == variant else {}
        facts = {"code": {"pipeline": samples}, "fingerprint": samples, "hparams": made}
        key = "all" if variant is None else str(variant)
        blob = {"data": {"train": facts}, "training": {"get_optimizer": code(file, "train")}}
        versions[key] = blob
        same[key] = [name for name, known in asked["versions"].items() if known == blob]
        stored = None
        if option("--server"):
            topic = STORE / f"topic-{key}.json"
            row = json.loads(topic.read_text()) if topic.exists() else {"owner": None}
            state = "same" if row.get("code") == samples else "different"
            stored = {"state": state if topic.exists() else "absent", "owner": row["owner"]}
            stored |= {"why": ["pipeline"] if stored["state"] == "different" else [], "samples": 1}
        topic_name = f"s.{key}.train"
        datasets.append(
            {"procID": variant, "split": "train", "topic": topic_name, "stored": stored}
        )
    refused = [
        {"trial": place, "message": "augment differs, and the samples depend on it"}
        for place, trial in enumerate(asked["trials"])
        if "augment" in trial["hparams"]
    ]
    answer = {"format": 1, "session_name": "s", "datasets": datasets, "data_hparams": {}}
    answer |= {
        "hparams": {"lr": 7},
        "free_hparams": {},
        "refused": refused,
        "versions": versions,
        "same": same,
    }
    warnings = ["the raw data changed"] if os.environ.get("FAKE_WARNS") else []
    print(json.dumps(answer | {"files": [str(file)], "warnings": warnings}))


def produce() -> None:
    proc_id = option("--procID")
    pipeline = code(settings(option("--usersettings")), "data")
    if option("--server") != "127.0.0.1:1":
        leave(1, "no such server")
    if "refuse" in hparams():
        leave(2, "topic t holds a complete dataset, but a different one", "--replace")
    stored = STORE / f"topic-{proc_id}.json"
    row = json.loads(stored.read_text()) if stored.exists() else {}
    same = bool(row) and (row["code"] == pipeline or "--reuse-any" in ARGUMENTS)
    reused = same and {"--reuse", "--reuse-any"} & set(ARGUMENTS) != set()
    own = row.get("owner") == os.environ["DEEPTOOL_OWNER"]
    if row and not (reused or own or "--replace" in ARGUMENTS):
        leave(2, "topic t holds a complete dataset, but a different one", "--replace")
    fact = StoredTopic(f"s.{proc_id}.train", "train", 100, 1_000_000, reused)
    if reused:
        OUTCOME.add_stored(fact)
        log(f"reused {proc_id}")
        print(f"s.{proc_id}.train: is there already (100 samples)")
        return
    (STORE / "uploading").touch()
    for samples in (0, 50):
        progress = {"state": "running", "samples": samples, "total": 100, "mb_per_second": 1.0}
        write(Path(option("--progress-file")), progress)
        time.sleep(float(os.environ.get("FAKE_UPLOAD_SECONDS", "0.1")) / 2)
    row = {
        "topic": f"s.{proc_id}.train",
        "session": "s",
        "split": "train",
        "proc_id": int(proc_id),
        "state": "complete",
        "code": pipeline,
        "data_hparams": hparams(),
        "owner": os.environ["DEEPTOOL_OWNER"],
    }
    write(stored, row)
    write(Path(option("--progress-file")), progress | {"state": "complete", "samples": 100})
    OUTCOME.add_stored(fact)
    log(f"stored {proc_id}")
    print(f"upload s.{proc_id}.train: complete: 100 samples")
    print(f"s.{proc_id}.train: stored 100 samples, 1.0 MB")


def trial_server() -> None:
    """Answers nothing, and ends at once unless it is to stay: trials are then started afresh."""
    with open(STORE / "servers", "a") as file:
        file.write(f"{os.getpid()}\n")
    if os.environ.get("FAKE_SERVER_STAYS"):
        signal.pause()


def train() -> None:
    trained = code(settings(option("--usersettings")), "train") if option("--usersettings") else ""
    again = "--restart_interrupted" in ARGUMENTS
    folder = Path(option("--model_dir") if again else option("--session-dir"))
    if again:
        asked = json.loads((folder / "config.json").read_text())
    else:
        asked = hparams()
        if (folder / "config.json").exists():
            leave(1, "this session folder holds another trial")
        write(folder / "config.json", asked)
    log(f"trial {folder.name} {'again' if again else 'begins'}")
    started = time.time()
    write(folder / "progress.json", {"epoch": 1, "epochs": 2, "metrics": {"val_loss": 0.5}})
    time.sleep(float(os.environ.get("FAKE_SLEEP", asked.get("sleep", 0))))
    print("training", flush=True)
    if asked.get("fail") and not os.environ.get("FAKE_FIXED"):
        write(folder / "result.json", {"status": "failed"})
        leave(asked["fail"], "the loss is not a number")
    status = "diverged" if asked.get("diverge") else "complete"
    result = {
        "status": status,
        "code": trained,
        "monitor": "val_loss",
        "best": {"val_loss": 0.25, "loss": 0.2},
    }
    result |= {"epochs_run": 2, "samples_read": 200, "input_cpu_seconds": 0.5}
    write(folder / "result.json", result | {"started": started, "finished": time.time()})
    log(f"trial {folder.name} ends")


def main() -> None:
    signal.signal(signal.SIGTERM, end)
    name = ARGUMENTS.pop(0)
    if (name, ARGUMENTS[0]) == ("deeptool-hpc", "broker"):
        broker()
    elif ARGUMENTS[0] == "plan":
        plan()
    elif ARGUMENTS[0] == "produce":
        produce()
    elif ARGUMENTS[0] == "trial_server":
        trial_server()
    elif ARGUMENTS[0] == "train":
        train()
    elif ARGUMENTS[0] == "inspect":
        print(json.dumps([json.loads(file.read_text()) for file in STORE.glob("topic-*.json")]))
    elif ARGUMENTS[0] == "view":
        Path(option("--output")).write_bytes(b"PNG")
    elif ARGUMENTS[0] == "report":
        Path(ARGUMENTS[1], "report.html").write_text("<html>")
        print(json.dumps({"savings": None}))
    OUTCOME.write(0, None)


main()
