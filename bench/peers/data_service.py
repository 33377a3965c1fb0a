"""tf.data service: one worker, in a process of its own, sends batches to this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from bench.contenders import Absent, Contender, Context, Pass
from bench.peers.tensorflow_options import BUFFER, labels_of


def contenders(context: Context) -> Mapping[str, Contender]:
    """Start the service, and offer what it reads with `Dataset.load`."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    context.closing.callback(_end, process)
    target = process.stdout.readline().strip() if process.stdout else ""
    if not target:
        return {"tf.data service": Absent("the dispatcher did not start")}
    folder = str(context.folder("saved"))
    read = partial(_labels, target, folder, context.workload.batch_size)
    return {"tf.data service": Pass(read)}


def _end(process: subprocess.Popen[str]) -> None:
    """The service ends when nobody can write to it any more."""
    process.communicate(timeout=30)


def _labels(target: str, folder: str, size: int, number: int) -> Any:
    dataset = tf.data.Dataset.load(folder).unbatch().shuffle(BUFFER, seed=number).batch(size)
    service = tf.data.experimental.service.distribute(
        tf.data.experimental.service.ShardingPolicy.OFF, target, compression=None
    )
    return labels_of(dataset.apply(service).prefetch(2))


def main() -> None:
    """Serve until stdin is closed."""
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    sys.stdout.write(dispatcher.target + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    del worker


if __name__ == "__main__":
    main()
