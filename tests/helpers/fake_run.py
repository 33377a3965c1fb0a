"""A run folder as `deeptool-hpc launch` leaves it, with figures that are easy to check by hand."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from typing import Any

STARTED = 1_760_000_000.0


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def upload(proc_id: int, split: str, samples: int, pipeline: float) -> dict[str, Any]:
    size = 16 if proc_id == 0 else 32
    return {
        "topic": f"digits.{proc_id}.{split}",
        "session": "digits",
        "proc_id": proc_id,
        "num_procs": 1,
        "split": split,
        "state": "complete",
        "samples": 2 * samples,
        "bytes": 2 * samples * size * size * 4,
        "epochs": [{"samples": samples, "records": 4, "bytes": samples * size * size * 4}] * 2,
        "codec": "arrow",
        "partitions": 4,
        "element_spec": f"(float32[?, {size}, {size}, 1], int64[?])",
        "hparams": {"image_size": size, "learning_rate": 0.001},
        "data_hparams": {"image_size": size},
        "settings_sha256": "ab" * 32,
        "wall_seconds": 8.0,
        "cpu_seconds": pipeline + 1.0,
        "pipeline_cpu_seconds": pipeline,
    }


def history(folder: Path, rate: float, epochs: int) -> dict[str, float]:
    """Write a history.csv; the metrics of its last epoch."""
    row: dict[str, float] = {}
    with open(folder / "history.csv", "w", newline="") as file:
        names = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for epoch in range(1, epochs + 1):
            way = 1 - math.exp(-epoch * (0.35 + 60 * rate) / 2)
            row = {
                "loss": 2.3 * (1 - way) + 0.02,
                "accuracy": 0.1 + 0.89 * way,
                "val_loss": 2.3 * (1 - way) + 0.06 + 3 * rate,
                "val_accuracy": 0.1 + (0.875 - 2 * rate) * way,
            }
            writer.writerow({"epoch": epoch, **row, "seconds": 1.4})
    return row


def fake_run(run_dir: Path, *, epochs: int = 10, pictures: bool = False) -> Path:
    """Eight complete trials, one that failed, one that was killed; two variants, one broker.

    One pass of the pipeline costs 5 CPU s (train 4, val 1) under procID 0, 10 (8 and 2) under 1.
    """
    cases = list(itertools.product([0, 1], [0.0005, 0.001, 0.005, 0.01], [0.1]))
    cases += [(0, 0.01, 0.3), (1, 0.001, 0.3)]
    timeline = [
        {
            "role": "broker",
            "name": "broker",
            "start": STARTED,
            "end": STARTED + 61,
            "state": "complete",
        }
    ]
    for proc_id in (0, 1):
        timeline.append(
            {
                "role": "producer",
                "name": f"producer-{proc_id}",
                "start": STARTED + 2,
                "end": STARTED + 11 + proc_id,
                "state": "complete",
            }
        )
    for index, (proc_id, rate, strength) in enumerate(cases):
        folder = run_dir / "trials" / str(index)
        hparams = {"learning_rate": rate, "augment": strength}
        write(folder / "trial.json", {"index": index, "hparams": hparams, "proc_id": proc_id})
        start = STARTED + 12 + 9.5 * (index // 2)
        state = {8: "failed", 9: "killed"}.get(index, "complete")
        timeline.append(
            {
                "role": "trial",
                "name": f"trial-{index}",
                "start": start,
                "end": start + 9 - index / 4,
                "state": state,
            }
        )
        if state == "killed":
            continue
        last = history(folder, rate, epochs) if state == "complete" else {}
        write(
            folder / "result.json",
            {
                "status": state,
                "session_dir": str(folder),
                "session_name": "digits",
                "hparams": {"image_size": 16 * (proc_id + 1), "procID": proc_id, **hparams},
                "proc_id": proc_id,
                "data_from": "kafka",
                "epochs_run": epochs if last else 0,
                "epochs_planned": epochs,
                "best_epoch": epochs if last else None,
                "monitor": "val_loss",
                "best": last,
                "final": last,
                "samples_read": 1700 * epochs if last else 0,
                "records_read": 8 * epochs,
                "bytes_read": 1700 * epochs * 1024,
                "input_cpu_seconds": 0.5 if last else 0.25,
                "cpu_seconds": 11.0,
                "wall_seconds": 9 - index / 4,
                "started": start,
                "finished": start + 9,
                "notes": ["the raw data changed since the upload"] if index == 1 else [],
                "error": None if last else "ValueError: <loss> is not a number\n  at epoch 1",
            },
        )
    log = run_dir / "logs" / "trial-9.log"
    log.parent.mkdir(parents=True)
    log.write_text("starting\nreading digits.1.train\nKilled\n")
    write(
        run_dir / "summary.json",
        {
            "name": "digits",
            "started": STARTED,
            "finished": STARTED + 61,
            "broker": {
                "cpu_seconds": 6.0,
                "mode": "zookeeper",
                "bootstrap": "127.0.0.1:9092",
                "version": "3.9.2",
            },
            # Both epochs of each split: 2 x 4, 2 x 1, 2 x 8, 2 x 2 CPU s, and 1 s around each.
            "uploads": [
                upload(0, "train", 1437, 8.0),
                upload(0, "val", 360, 2.0),
                upload(1, "train", 1437, 16.0),
                upload(1, "val", 360, 4.0),
                {**upload(1, "val", 360, 4.0), "state": "failed", "epochs": []},
            ],
            "trials": len(cases),
            "timeline": timeline,
        },
    )
    return run_dir
