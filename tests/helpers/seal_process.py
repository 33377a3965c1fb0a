"""Seals a dataset in a process of its own, which a test kills: FOLDER FORM [--replace] [LIMIT]."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
from memory_store import MemoryStore

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, Ragged
from deeptool.errors import DeeptoolError
from deeptool.progress import Progress
from deeptool.sealed.seal import seal, uploads_to_seal

FORMS = {
    "fixed": Spec((Leaf("float32", (None, 50)), Leaf("int64", (None,)))),
    "ragged": Spec((Leaf("float32", (None, None), 1), Leaf("int64", (None,)))),
}


def batches(form: str, rows: int = 400, size: int = 10) -> list[Leaves]:
    made: list[Leaves] = []
    for first in range(0, rows, size):
        numbers = np.arange(first, first + size)
        x = np.repeat(numbers[:, np.newaxis], 50, axis=1).astype(np.float32)
        ragged = Ragged(x.ravel(), (np.arange(size + 1, dtype=np.int64) * 50,))
        made.append((ragged if form == "ragged" else x, numbers))
    return made


def filled_store(form: str) -> MemoryStore:
    """Two splits, two stored passes each."""
    store = MemoryStore(target_bytes=4096)
    for split in ("train", "val"):
        passes = [batches(form), batches(form, 200)]
        store.upload(f"u-{split}", *passes, spec=FORMS[form], split=split, batch_size=10)
    return store


def main() -> None:
    target, form, *more = sys.argv[1:]
    replace = "--replace" in more
    limits = [int(one) for one in more if one != "--replace"]
    store = filled_store(form)
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def slowly(progress: Progress) -> None:
        if not limits:
            time.sleep(0.002)

    print("sealing", flush=True)
    try:
        uploads = uploads_to_seal(store.catalog(), "s")
        seal(store, "s", uploads, Path(target), replace=replace, listener=slowly)
    except DeeptoolError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
    print("sealed", flush=True)


if __name__ == "__main__":
    main()
