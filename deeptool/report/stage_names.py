"""Names of a pipeline's stages, as people know them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Of Python code that is not the user's.
_NO_NAMES = ("", "lambda", "flat_map_fn")
_KNOWN = {"TensorSlice": "from_tensor_slices", "Tensor": "from_tensors"}


def stage_name(stage: Mapping[str, Any]) -> str:
    """From the kind "ParallelMapV2" and the function "decode": "parallel_map decode".

    Parameters
    ----------
    stage : mapping
        ``kind`` and ``function``, as `deeptool.pipelines.pipeline_costs.measure_costs` has them.
    """
    kind = re.sub(r"V\d+$", "", stage["kind"])
    kind = _KNOWN.get(kind) or _WORD.sub("_", kind).lower()
    function = "" if stage["function"] in _NO_NAMES else stage["function"]
    return " ".join(filter(None, (kind, function)))
