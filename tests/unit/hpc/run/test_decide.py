"""What a launch does about what earlier ones left: a table of cases, without any file of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hpc.campaign.plan import Plan, make_plan
from hpc.campaign.toml_file import dump, parse
from hpc.run.backend import Seen
from hpc.run.decide import Earlier, Join, Refuse, Start, decide
from hpc.run.state import RunState, new_task_state

RAW: dict[str, Any] = {
    "name": "c",
    "settings": "settings.py",
    "run_dir": "/runs/c",
    "backend": "slurm",
    "slurm": {"time": 60},
    "trials": {"grid": {"lr": [1, 2]}},
}
JOBS = ("broker (1)", "trials (3_0)")
BEGUN = frozenset({"trial-0"})
GROWN = {"trials": {"grid": {"lr": [1, 2, 3]}}}
LESS = {"trials": {"grid": {"lr": [2]}}}
NO_REPORT = {"report": False}
BROKERS = {"broker": {"count": 2}}
OPTIONS = {"trials": {**RAW["trials"], "options": ["--reader", "tfio"]}}
OPTIONS_AND_MORE = {"trials": {**GROWN["trials"], "options": ["--reader", "tfio"]}}
SLOWER = {"slurm": {"time": 60, "poll_seconds": 99}}
LONGER = {"slurm": {"time": 90}}

Case = Callable[..., tuple[Earlier, Plan, Mapping[str, Any]]]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "settings.py").write_text("")

    def make(
        changes: Mapping[str, Any],
        live: tuple[str, ...] = (),
        continues: bool = False,
        begun: frozenset[str] = frozenset(),
        state: str = "running",
    ) -> tuple[Earlier, Plan, Mapping[str, Any]]:
        before = parse(RAW, tmp_path / "c.toml")
        tasks = {task.name: new_task_state(task) for task in make_plan(before, "r").tasks}
        written = RunState("c", "slurm", "r", {}, state, 1.0, 1.0, tasks)
        earlier = Earlier(written, dump(before), Seen(written, live, continues), begun)
        campaign = parse({**RAW, **changes}, tmp_path / "c.toml")
        return earlier, make_plan(campaign, "r", earlier.indices()), dump(campaign)

    return make


def test_nothing_there(case: Case) -> None:
    _, plan, campaign = case({})
    assert decide(None, plan, campaign) == Start()
    assert decide(None, plan, campaign, fresh=True) == Start(clear=True)


@pytest.mark.parametrize(
    ("changes", "facts", "expected"),
    [
        # Nothing of it runs: go on from there, whatever the campaign may change.
        ({}, {}, Start()),
        (GROWN, {"begun": BEGUN}, Start(changed={"trials.grid.lr": "[1, 2] -> [1, 2, 3]"})),
        (NO_REPORT, {"begun": BEGUN}, Start(changed={"report": "true -> false"})),
        (LONGER, {"begun": BEGUN}, Start(changed={"slurm.time": '"60" -> "90"'})),
        (OPTIONS, {}, Start(changed={"trials.options": '[] -> ["--reader", "tfio"]'})),
        # All of it was submitted, and goes on.
        ({}, {"live": JOBS, "continues": True}, Join),
        (SLOWER, {"live": JOBS, "continues": True}, Join),
        # It had ended before: `continues` alone says nothing.
        (GROWN, {"continues": True}, Start(changed={"trials.grid.lr": "[1, 2] -> [1, 2, 3]"})),
        # Submitted by half, or processes of a launch that was killed.
        ({}, {"live": JOBS}, Start(end=JOBS)),
        # A deletion was interrupted.
        ({}, {"state": "clearing", "begun": BEGUN}, Start(clear=True)),
        (OPTIONS, {"state": "clearing", "begun": BEGUN}, Start(clear=True)),
    ],
)
def test_join_or_start(case: Case, changes: Any, facts: Any, expected: Any) -> None:
    earlier, plan, campaign = case(changes, **facts)
    if expected is Join:
        expected = Join(earlier.state)
    assert decide(earlier, plan, campaign, ("poll_seconds",)) == expected


def test_what_the_jobs_do_not_see_is_told(case: Case) -> None:
    earlier, plan, campaign = case(NO_REPORT, JOBS, True)
    decision = decide(earlier, plan, campaign, ("poll_seconds",))
    assert decision == Join(earlier.state, {"report": "true -> false"})


@pytest.mark.parametrize(
    ("changes", "facts", "what", "seen"),
    [
        (BROKERS, {"live": JOBS, "continues": True}, "another campaign", "broker.count: 1 -> 2"),
        (LONGER, {"live": JOBS, "continues": True}, "another campaign", 'slurm.time: "60" -> "90"'),
        (LESS, {"live": JOBS, "continues": True}, "another campaign", "trials.grid.lr: [1, 2]"),
        (GROWN, {"live": JOBS, "continues": True}, "has more trials", "trial-2\n"),
        (OPTIONS, {"begun": BEGUN}, "1 trials of this run folder", "trials.options: []"),
        (OPTIONS_AND_MORE, {"begun": BEGUN}, "made under another", "trials.options: []"),
        # What is left of it is not ended for a launch that is refused.
        (OPTIONS, {"begun": BEGUN, "live": JOBS}, "made under another", "trials.options: []"),
    ],
)
def test_refused(case: Case, changes: Any, facts: Any, what: str, seen: str) -> None:
    decision = decide(*case(changes, **facts), ("poll_seconds",))
    assert isinstance(decision, Refuse)
    assert what in decision.what
    assert seen in decision.seen
    assert str(decision.error()).endswith(f"next: {decision.next_step}")
    if "live" in facts and "continues" in facts:
        assert "deeptool-hpc down /runs/c" in decision.next_step


def test_another_settings_file_is_another_campaign(case: Case, tmp_path: Path) -> None:
    earlier, plan, _ = case({}, JOBS, True)
    (tmp_path / "settings.py").write_text("# edited")
    decision = decide(earlier, plan, dump(parse(RAW, tmp_path / "c.toml")))
    assert isinstance(decision, Refuse)
    assert "settings_sha256: " in decision.seen


def test_another_backend(case: Case) -> None:
    earlier, plan, campaign = case({"backend": "local"}, JOBS, True)
    decision = decide(earlier, plan, campaign)
    assert isinstance(decision, Refuse)
    assert decision.seen == "/runs/c: slurm"
    # What is there ends where it runs, before it is deleted.
    assert decide(earlier, plan, campaign, fresh=True) == Start(clear=True, end=JOBS)
