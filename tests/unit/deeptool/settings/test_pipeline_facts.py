"""Whether two readings of pipelines tell of the same samples."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deeptool.settings.pipeline_facts import (
    PipelineFacts,
    checkpoint_counts,
    kept_facts,
    proven_same,
    same_samples,
)

CODE = {"get_input_pipeline": "1", "file:scaling.py": "2"}
WHOLE = PipelineFacts(((1, "a"), (2, "b"), (5, "c")), 5, None, "float32[?]", CODE)
BEGIN = replace(WHOLE, checkpoints=((1, "a"), (2, "b")), end=None)
EDITED: dict[str, Any] = {"code": {**CODE, "file:scaling.py": "3"}}


def test_counts_are_the_same_wherever_one_begins() -> None:
    counts = checkpoint_counts(1, 10_000)
    assert counts[:16] == list(range(1, 17))
    assert len(counts) < 40
    assert checkpoint_counts(20, 300) == [count for count in counts if 20 <= count <= 300]


@pytest.mark.parametrize(
    ("stored", "now", "difference"),
    [
        (WHOLE, WHOLE, None),
        # How far a time limit let each of them read does not matter.
        (WHOLE, BEGIN, None),
        (BEGIN, WHOLE, None),
        # All samples are the same: another way to make them is no difference.
        (WHOLE, replace(WHOLE, **EDITED), None),
        (WHOLE, replace(BEGIN, **EDITED), "code: scaling.py"),
        (BEGIN, replace(WHOLE, code={**CODE, "FACTOR": "4"}), "code: FACTOR"),
        # A file that only one of them has come to open yet.
        (BEGIN, replace(BEGIN, code={**CODE, "file:late.csv": "4"}), None),
        (BEGIN, replace(BEGIN, checkpoints=((1, "a"), (2, "x"))), "within the first 2"),
        (WHOLE, replace(WHOLE, checkpoints=((1, "a"), (2, "b"), (4, "z")), end=4), "5 stored, 4"),
        (WHOLE, replace(BEGIN, checkpoints=((1, "a"), (6, "z"))), "5 stored, more than 5 now"),
        (WHOLE, replace(WHOLE, element_spec="int64[?]"), "float32[?] stored, int64[?] now"),
        # Digests that no two processes share say nothing: the code does.
        (WHOLE, replace(WHOLE, checkpoints=((1, "x"),), reproducible=False), None),
        (replace(WHOLE, reproducible=False), replace(WHOLE, **EDITED), "code: scaling.py"),
        (BEGIN, replace(BEGIN, code={}), "code"),
    ],
)
def test_same_samples(stored: PipelineFacts, now: PipelineFacts, difference: str | None) -> None:
    found = same_samples(stored, now)
    assert (found == []) if difference is None else (difference in "; ".join(found))


def test_only_whole_reproducible_readings_prove_anything() -> None:
    assert proven_same(WHOLE, WHOLE)
    assert not proven_same(WHOLE, BEGIN)
    assert not proven_same(WHOLE, replace(WHOLE, reproducible=False))


def test_json_and_back() -> None:
    value = json.loads(json.dumps(WHOLE.to_json()))
    assert value["fingerprint"] == WHOLE.fingerprint
    assert PipelineFacts.from_json({**value, "of a later release": 1}) == WHOLE
    for damaged in ({}, {"checkpoints": [[1]]}, {"checkpoints": 5}):
        assert kept_facts(damaged) is None
    assert kept_facts(None) is None


def test_a_long_element_spec_is_kept_as_its_beginning_and_its_hash() -> None:
    columns = ", ".join(f"c{number}: float32[?]" for number in range(4200))
    facts, other = (PipelineFacts(element_spec=f"{{{columns}{end}}}") for end in ("", ", y"))
    assert len(json.dumps(facts.to_json())) < 1500
    assert facts.element_spec.startswith("{c0: float32[?], c1")
    assert facts != other
    # Of an earlier release, which kept all of it.
    whole = {**facts.to_json(), "element_spec": f"{{{columns}}}"}
    for value in (whole, facts.to_json()):
        assert PipelineFacts.from_json(json.loads(json.dumps(value))) == facts
    assert PipelineFacts(element_spec="float32[?]").element_spec == "float32[?]"
