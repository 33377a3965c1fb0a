"""How the cluster tests come by their images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 1500
# Three times as large, uncompressed images are built and read at a fraction of the CPU.
QUICKLY = {"APPTAINER_MKSQUASHFS_ARGS": "-noD -noF"}


@dataclass(frozen=True)
class Images:
    """The images, as files."""

    kafka: Path
    zookeeper: Path
    tensorflow: Path


def apt_mirror() -> str:
    """The address of Debian's packages in this machine's own apt sources."""
    if said := os.environ.get("DEEPTOOL_TEST_MIRROR"):
        return said
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for text in (source.read_text() for source in sources if source.is_file()):
        if found := re.search(r"^[^#\n]*?(https?://\S+/debian/?)(\s|$)", text, re.MULTILINE):
            return found[1]
    raise LookupError("no Debian mirror in the apt sources: set DEEPTOOL_TEST_MIRROR")


def build_arguments(name: str) -> list[str]:
    """How the tests build an image: between them, each bootstrap that needs no registry."""
    if name == "zookeeper":
        return [name, "--bootstrap", "localimage", "--from", str(ROOT / "build" / "kafka.sif")]
    return [name, "--bootstrap", "debootstrap", "--mirror", apt_mirror(), "--tensorflow", "cpu"]


def build_image(name: str) -> str:
    """Build an image into ``build/`` where it has changed; returns what the command printed."""
    if os.getuid() == 0:
        pytest.fail("images are built as an ordinary user, and this is root", pytrace=False)
    result = subprocess.run(
        [sys.executable, "-m", "hpc.cli", "images", *build_arguments(name)],
        env={**QUICKLY, **os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


if __name__ == "__main__":
    for each in ("kafka", "zookeeper", "tensorflow"):
        print(build_image(each))
