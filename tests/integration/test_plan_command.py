"""`deeptool plan` as a command: what it measures, what it keeps for a report, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import fake_run
from paths import ROOT
from settings_files import write

from deeptool.report import summarize, write_report
from deeptool.report.sections.pipeline_stages import stage_bars

HEAD = "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"


def plan(*arguments: object, seconds: str = "0.5") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("deeptool")), "plan", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "DEEPTOOL_PROBE_SECONDS": seconds},
        check=False,
        cwd=ROOT,
    )


def test_the_digits_example_and_the_page_of_its_campaign(tmp_path: Path) -> None:
    run_dir = fake_run(tmp_path / "run")
    assert 'class="plot" data-figure="stages-train"' not in page_of(run_dir)
    file = ROOT / "examples/digits/mysettings_digits.py"
    done = plan("--usersettings", file, "--save", run_dir, "--producers", "3")
    assert done.returncode == 0, done.stderr
    assert "parallel_map load" in done.stdout
    assert "parallel_map augment (online)" in done.stdout
    assert "train: 1,472 samples x 1.0" in done.stdout
    assert "with 3 producers" in done.stdout
    saved = json.loads((run_dir / "advice.json").read_text())
    costs = saved["costs"]["splits"]["train"]
    dearest = max(costs["stages"], key=lambda stage: stage["seconds"])
    assert dearest["function"] == "load"
    # The example's pipeline is made to be slow: its second pass is dearer than storing.
    assert saved["advice"]["break_even"]["each_epoch"]["trials"] == 1
    page = page_of(run_dir)
    assert 'class="plot" data-figure="stages-train"' in page
    assert "where to cut" in page
    figure = stage_bars(costs["stages"])
    assert [len(bars["x"]) for bars in figure["data"]] == [len(costs["stages"])] * 2


def page_of(run_dir: Path) -> str:
    return write_report(summarize(run_dir), run_dir).read_text()


@pytest.mark.parametrize(
    ("body", "code", "seen"),
    [
        ("    raise ValueError('no such folder')\n", 2, "no such folder"),
        (
            "    import tensorflow as tf\n"
            "    return tf.data.Dataset.range(1).map(lambda x: 1 // x).batch(1)\n",
            1,
            "InvalidArgumentError",
        ),
    ],
)
def test_a_pipeline_that_fails_ends_the_command_with_its_code(
    tmp_path: Path, body: str, code: int, seen: str
) -> None:
    (tmp_path / "model.py").write_text("def model(usersettings):\n    return None\n")
    file = write(tmp_path, get_input_pipeline=HEAD + body, model_file="'model.py'")
    done = plan("--usersettings", file, "--json")
    assert done.returncode == code, done.stderr
    assert "error: the probe of the train pipeline failed" in done.stderr
    assert seen in done.stderr
    answer = json.loads(done.stdout)
    assert answer["datasets"][0]["facts"]["failed"]
    assert "costs" not in answer
    # A launch reads it from the answer, and decides.
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"format": 1}))
    assert plan("--usersettings", file, "--json", "--request", request).returncode == 0


def test_nothing_is_saved_where_nothing_is_measured(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def model(usersettings):\n    return None\n")
    file = write(tmp_path, model_file="'model.py'")
    done = plan("--usersettings", file, "--save", tmp_path / "run", seconds="0")
    assert done.returncode == 2
    assert "there is nothing to save: the pipeline's costs are not measured" in done.stderr
    assert plan("--usersettings", file, seconds="0").returncode == 0
