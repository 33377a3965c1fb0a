"""Trials of another sealed dataset are others, though the settings are the same."""

from __future__ import annotations

from typing import Any

import pytest

from deeptool.pipelines.experiment_plan import ExperimentPlan


def version(sealed: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {"data": {}, "training": {}}
    return made if sealed is None else {**made, "sealed": {"train": sealed}}


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [("a", "a", True), ("a", "b", False), (None, "a", True), ("a", None, True), (None, None, True)],
)
def test_versions_are_compared_by_the_digests_of_sealed_datasets(
    before: str | None, now: str | None, same: bool
) -> None:
    plan = object.__new__(ExperimentPlan)
    plan._datasets = []
    # On a broker the digest is not asked: what is stored there is uploaded again if it differs.
    assert plan._is_same("0", version(before), version(now)) is same
