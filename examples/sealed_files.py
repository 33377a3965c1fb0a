"""Open the files of a sealed dataset with other programs: sealed_files.py FOLDER."""

import sys
from pathlib import Path

import duckdb
import polars
import pyarrow as pa

folder = Path(sys.argv[1])

# Samples of one size: an Arrow file, which is read in place.
for path in sorted(folder.glob("*/pass-*/rows.arrow")):
    samples = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    frame = polars.read_ipc(path)
    counted = duckdb.sql("SELECT count(*) FROM samples").fetchall()
    print(path, samples.column_names, frame.shape, counted)

# Strings and ragged samples: an Arrow stream.
for path in sorted(folder.glob("*/pass-*/rows.arrows")):
    samples = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    frame = polars.read_ipc_stream(path)
    counted = duckdb.sql("SELECT count(*) FROM samples").fetchall()
    print(path, samples.column_names, frame.shape, counted)
