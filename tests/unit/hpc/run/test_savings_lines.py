"""What a launch says of the CPU time of its input work."""

from __future__ import annotations

from typing import Any

from deeptool.report.savings import account
from hpc.run.savings_lines import savings_lines


def lines(broker: float | None, ways: dict[str, Any] | None) -> list[str]:
    trial = {"index": 0, "proc_id": 0, "data_from": "kafka", "epochs_run": 5}
    upload = {"topic": "s.0.train", "proc_id": 0, "samples": 100, "epochs": [{}]}
    upload |= {"cpu_seconds": 25.0, "pipeline_cpu_seconds": 20.0, "other_ways": ways}
    return list(savings_lines(account([{**trial, "input_cpu_seconds": 1.0}], [upload], broker)))


def test_a_bar_for_each_way_and_a_verdict() -> None:
    ways = {"cache_seconds": 0.01, "save_seconds": 0.03, "load_seconds": 0.02, "failed": ""}
    said = lines(24.0, ways)
    assert [line.split("#")[0].split() for line in said[1:5]] == [
        ["this", "run", "50.0", "s"],
        ["preprocessing", "in", "every", "epoch", "100.0", "s"],
        ["cache()", "in", "each", "trial", "24.0", "s"],
        ["one", "dataset.save()", "33.0", "s"],
    ]
    assert [line.count("#") for line in said[1:5]] == [20, 40, 10, 13]
    assert said[1].endswith("# (producers 25.0 s, broker 24.0 s, reading 1.0 s)")
    assert len({line.index("#") for line in said[1:5]}) == 1
    assert said[5] == (
        "26.0 CPU s lost: cache() in each trial would have cost less; storing costs less from 3"
        " trials on (docs/when-to-use.md)"
    )


def test_what_is_not_known_is_said() -> None:
    said = lines(None, None)
    why = "not known (s.0.train was uploaded by an earlier release, or without a settings file)"
    assert f"  cache() in each trial: {why}" in said
    assert f"  one dataset.save(): {why}" in said
    assert said[-1] == (
        "74.0 CPU s saved against preprocessing in every epoch; it pays from the first trial on"
    )


def test_nothing_is_said_where_nothing_can_be_compared() -> None:
    assert list(savings_lines(None)) == []
