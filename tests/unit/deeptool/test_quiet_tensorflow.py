"""Commands show none of TensorFlow's start-up lines, and all that it says of a real fault."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

ABSL = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
ONEDNN = "I0000 00:00:1.0 17223 port.cc:153] oneDNN custom operations are on. You may see\n"
PLACER = "E0000 00:00:1.0 1 computation_placer.cc:177] computation placer already registered.\n"
NO_AVX = "F0000 00:00:1.0 1 cpu_feature_guard.cc:31] compiled to use AVX instructions, but\n"
SETTINGS = ROOT / "examples" / "digits" / "mysettings_digits.py"


def train(path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends, by a wrong hparam, after it has imported TensorFlow."""
    argv = ["train", "-u", str(SETTINGS), "--no-kafka", "--hparam", "nope=1"]
    code = "from deeptool.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        env=os.environ | ({"PYTHONPATH": str(path)} if path else {}),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """Where a package named tensorflow is, in place of the real one."""
    (tmp_path / "tensorflow").mkdir()
    return tmp_path


def write_fake(fake: Path, *lines: str) -> None:
    (fake / "tensorflow" / "__init__.py").write_text("\n".join(["import os, sys", *lines]))


def test_a_real_command_shows_only_its_own_lines() -> None:
    ended = train()
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: unknown hyperparameter: nope\n")


def test_what_is_no_start_up_line_is_shown(fake: Path) -> None:
    lines = [ABSL, ONEDNN, "E0000 1 dso_loader.cc:8] libcudart is damaged\n", PLACER, "no newline"]
    write_fake(
        fake,
        *(f"os.write(2, {line.encode()!r})" for line in lines),
        "raise ImportError('libtensorflow.so: wrong ELF class')",
    )
    ended = train(fake)
    assert ended.returncode == 1
    assert "libcudart is damaged\nno newline" in ended.stderr
    assert "libtensorflow.so: wrong ELF class" in ended.stderr
    assert ended.stderr.index("no newline") < ended.stderr.index("wrong ELF class")
    for line in (ABSL, ONEDNN, PLACER):
        assert line not in ended.stderr


def test_an_import_that_ends_the_process_says_why(fake: Path) -> None:
    write_fake(fake, f"os.write(2, {(ABSL + NO_AVX).encode()!r})", "os.abort()")
    ended = train(fake)
    assert ended.returncode == -signal.SIGABRT
    assert ended.stderr == NO_AVX


def test_programs_that_import_deeptool_are_left_alone(fake: Path) -> None:
    write_fake(fake, f"os.write(2, {ONEDNN.encode()!r})")
    ended = subprocess.run(
        [sys.executable, "-c", "import deeptool, tensorflow"],
        env=os.environ | {"PYTHONPATH": str(fake)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stderr == ONEDNN
