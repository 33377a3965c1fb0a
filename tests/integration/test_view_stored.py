"""`deeptool view` on what is really stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from matplotlib.image import imread

import deeptool
from deeptool.commands.view import command
from deeptool.errors import UserError

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("codec", ["arrow", "example"])
def test_stored_samples_become_a_picture(
    broker: str, session_name: str, tmp_path: Path, codec: str
) -> None:
    images = np.zeros((40, 16, 16, 3), np.uint8)
    images[..., 0] = 200
    dataset = tf.data.Dataset.from_tensor_slices((images, np.arange(40))).batch(8)
    deeptool.upload(dataset, broker, session_name, codec=codec)
    out = tmp_path / "samples.png"
    argv = [session_name, "--server", broker, "-n", "8", "-o", str(out)]
    printed = CliRunner().invoke(command, argv, catch_exceptions=False)
    assert printed.output.strip() == str(out)
    colours = imread(out)[..., :3].reshape(-1, 3)
    red = np.isclose(colours, [200 / 255, 0, 0], atol=0.01).all(axis=1)
    assert 0.3 < red.mean() < 0.9


def test_one_shard_is_drawn_without_the_others(
    broker: str, session_name: str, tmp_path: Path
) -> None:
    numbers = tf.data.Dataset.range(100).map(lambda i: (tf.cast(i, tf.float32), i)).batch(8)
    deeptool.upload(numbers, broker, session_name, proc_id=1, num_procs=2)
    out = tmp_path / "shard.png"
    argv = [session_name, "--server", broker, "--procID", "1", "--output", str(out)]
    CliRunner().invoke(command, argv, catch_exceptions=False)
    assert imread(out).shape[2] == 4


def test_what_is_not_stored_and_what_cannot_be_written(
    broker: str, session_name: str, tmp_path: Path
) -> None:
    argv = [session_name, "--server", broker, "--output"]
    with pytest.raises(UserError, match="not stored"):
        CliRunner().invoke(command, [*argv, "a.png"], catch_exceptions=False)
    deeptool.upload(tf.data.Dataset.range(100).batch(8), broker, session_name)
    for path in (tmp_path / "no folder" / "a.png", tmp_path / "a.xyz"):
        with pytest.raises(UserError, match="cannot be written"):
            CliRunner().invoke(command, [*argv, str(path)], catch_exceptions=False)
