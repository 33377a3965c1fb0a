"""Versions of what trials are made from: which are the same, and what has changed."""

from __future__ import annotations

from typing import Any

from hpc.campaign.versions import differing, sample_changes, versions_now


def blob(pipeline: str = "1", model: str = "1", digests: Any = ((1, "a"),)) -> dict[str, Any]:
    facts = {"code": {"get_input_pipeline": pipeline}, "checkpoints": digests}
    return {"data": {"train": facts}, "training": {"model.py": model}}


def test_a_new_version_is_named_by_what_it_is() -> None:
    first = versions_now({}, {"0": blob()}, {}, ())
    again = versions_now({}, {"0": blob()}, {"0": []}, ())
    assert first == again
    assert first.current(0, first.now["0"])
    assert not first.current(1, first.now["0"])
    other = versions_now({}, {"0": blob(model="2")}, {}, ())
    assert other.now != first.now


def test_a_known_version_that_is_the_same_is_kept_under_its_name() -> None:
    # As it is where another machine read the pipeline further.
    further = blob(digests=((1, "a"), (16, "b")))
    known = {"old": blob(), "other": blob(model="2"), "unused": blob(model="3")}
    now = versions_now(known, {"0": further}, {"0": ["old", "unused"]}, ["old", "other", ""])
    assert now.now == {"0": "old"}
    assert now.same == {"0": {"old"}}
    assert set(now.blobs) == {"old", "other"}
    assert now.why_not(0, "old") == ""
    assert now.why_not(0, "other") == "training code changed: model.py"
    assert now.why_not(0, "unused") == "its launch did not record what it was made from"
    assert now.why_not(None, "old") == "no variant of this campaign has procID all"


def test_what_changed_in_the_samples() -> None:
    assert sample_changes(blob(), blob(model="2")) == ""
    assert sample_changes(blob(), blob("2")) == "samples changed: get_input_pipeline"
    # The raw data, say: the code is the same.
    assert sample_changes(blob(), blob(digests=((1, "b"),))) == "samples changed"
    assert sample_changes(blob(), blob(digests=((1, "a"), (16, "b")))) == ""


def test_another_sealed_dataset_is_another_version() -> None:
    one, other = ({**blob(), "sealed": {"train": digest}} for digest in "ab")
    assert sample_changes(one, other) == "another sealed dataset"
    assert sample_changes(one, one) == sample_changes(blob(), one) == ""


def test_what_else_of_a_campaign_differs() -> None:
    assert differing({"a": 1, "b": [1]}, {"a": 1, "b": [1]}) == ""
    assert differing({"a": 1}, {"a": 2, "b": None}) == "a: 1 -> 2"
