"""Images for the tests that need Apptainer or Slurm.

They run only where they are asked for, as an ordinary user: ``make test-cluster``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaigns import Bench, Make
from image_builds import ROOT, Images, build_image


@pytest.fixture(scope="session")
def images() -> Images:
    """The three images, built once for all tests.

    DEEPTOOL_TEST_IMAGES names a folder with ready ones; else they go to ``build/``.
    """
    names = ("kafka", "zookeeper", "tensorflow")
    folder = Path(os.environ.get("DEEPTOOL_TEST_IMAGES", ROOT / "build"))
    if "DEEPTOOL_TEST_IMAGES" not in os.environ:
        for name in names:
            build_image(name)
    made = Images(*(folder / f"{name}.sif" for name in names))
    for image in (made.kafka, made.zookeeper, made.tensorflow):
        assert image.is_file(), f"{image} is missing"
    return made


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    benches = []

    def bench(text: str, name: str = "campaign") -> Bench:
        benches.append(Bench(tmp_path / name, text))
        return benches[-1]

    yield bench
    for each in benches:
        each.end()
