"""What ``deeptool produce --reuse`` makes of edits between two uploads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import uploads
from click.testing import CliRunner
from settings_files import write

from deeptool.client.topic_names import topic_name
from deeptool.commands.produce import command
from deeptool.errors import UserError
from deeptool.pipelines.split_probe import SECONDS_VARIABLE
from deeptool.settings import compare, load_settings

pytestmark = pytest.mark.broker

PIPELINE = """\
def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import numpy as np
    import tensorflow as tf
    x = np.arange(OFFSET, OFFSET + 10, dtype="float32")
    return tf.data.Dataset.from_tensor_slices((x, -x)).map(scaling.scaled).batch(batch_size)
"""
HELPER = "FACTOR = 1.0\n\n\ndef scaled(x, y):\n    return x * FACTOR, y\n"


class Experiment:
    """A settings file with a module beside it, and what becomes of its upload."""

    def __init__(self, folder: Path, broker: str, session: str) -> None:
        self.folder, self.broker, self.session = folder, broker, session
        self.topic = topic_name(session, 0, "train")
        (folder / "raw").mkdir()
        (folder / "raw" / "a.csv").write_text("1,2\n")
        (folder / "scaling.py").write_text(HELPER)
        self.settings = write(
            folder,
            before="import scaling",
            after="OFFSET = 3",
            session_name=repr(session),
            raw_data_dir_train=repr(str(folder / "raw")),
            nb_train_samples="0",
            get_input_pipeline=PIPELINE,
        )

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def produce(self, *arguments: str, owner: str = "", probe: str = "0") -> str:
        """What the command says; its error is raised."""
        env = {"DEEPTOOL_OWNER": owner or None, SECONDS_VARIABLE: probe}
        result = CliRunner(env=env).invoke(
            command, ["-u", str(self.settings), "-s", self.broker, *arguments]
        )
        if result.exception is not None:
            raise result.exception
        return result.output

    def stored(self) -> tuple[str, list[float]]:
        """The upload's id, and its samples."""
        upload = uploads.current(self.broker, self.topic)
        return upload.id, list(uploads.samples(self.broker, upload)[0])


@pytest.fixture
def experiment(tmp_path: Path, broker: str, session_name: str) -> Experiment:
    return Experiment(tmp_path, broker, session_name)


SETTINGS = "mysettings_test.py"


def test_edits_and_what_becomes_of_the_samples(experiment: Experiment) -> None:
    experiment.produce(probe="2")
    first, samples = experiment.stored()
    assert samples == [float(x) for x in range(3, 13)]
    # Nothing of this is in the samples.
    for old, new in (
        ("OFFSET = 3", "# where it begins\nOFFSET = (3)"),
        ("return 'sgd'", "return 'adam'"),
        ("'nbEpoch': 3", "'nbEpoch': 4"),
        ("batch_size = 10", "batch_size = 4"),
    ):
        experiment.edit(SETTINGS, old, new)
        assert "is there already" in experiment.produce("--reuse")
    os.utime(experiment.folder / "raw" / "a.csv", (1, 1))
    assert "is there already" in experiment.produce("--reuse", "--replace")
    assert experiment.stored() == (first, samples)

    upload = uploads.current(experiment.broker, experiment.topic)
    begun, pipeline = upload.begun, upload.completed and upload.completed.pipeline
    # What the report compares a run with.
    ways = upload.completed and upload.completed.other_ways
    assert ways is not None
    assert (ways["samples"] > 0, ways["failed"]) == (True, "")
    assert min(ways["cache_seconds"], ways["save_seconds"], ways["load_seconds"]) > 0
    experiment.edit("scaling.py", "FACTOR = 1.0", "FACTOR = 2.0")
    with pytest.raises(UserError, match="but a different one") as refused:
        experiment.produce("--reuse")
    assert refused.value.exit_code == 2
    assert refused.value.seen == "code: scaling.py"
    assert "--replace" in str(refused.value.next_step)
    # The samples themselves say so as well, where they are read.
    with pytest.raises(UserError, match="but a different one") as refused:
        experiment.produce("--reuse", probe="2")
    assert "samples: other values within the first 1" in str(refused.value.seen)
    # A trial that reads them is warned.
    warnings = compare(load_settings(experiment.settings, seed=False), begun, {}, pipeline)
    assert "has changed since the upload: scaling.py" in warnings[0]
    assert experiment.stored() == (first, samples)
    said = experiment.produce("--reuse", "--replace")
    assert f"{experiment.topic}: is uploaded again" in said
    assert "code: scaling.py" in said
    second, doubled = experiment.stored()
    assert second != first
    assert doubled == [2 * x for x in samples]
    assert "is there already" in experiment.produce("--reuse")

    experiment.edit("scaling.py", "FACTOR = 2.0", "FACTOR = 1.0")
    experiment.produce("--reuse", "--replace", probe="2")
    assert experiment.stored()[1] == samples
    # All samples were read and are the same: then other code that makes them does not matter.
    experiment.edit("scaling.py", "x * FACTOR", "FACTOR * x")
    assert "is there already" in experiment.produce("--reuse", probe="2")
    # With --reuse-any, nothing does.
    experiment.edit("scaling.py", "FACTOR * x", "FACTOR * x + 1")
    assert "is there already" in experiment.produce("--reuse-any")


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (SETTINGS, "OFFSET = 3", "OFFSET = 4", "OFFSET"),
        (SETTINGS, "-x)", "-2 * x)", "get_input_pipeline"),
    ],
)
def test_a_campaign_replaces_its_own_dataset(
    experiment: Experiment, file: str, old: str, new: str, named: str
) -> None:
    experiment.produce("--reuse", owner="campaign:one:producer-0")
    first, _ = experiment.stored()
    experiment.edit(file, old, new)
    for other in ("", "campaign:two:producer-0"):
        with pytest.raises(UserError, match="but a different one") as refused:
            experiment.produce("--reuse", owner=other)
        assert named in str(refused.value.seen)
    said = experiment.produce("--reuse", owner="campaign:one:producer-0")
    assert "the earlier dataset is deleted" in said
    assert named in said
    assert experiment.stored()[0] != first
    assert "is there already" in experiment.produce("--reuse", owner="campaign:one:producer-0")
