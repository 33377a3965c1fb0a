"""What a broker sends when many trials of several nodes read one dataset: a copy a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from brokers import OwnBroker
from uploads import current, tuned_upload

NODES, TRIALS, EPOCHS = 2, 8, 3
SAMPLES, WIDTH = 2000, 4096

TRIAL = """
import json, sys
import deeptool

server, name, seed, epochs = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
data = deeptool.open(server, name)
seen = [[] for _ in range(epochs)]
batches = data.elements(1, batch_size=50)
for number, (x, y) in enumerate(data.numpy(batch_size=50, shuffle=True, seed=seed, repeat=epochs)):
    assert (x[:, 0] == y).all()
    seen[number // batches].extend(y.tolist())
print(json.dumps({"whole": [sorted(epoch) == list(range(len(data))) for epoch in seen],
                  "orders": len({tuple(epoch) for epoch in seen})}))
"""


def sent(pid: int) -> int:
    """Bytes that a process has written, to sockets and files, sendfile included."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise AssertionError(pid)


@pytest.mark.broker
def test_the_broker_sends_a_dataset_once_to_each_node(
    own_broker: OwnBroker, session_name: str, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).random((SAMPLES, WIDTH), np.float32)
    rows[:, 0] = labels = np.arange(SAMPLES, dtype=np.float32)
    server = own_broker()
    tuned_upload(
        tf.data.Dataset.from_tensor_slices((rows, labels)).batch(50),
        server.bootstrap,
        session_name,
    )
    size = current(server.bootstrap, f"{session_name}.0.train").bytes
    assert size >= rows.nbytes
    broker = server.pids["broker"]
    before = sent(broker)
    for node in range(NODES):
        environment = os.environ | {"DEEPTOOL_COPIES": str(tmp_path / f"node{node}")}
        with ExitStack() as stack:
            trials = [
                stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", TRIAL, server.bootstrap, session_name]
                        + [str(seed), str(EPOCHS)],
                        env=environment,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
                for seed in range(TRIALS)
            ]
            read = [json.loads(trial.communicate(timeout=200)[0]) for trial in trials]
        assert read == [{"whole": [True] * EPOCHS, "orders": EPOCHS}] * TRIALS
    copies = (sent(broker) - before) / size
    # Without the copies it would be 24 a node: each trial in each epoch.
    assert 0.95 * NODES < copies <= 1.1 * NODES, copies
