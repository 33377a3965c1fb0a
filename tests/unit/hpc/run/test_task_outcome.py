"""What a task came to, from what its process and its job wrote."""

from __future__ import annotations

from pathlib import Path

from deeptool import outcome
from deeptool.outcome import CommandError, Outcome, StoredTopic
from hpc.processes.record import JobRecord
from hpc.run.task_outcome import failure_note, failure_text, read_outcome, upload_note

FAILED = JobRecord("trial-0", exit_code=2, tail=("a", "error: not this one", "c"))
ERROR = CommandError(message="no disk\n  seen: /dev", what="no disk")


def test_the_error_is_what_the_process_wrote(tmp_path: Path) -> None:
    path = tmp_path / "trial-0.outcome.json"
    outcome.write(path, Outcome(2, ERROR))
    found = read_outcome(path, FAILED)
    assert failure_text(FAILED, found, 2) == "no disk\n  seen: /dev"
    assert failure_note(FAILED, found) == "no disk"


def test_an_earlier_attempts_outcome_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "trial-0.outcome.json"
    outcome.write(path, Outcome(143, ERROR))
    assert read_outcome(path, FAILED) is None
    path.write_text('{"format": 1, "exit')
    assert read_outcome(path, FAILED) is None


def test_a_process_without_an_outcome_is_known_by_the_end_of_its_log() -> None:
    assert failure_text(FAILED, None, 2) == "\n    error: not this one\n    c"
    assert failure_note(FAILED, None) == "exit code 2"
    assert failure_text(JobRecord(exit_code=1), None, 2) == "its log is empty"


def test_a_jobs_own_error_comes_first() -> None:
    record = JobRecord("trial-0", exit_code=1, error="the broker has stopped\n  seen: idle")
    assert failure_text(record, Outcome(1, ERROR), 2) == "the broker has stopped\n  seen: idle"
    assert failure_note(record, Outcome(1, ERROR)) == "the broker has stopped"


def test_what_was_stored() -> None:
    topics = (
        StoredTopic("s.0.train", "train", 1797, 2_500_000, False),
        StoredTopic("s.0.val", "val", 100, 10, True),
    )
    text = "s.0.train: stored 1,797 samples, 2.5 MB; s.0.val: is there already (100 samples)"
    assert upload_note(Outcome(0, None, topics)) == text
    assert upload_note(None) == ""
