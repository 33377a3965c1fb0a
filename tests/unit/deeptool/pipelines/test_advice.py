"""What follows from measured costs: figures checked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from deeptool.pipelines.advice import FETCH, READ_COPY, SEND, advise, cut, least_count
from deeptool.report.advice_text import advice_lines, small_duration
from deeptool.report.stage_names import stage_name


def stage(
    kind: str, seconds: float, size: float, online: bool = False, random: bool = False
) -> dict[str, Any]:
    found = {"kind": kind, "function": "", "random": random, "online": online}
    return {**found, "seconds": seconds, "bytes": size}


def split_costs(stages: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    """1,000 samples of 1,000 bytes, for which the pipeline takes 10 ms each."""
    stored = {
        "record_bytes": 1000.0,
        "encode_seconds": 1e-5,
        "decode_seconds": 2e-5,
        "copy_seconds": 1e-6,
        "cache_seconds": 1e-6,
        "save_seconds": 1e-5,
        "load_seconds": 4e-5,
        "save_failed": "",
    }
    return {
        "samples": 1000,
        "measured_samples": 50,
        "stages": stages,
        "cpu_seconds": 0.01,
        "wall_seconds": 0.02,
        "stored": {**stored, **changed.pop("stored", {})},
        **changed,
    }


PLAIN = [stage("TensorSlice", 0.0, 100), stage("MapV2", 0.01, 1000), stage("BatchV2", 0.0, 1000)]


def costs(*splits: dict[str, Any], epochs: int = 5) -> dict[str, Any]:
    names = ("train", "val")[: len(splits)]
    return {"nbEpoch": epochs, "codec": "arrow", "splits": dict(zip(names, splits, strict=True))}


@pytest.mark.parametrize(
    ("fixed", "saved", "count"),
    [(10, 4, 3), (10, 5, 3), (0, 1, 1), (-3, 1, 1), (1, 0, None), (1, -1, None), (-1, -1, None)],
)
def test_from_when_on_something_pays(fixed: float, saved: float, count: int | None) -> None:
    assert least_count(fixed, saved) == count


def test_an_upload() -> None:
    row = advise(costs(split_costs(PLAIN)), 4)["uploads"]["train"]
    assert row["bytes"] == 1_000_000
    assert row["pass_seconds"] == pytest.approx(20)
    assert row["upload_seconds"] == pytest.approx(20 + 0.01 + SEND * 0.001)
    assert row["upload_seconds_shared"] == pytest.approx(row["upload_seconds"] / 4)


def test_storing_is_compared_with_each_other_way() -> None:
    advice = advise(costs(split_costs(PLAIN)), 1)
    # 10 s of pipeline; encoding 0.01, sending, filling one copy with its 0.02 of decoding.
    once = 10 + 0.01 + (SEND + FETCH) * 0.001 + 0.02
    assert advice["once"]["store"] == pytest.approx(once)
    assert advice["epoch"] == pytest.approx(
        {"store": READ_COPY * 0.001, "each_epoch": 10, "cache": 0.001, "save": 0.04}
    )
    # A second pass of the pipeline already costs more, in one trial or in another.
    assert advice["break_even"]["each_epoch"] == {"trials": 1, "epochs": 2}
    # cache() runs it once in each trial, and each epoch then costs less than reading.
    assert advice["break_even"]["cache"] == {"trials": 2, "epochs": None}
    # save() differs by what sending and filling cost more, and by cheaper epochs.
    fixed = once - (10 + 0.01)
    assert advice["break_even"]["save"] == {
        "trials": least_count(fixed, 5 * (0.04 - READ_COPY * 0.001)),
        "epochs": least_count(fixed, 0.04 - READ_COPY * 0.001),
    }


def test_a_cheap_pipeline_is_not_worth_storing() -> None:
    advice = advise(costs(split_costs(PLAIN, cpu_seconds=1e-6)), 1)
    assert advice["break_even"]["each_epoch"] == {"trials": None, "epochs": None}


def test_a_pipeline_that_caches_runs_once_in_each_trial() -> None:
    cached = [PLAIN[0], PLAIN[1], stage("CacheV2", 0.0, 1000), stage("BatchV2", 0.01, 1000)]
    advice = advise(costs(split_costs(cached)), 1)
    assert advice["epoch"]["each_epoch"] == pytest.approx(5)
    assert advice["trial"]["each_epoch"] == pytest.approx(5)


def test_both_splits_are_counted_and_an_unknown_one_is_not() -> None:
    both = advise(costs(split_costs(PLAIN), split_costs(PLAIN, samples=500)), 1)
    assert both["epoch"]["each_epoch"] == pytest.approx(15)
    one = advise(costs(split_costs(PLAIN), split_costs(PLAIN, samples=None)), 1)
    assert one["epoch"]["each_epoch"] == pytest.approx(10)
    assert one["uploads"]["val"]["bytes"] is None
    assert one["notes"] == ["how many samples a pass of val has is not known: it is not counted"]


def test_a_last_stage_that_makes_samples_larger_is_left_to_trials() -> None:
    larger = [*PLAIN, stage("ParallelMapV2", 1e-6, 100_000), stage("Prefetch", 0.0, 100_000)]
    found = cut(split_costs(larger, cpu_seconds=0.010001))
    assert (found["now"], found["best"], found["leave_online"]) == (5, 3, [3, 4])
    assert found["best_seconds"] < found["now_seconds"]
    # But not where it costs more than the bytes that it saves.
    costly = [*PLAIN, stage("ParallelMapV2", 0.01, 100_000)]
    assert cut(split_costs(costly, cpu_seconds=0.02))["leave_online"] == []


def test_a_stage_before_the_batches_stays_where_it_is() -> None:
    # Its bytes could be saved; but what batches or filters samples cannot be left to trials.
    early = [PLAIN[0], stage("MapV2", 1e-6, 100_000), stage("FilterV2", 0.0, 100_000)]
    assert cut(split_costs(early, cpu_seconds=1e-6))["leave_online"] == []


def test_a_costly_stage_of_each_epoch_is_stored_unless_it_is_random() -> None:
    for random in (False, True):
        online = stage("MapV2", 0.01, 1000, online=True, random=random)
        found = cut(split_costs([*PLAIN, online]))
        assert found["store"] == ([] if random else [3])


def test_a_stored_random_stage_is_named() -> None:
    random = [PLAIN[0], stage("MapV2", 0.01, 1000, random=True), PLAIN[2]]
    assert cut(split_costs(random))["random"] == [1]


def test_the_advice_in_words() -> None:
    measured = costs(split_costs(PLAIN), split_costs(PLAIN, samples=None, stored={}))
    lines = dict(advice_lines(measured, advise(measured, 4)))
    assert lines["where to cut"] == ["train, val: store what get_input_pipeline yields, as it is"]
    assert lines["the upload"][0].startswith("train: 1,000 samples x 1 kB in records = 1 MB;")
    assert lines["the upload"][1] == (
        "val: 1 kB per sample in records; how many samples is not known"
    )
    assert "1 trial of 5 epochs, or 2 epochs of a single trial" in "\n".join(
        lines["from when on storing takes less CPU time than"]
    )


def test_save_that_fails_is_said() -> None:
    failed = {"save_seconds": None, "load_seconds": None, "save_failed": "ValueError: no"}
    measured = costs(split_costs(PLAIN, stored=failed))
    advice = advise(measured, 4)
    assert advice["break_even"]["save"] is None
    said = [line for _, lines in advice_lines(measured, advice) for line in lines]
    assert "one dataset.save(): not possible here (ValueError: no)" in said


@pytest.mark.parametrize(
    ("kind", "function", "name"),
    [
        ("ParallelMapV2", "decode", "parallel_map decode"),
        ("TensorSlice", "", "from_tensor_slices"),
        ("MapV2", "lambda", "map"),
        ("from_generator", "flat_map_fn", "from_generator"),
        ("", "get_online_pipeline", "get_online_pipeline"),
    ],
)
def test_names_of_stages(kind: str, function: str, name: str) -> None:
    assert stage_name({"kind": kind, "function": function}) == name


def test_short_times() -> None:
    assert [small_duration(value) for value in (2e-6, 0.0125, 3.0)] == ["2 us", "12.5 ms", "3 s"]
