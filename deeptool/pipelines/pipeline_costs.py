"""What a settings file's pipelines cost, measured in a process of its own: ``deeptool plan``.

The probe of a pipeline settles TensorFlow to one thread and to determinism; here a pipeline runs as
an upload would run it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deeptool.codec import DEFAULT_CODEC
from deeptool.codec.spec import Spec
from deeptool.codec.tensors import leaves_from_tf
from deeptool.codec.values import rows
from deeptool.errors import WorkError
from deeptool.files import read_json, write_json
from deeptool.pipelines.iterator_model import has_model
from deeptool.pipelines.sample_costs import sample_costs
from deeptool.pipelines.settings_pipeline import SettingsPipeline
from deeptool.pipelines.settled_tensorflow import leave_no_cache
from deeptool.pipelines.stage_times import PipelineCost, StageCost, pipeline_cost
from deeptool.settings import Settings, load_settings

_LOADING_SECONDS = 300.0
_LAST_LINES = 3
# Of the time for a split: reading its pipeline, and taking samples to store.
_READING, _TAKING = 0.6, 0.2


def measure_costs(
    usersettings: str, hparams: Mapping[str, Any], splits: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Run a sample of each split's pipeline, in another process, and say what it costs.

    Parameters
    ----------
    usersettings : str
        The settings file.
    hparams : mapping
        Overrides.
    splits : sequence of str
    seconds : float
        For each split.

    Returns
    -------
    dict
        ``nbEpoch``, ``codec``, and ``splits``: for each its ``samples`` of a pass (None where
        nobody knows), ``measured_samples``, ``stages`` (kind, function, random, online, seconds
        and bytes per sample after it), ``cpu_seconds`` and ``wall_seconds`` per sample without
        get_online_pipeline, and ``stored`` (`SampleCosts`). Or ``unmeasured``: why this TensorFlow
        cannot tell.

    Raises
    ------
    WorkError
        The process failed, or did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="deeptool-plan-") as folder:
        asked, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        write_json(
            asked,
            {
                "usersettings": usersettings,
                "hparams": dict(hparams),
                "splits": list(splits),
                "seconds": seconds,
            },
        )
        limit = _LOADING_SECONDS + 10 * seconds * len(splits)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "deeptool.pipelines.pipeline_costs", asked, answer],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(f"it did not end in {limit:.0f} s") from error
        found = read_json(answer) if done.returncode == 0 else None
        if found is None:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise _failed("\n".join(lines[-_LAST_LINES:]) or f"exit code {done.returncode}")
        return dict(found)


def _failed(seen: str) -> WorkError:
    return WorkError(
        "the costs of the input pipeline could not be measured",
        seen=seen,
        next_step="set DEEPTOOL_PROBE_SECONDS=0 to leave that out",
    )


def settings_costs(
    settings: Settings, splits: Sequence[str], seconds: float, codec: str = DEFAULT_CODEC
) -> dict[str, Any]:
    """The same in this process, of settings that were loaded."""
    return {
        "nbEpoch": settings.nbEpoch,
        "codec": codec,
        "splits": {split: _split_costs(settings, split, seconds, codec) for split in splits},
    }


def _split_costs(settings: Settings, split: str, seconds: float, codec: str) -> dict[str, Any]:
    pipeline = SettingsPipeline(settings, split, None, False)
    dataset, limit = pipeline(0), pipeline.limit
    spec = Spec.from_tf(dataset.element_spec, settings.batched)
    cost = pipeline_cost(
        dataset, lambda element: rows(leaves_from_tf(element, spec)), _READING * seconds, limit
    )
    if not cost.samples:
        raise WorkError(f"the {split} pipeline yielded no sample in {_READING * seconds:.1f} s")
    stages = [{**asdict(stage), "online": False} for stage in cost.stages]
    if settings.get_online_pipeline is not None and (settings.batched or not spec.open_paths):
        # What trials read is batched, if the pipeline does not do it.
        batches = dataset if settings.batched else dataset.batch(settings.batch_size)
        online = settings.online(batches, split == "train")
        whole = pipeline_cost(online, _rows, _READING * seconds, limit)
        stages += [{**asdict(stage), "online": True} for stage in _added(cost, whole)]
    return {
        "samples": _samples_of_a_pass(dataset, limit, cost),
        "measured_samples": cost.samples,
        "stages": stages,
        "cpu_seconds": cost.cpu_seconds,
        "wall_seconds": cost.wall_seconds,
        "stored": sample_costs(dataset, spec, codec, _TAKING * seconds).to_json(),
    }


def _rows(element: Any) -> int:
    """The samples of a batch of whatever get_online_pipeline makes."""
    import tensorflow as tf

    return int(next(iter(tf.nest.flatten(element, expand_composites=False))).shape[0])


def _added(cost: PipelineCost, whole: PipelineCost) -> tuple[StageCost, ...]:
    """The stages of `whole` after those of `cost`; one for all where they cannot be told apart."""
    kept = len(cost.stages)
    kinds = [stage.kind for stage in cost.stages]
    if [stage.kind for stage in whole.stages[:kept]] == kinds:
        return whole.stages[kept:]
    more = sum(stage.seconds for stage in whole.stages) - sum(
        stage.seconds for stage in cost.stages
    )
    last = whole.stages[-1]
    return (replace(last, kind="", function="get_online_pipeline", seconds=max(0.0, more)),)


def _samples_of_a_pass(dataset: Any, limit: int | None, cost: PipelineCost) -> int | None:
    if cost.ended:
        return cost.samples
    batches = int(dataset.cardinality())
    known = round(batches * cost.samples / cost.elements) if batches >= 0 else None
    return min((each for each in (known, limit) if each is not None), default=None)


def _answer(request: Path, answer: Path) -> None:
    asked = json.loads(request.read_text(encoding="utf-8"))
    leave_no_cache()
    if not has_model():
        import tensorflow as tf

        why = f"TensorFlow {tf.__version__} does not tell what stages cost: a later one does"
        write_json(answer, {"unmeasured": why})
        return
    settings = load_settings(asked["usersettings"], hparams=asked["hparams"])
    write_json(answer, settings_costs(settings, asked["splits"], asked["seconds"]))


if __name__ == "__main__":
    _answer(Path(sys.argv[1]), Path(sys.argv[2]))
