"""What is shown of a campaign, in terminals of any width."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from hpc.run.screen import Screen, TrialTable, picture, trial_tables, trial_text
from hpc.run.snapshot import Snapshot, TaskRow

HPARAMS = {"image_size": 32, "learning_rate": 0.001, "augmentation": 0.5}
NAMES = list(HPARAMS)


def trial(index: int, **facts: object) -> TaskRow:
    values = {
        "state": "complete",
        "seconds": 12.3,
        "progress": {"epoch": 13, "epochs": 60},
        "result": {
            "best": {"val_accuracy": 0.9778, "val_loss": 0.0812},
            "epochs_run": 13,
            "samples_read": 23361,
            "input_cpu_seconds": 0.42,
        },
        **facts,
    }
    return TaskRow(f"trial-{index}", "trial", index, log="", note="", hparams=HPARAMS, **values)  # type: ignore[arg-type]


def shown(content: object, width: int) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=width).print(content)
    return output.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_hparams_and_metric_are_whole_and_a_trial_is_a_line(width: int) -> None:
    lines = shown(TrialTable([trial(0), trial(1)], NAMES), width)
    assert len(lines) == (4 if width >= 120 else 3)
    for word in (*NAMES, "state", "epoch", "val_accuracy"):
        assert word in " ".join(lines), word
    for word in ("32", "0.001", "0.5", "complete", "13/60", "0.9778"):
        assert word in lines[-1].split(), word


def test_an_hparam_may_be_named_as_another_column() -> None:
    lines = shown(TrialTable([trial(0)], ["image_size", "state", "samples"]), 200)
    assert lines[-2].split()[:4] == ["trial", "image_size", "state", "samples"]
    assert lines[-1].split()[-2] == "23,361"


def test_a_screen_says_that_there_are_more_trials_and_a_pipe_has_all() -> None:
    rows = tuple(trial(index) for index in range(30))
    seen = Snapshot("digits", "r", "complete", "h:1", 60.0, rows)
    lines = shown(picture(seen), 120)
    assert lines[-1] == "18 more: deeptool-hpc status r | cat"
    assert len(lines) == 2 + 2 + 12 + 1
    whole = shown(picture(seen, whole=True), 120)
    assert len(whole) == 2 + 2 + 30
    assert "more" not in whole[-1]


def test_job_ids_and_why_jobs_wait_are_shown() -> None:
    facts = {"progress": {}, "result": {}, "seconds": None}
    waits = replace(trial(0, state="waiting", job="7_0", **facts), note="queued (Priority)")
    producer = TaskRow("producer-0", "producer", 0, "running", 1.0, "", "", {}, {}, {}, job="6")
    broker = TaskRow("broker", "broker", 0, "ready", 9.0, "", "", {}, {}, {}, job="5")
    seen = Snapshot("digits", "r", "running", "h:1", 60.0, (broker, producer, waits))
    text = shown(picture(seen), 160)
    assert text[0] == "digits running  1:00  broker ready job 5 h:1"
    assert text[1].split() == ["producer-0", "running", "job", "6"]
    assert text[-1].rstrip().endswith("queued (Priority)  7_0")


def test_a_wide_terminal_has_it_all() -> None:
    last = shown(TrialTable([trial(7, node="n1", device="0")], NAMES), 200)[-1].split()
    assert last[0] == "7"
    assert last[-6:] == ["0.9778", "0.0812", "12.3", "23,361", "0.42", "n1:0"]


def test_a_trial_that_has_just_begun_has_no_number_of_epochs() -> None:
    row = trial(0, state="running", result={}, progress={"epoch": 0, "epochs": None})
    assert "None" not in "".join(shown(TrialTable([row], NAMES), 200))


def test_a_broker_of_a_campaign_that_is_done_is_stopped() -> None:
    broker = TaskRow("broker", "broker", 0, "complete", 9.0, "", "", {}, {}, {})
    lines = shown(picture(Snapshot("digits", "r", "complete", "h:1", 60.0, (broker,))), 100)
    assert lines[0] == "digits complete  1:00  broker stopped h:1"


def outdated(index: int, why: str) -> TaskRow:
    return replace(trial(index), state="outdated", note=why)


def test_outdated_trials_stand_apart_with_what_has_changed() -> None:
    rows = (trial(0), outdated(1, "model.py"), outdated(2, "model.py"), outdated(3, "scaling.py"))
    lines = shown(picture(Snapshot("digits", "r", "complete", "h:1", 60.0, rows)), 120)
    assert any("1 of 1 trials" in line for line in lines)
    assert lines[-2:] == [
        "outdated, not compared with the others: 1, 2 (model.py)",
        "outdated, not compared with the others: 3 (scaling.py)",
    ]
    whole = [line.split()[0] for table in trial_tables(rows) for line in shown(table, 200) if line]
    assert [word for word in whole if word != "input"] == [
        *("trial", "0", "outdated,", "outdated,", "trial", "1", "2", "3")
    ]


def test_a_trial_that_diverged_is_counted_as_ended() -> None:
    rows = (trial(0), trial(1, state="diverged", result={"best": {"val_loss": None}}))
    text = "\n".join(shown(picture(Snapshot("digits", "r", "complete", "h:1", 60.0, rows)), 120))
    assert "2 of 2 trials, 1 diverged" in text


def test_a_broker_that_was_not_needed_does_not_wait() -> None:
    broker = TaskRow("broker", "broker", 0, "waiting", None, "", "", {}, {}, {})
    lines = shown(picture(Snapshot("digits", "r", "complete", "", 0.0, (broker,))), 100)
    assert lines[0].split() == ["digits", "complete", "0:00", "broker", "not", "needed"]


def test_at_the_end_the_best_trial_is_the_first_line() -> None:
    rows = (trial(0), trial(1), trial(2, state="failed", result={}))
    (table,) = trial_tables(rows, [1, 0])
    assert [line.split()[0] for line in shown(table, 200)][-3:] == ["1", "0", "2"]


def test_a_reason_is_printed_once() -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, width=200))
    for index in range(2):
        screen.failed(f"trial-{index}", "no such file\n  seen: x", f"logs/{index}")
    screen.failed("trial-2", "another", "logs/2")
    assert output.getvalue().splitlines() == [
        *("trial-0 failed: no such file", "  seen: x", "  log: logs/0"),
        *("trial-1 failed: as trial-0", "  log: logs/1"),
        *("trial-2 failed: another", "  log: logs/2"),
    ]


def test_a_trial_that_stopped_early_says_so() -> None:
    assert "stopped after 13 of 60 epochs" in trial_text(trial(0))
    assert "stopped" not in trial_text(trial(0, progress={"epoch": 13, "epochs": 13}))
