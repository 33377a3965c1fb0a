"""Job records: to JSON and back, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeptool.errors import UserError
from deeptool.files import read_json, write_json
from hpc.processes.record import EarlierStart, JobRecord, read_job_record, write_job_record


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "trial-0.json"
    assert read_job_record(path) is None
    record = JobRecord(
        *("trial-0", 1.0, 2.0, 0, 3.5),
        processes={"job": {"pid": 7, "started": 1.0}},
        tail=("a", "b"),
        runs=(EarlierStart(0.0, 0.5, "n1"),),
    )
    write_job_record(path, record)
    assert read_job_record(path) == record


def test_only_what_is_known_is_written(tmp_path: Path) -> None:
    path = tmp_path / "trial-0.json"
    write_job_record(path, JobRecord("trial-0", 1.0, exit_code=0))
    assert read_json(path) == {
        "kind": "job",
        "format": 1,
        "name": "trial-0",
        "start": 1.0,
        "exit_code": 0,
    }


def test_keys_of_a_later_release_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "trial-0.json"
    write_json(path, {"format": 1, "name": "trial-0", "colour": "red"})
    assert read_job_record(path) == JobRecord("trial-0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 2}', "newer version of deeptool"),
        ('{"format": 1, "na', "damaged"),
        ("[]", "damaged"),
        ('{"runs": [{"node": "n1"}]}', "damaged"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trial-0.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_job_record(path)
    assert str(path) in str(caught.value)
