"""Probe the pipelines of settings files in this process' children: one JSON line for each file.

Run as a script, because only a process that has done nothing with TensorFlow can be forked.
"""

from __future__ import annotations

import json
import sys

from deeptool.pipelines.pipeline_probe import ProbeRequest
from deeptool.pipelines.probe_process import ProbeProcess

SECONDS = 2.0

if __name__ == "__main__":
    for path in sys.argv[1:]:
        request = ProbeRequest(path, "train", seconds=SECONDS)
        print(json.dumps(ProbeProcess(request).result().to_json()), flush=True)
