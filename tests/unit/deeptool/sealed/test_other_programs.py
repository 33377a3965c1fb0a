"""The files of a sealed dataset are read by pyarrow, polars and DuckDB, as the page shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pytest
from paths import ROOT
from seal_process import filled_store

from deeptool.sealed.seal import seal, uploads_to_seal


@pytest.fixture(params=["fixed", "ragged"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    store = filled_store(request.param)
    seal(store, "s", uploads_to_seal(store.catalog(), "s"), tmp_path / "digits")
    return tmp_path / "digits"


def test_rows_are_the_samples_in_their_order(folder: Path) -> None:
    (path,) = folder.glob("s.0.train/pass-0/rows.*")
    stream = path.suffix == ".arrows"
    opened = (pa.ipc.open_stream if stream else pa.ipc.open_file)(pa.memory_map(str(path)))
    samples = opened.read_all()
    frame = polars.read_ipc_stream(path) if stream else polars.read_ipc(path)
    queried: Any = duckdb.sql('SELECT "0", "1" FROM samples ORDER BY "1"').fetchall()
    expected = list(range(400))
    assert samples.column("1").to_pylist() == expected
    assert frame["1"].to_list() == expected
    assert [row[1] for row in queried] == expected
    for x in (samples.column("0")[7].as_py(), frame["0"].to_list()[7], queried[7][0]):
        assert np.asarray(x).tolist() == [7.0] * 50


def test_the_example(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/sealed_files.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert "(400, 2) [(400,)]" in done.stdout
