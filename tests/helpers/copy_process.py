"""A process that opens a local copy, reads all rows as they come, and says what it saw.

python copy_process.py FOLDER SAMPLES PIECE SECONDS_A_PIECE [fixed|ragged]

Prints "open", then for each call of its fill "filling N rows", then "all SAMPLES rows are right".
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, Ragged
from deeptool.columns.growing_columns import GrowingColumns, NoLocalCopy, Write
from deeptool.columns.local_copy import find_or_fill

KEY = "digits train, pass 0"
FIXED = Spec((Leaf("float32", (None, 25)), Leaf("int64", (None,))))
RAGGED = Spec((Leaf("int32", (None, None), 1), Leaf("string", (None,))))


def rows(spec: Spec, start: int, stop: int) -> Leaves:
    """What rows start, ..., stop - 1 hold."""
    numbers = np.arange(start, stop)
    if spec == FIXED:
        return numbers[:, None] * 0.5 + np.arange(25, dtype=np.float32), numbers
    lengths = numbers % 7
    splits = np.concatenate([[0], np.cumsum(lengths)])
    flat = (
        np.repeat(numbers, lengths) * 10 + np.arange(splits[-1]) - np.repeat(splits[:-1], lengths)
    )
    texts = np.array([b"row %d" % number * (number % 3) for number in numbers], dtype=object)
    return Ragged(flat.astype(np.int32), (splits,)), texts


def as_written(spec: Spec, start: int, stop: int) -> Leaves:
    leaves = rows(spec, start, stop)
    if spec == FIXED:
        return np.asarray(leaves[0]).astype(np.float32), leaves[1]
    return leaves


def wrong_rows(spec: Spec, columns: GrowingColumns, chosen: Sequence[int]) -> list[int]:
    """Those of these rows that hold something else, each compared by itself."""
    taken, wrong = columns.take(np.array(chosen, np.int64)), []
    for place, row in enumerate(chosen):
        expected = as_written(spec, row, row + 1)
        for value, valid in zip(taken, expected, strict=True):
            if isinstance(value, Ragged) and isinstance(valid, Ragged):
                low, high = value.row_splits[0][place : place + 2]
                same = value.flat_values[low:high].tolist() == valid.flat_values.tolist()
            else:
                same = np.asarray(value)[place].tolist() if spec == FIXED else value[place]  # type: ignore[index]
                same = same == (np.asarray(valid)[0].tolist() if spec == FIXED else valid[0])  # type: ignore[index]
            if not same:
                wrong.append(row)
    return wrong


def say(line: str) -> None:
    """As one write: the thread that fills says something, too."""
    os.write(1, f"{line}\n".encode())


def main() -> None:
    folder, samples, piece, pause = Path(sys.argv[1]), *map(float, sys.argv[2:5])
    spec = RAGGED if "ragged" in sys.argv[5:] else FIXED
    count, step = int(samples), int(piece)

    def fill(write: Write, missing: Sequence[tuple[int, int]]) -> None:
        say(f"filling {sum(stop - start for start, stop in missing)} rows")
        pieces = [
            (first, min(first + step, stop))
            for start, stop in missing
            for first in range(start, stop, step)
        ]
        for first, stop in np.random.default_rng().permutation(pieces).tolist():
            write(first, as_written(spec, first, stop))
            time.sleep(pause)

    def warn(line: str) -> None:
        say(f"warning: {line}")

    try:
        columns = find_or_fill(KEY, spec, count, fill, folder, expected_bytes=count, warn=warn)
        say("open")
        wrong: list[int] = []
        for start in range(0, count, step):
            window = range(start, min(start + step, count))
            columns.wait([(window.start, window.stop)], timeout=60)
            wrong += wrong_rows(spec, columns, window[::-1])
        columns.close()
    except NoLocalCopy as error:
        say(f"no local copy: {error}")
        return
    say(f"wrong rows: {wrong}" if wrong else f"all {count} rows are right")


if __name__ == "__main__":
    main()
