"""Every command of README.md, CONTRIBUTING.md and docs/ runs as shown, in the page's order."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from deeptool.pipelines.split_probe import SECONDS_VARIABLE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ELSEWHERE = tomllib.loads((ROOT / "tests/docs_commands.toml").read_text())["elsewhere"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.broker


def commands(page: Path) -> list[str]:
    """The lines of the page's sh blocks, and its indented `make` commands without their comment."""
    text = page.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"^    (make [a-z-]+)", text, flags=re.MULTILINE)
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def elsewhere(command: str) -> bool:
    return any(entry["command"] == command for entry in ELSEWHERE)


def test_commands_run_elsewhere_are_really_run_there() -> None:
    shown = {command for page in PAGES for command in commands(page)}
    for entry in ELSEWHERE:
        assert entry["command"] in shown, f"{entry['command']} is in no page any more"
        assert entry["there"] in (ROOT / entry["in_file"]).read_text()
        assert entry["reason"]


def links(page: Path) -> list[str]:
    """What the page's links and pictures name in this repository, without the part after #."""
    found = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    return [name for name in found if "://" not in name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    missing = [name for name in links(page) if not (page.parent / name).exists()]
    assert missing == []


def test_the_readme_shows_the_flow_and_the_report() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures == ["docs/flow.svg", "docs/report.png"]


def test_python_that_a_page_shows_is_of_an_example_that_is_run() -> None:
    # tests/integration/test_torch.py runs the second one.
    files = ("plain_keras", "plain_torch", "cross_validation", "sealed_files", "optuna_search")
    names = [f"examples/{file}.py" for file in files]
    examples = [(ROOT / name).read_text().splitlines() for name in names]
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
            assert any(set(block.splitlines()) <= set(example) for example in examples), block
    run = [command for page in PAGES for command in commands(page)]
    assert all(any(name in command for command in run) for name in names)
    here = [command for command in run if any(names[n] in command for n in (0, 2, 4))]
    assert not any(elsewhere(command) for command in here)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder like a fresh clone after `make setup`, whose outputs go with the test."""
    for name in (".venv", "examples", "start_kafka_producer.py", "experiments_manager.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path, checkout: Path) -> None:
    port = str(free_port())
    # Pipelines are probed and measured, as whoever types these commands has it.
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "COLUMNS": "160",
        SECONDS_VARIABLE: "1",
    }
    done = []
    try:
        for command in commands(page):
            if elsewhere(command):
                continue
            words = [word.replace("9092", port) for word in shlex.split(command)]
            result = subprocess.run(
                words, cwd=checkout, env=environment, capture_output=True, text=True, timeout=240
            )
            assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
            done.append(command)
    finally:
        if any("broker up" in command for command in done):
            subprocess.run(
                [".venv/bin/deeptool-hpc", "broker", "down", "--dir", "runs/broker"],
                cwd=checkout,
                capture_output=True,
                timeout=60,
            )
    assert len(done) == len([c for c in commands(page) if not elsewhere(c)])
