"""Eight processes that read one local copy at once, as the trials of a node do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import deeptool
from bench.contenders import Contender, Context, Timed, Work
from bench.ours import NO_COPY, copies, from_copy
from bench.process_memory import anonymous_mb

READERS = 8
SECONDS = 3.0


def contenders(context: Context) -> Mapping[str, Contender]:
    """Offer it; the copy is filled before, or by the first of them."""
    return {"eight readers, numpy": Work(partial(_read, context)) if copies() else NO_COPY}


def _read(context: Context, number: int) -> Timed:
    """Eight times what the slowest of them reads; the memory is that of the largest."""
    asked = {
        "servers": context.servers,
        "name": context.dataset_name,
        "batch_size": context.workload.batch_size,
        "options": from_copy(context.folder("copy")),
    }
    with ExitStack() as stack:
        readers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", __name__, json.dumps(asked)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(READERS)
        ]
        # Each has read a pass when it says so: they begin together.
        for reader in readers:
            if reader.stdout is None or not reader.stdout.readline():
                raise RuntimeError("a reader ended before it was ready")
        for reader in readers:
            if reader.stdin is not None:
                reader.stdin.write("begin\n")
                reader.stdin.flush()
        answers = [json.loads(reader.communicate(timeout=60)[0]) for reader in readers]
    slowest = min(answers, key=lambda answer: answer["samples"] / answer["seconds"])
    memory = max(answer["anonymous_mb"] for answer in answers)
    return Timed(READERS * slowest["samples"], slowest["seconds"], memory)


def main() -> None:
    """One of them: a pass, then batches for `SECONDS` after a line on stdin."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    data: Any = deeptool.open(asked["servers"], asked["name"])
    read = partial(data.numpy, batch_size=asked["batch_size"], repeat=None, **asked["options"])
    first = data.elements(1, batch_size=asked["batch_size"])
    samples, memory = 0, 0.0
    batches = iter(read(first_epoch=1))
    for _ in range(first):
        next(batches)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began = time.perf_counter()
    while (seconds := time.perf_counter() - began) < SECONDS:
        samples += len(next(batches)[1])
        memory = memory or anonymous_mb()
    sys.stdout.write(
        json.dumps(
            {
                "samples": samples,
                "seconds": seconds,
                "anonymous_mb": max(memory, anonymous_mb()),
            }
        )
    )


if __name__ == "__main__":
    main()
