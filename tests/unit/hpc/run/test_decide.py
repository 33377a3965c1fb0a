"""What a launch does about what earlier ones left: a table of cases, without any file of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpc.campaign.known_trials import Kept
from hpc.campaign.plan import Plan, make_plan
from hpc.campaign.toml_file import dump, parse
from hpc.campaign.versions import Versions, made_under
from hpc.run.backend import Seen
from hpc.run.decide import Earlier, Join, Refuse, Start, decide, why_outdated
from hpc.run.settings_plan import SettingsPlan, StoredNow
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
SLOWER = {"slurm": {"time": 60, "poll_seconds": 99}}
LONGER = {"slurm": {"time": 90}}

BLOBS = {
    "v1": {"data": {"train": {"code": {"scaling.py": "1"}}}, "training": {"model.py": "1"}},
    "v2": {"data": {"train": {"code": {"scaling.py": "1"}}}, "training": {"model.py": "2"}},
    "v3": {"data": {"train": {"code": {"scaling.py": "2"}}}, "training": {"model.py": "1"}},
}
NOW = Versions(BLOBS, {"0": "v1"}, {"0": frozenset({"v1"})})
OTHER_MODEL = Versions(BLOBS, {"0": "v2"}, {"0": frozenset({"v2"})})
FOUND = SettingsPlan("s", NOW)

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
        done: frozenset[str] = frozenset(),
        version: Versions = NOW,
    ) -> tuple[Earlier, Plan, Mapping[str, Any]]:
        before = parse(RAW, tmp_path / "c.toml")
        under = made_under(before)
        plan = make_plan(before, "r", versions=version)
        tasks = {task.name: new_task_state(task, under=under) for task in plan.tasks}
        written = RunState("c", "slurm", "r", {}, state, 1.0, 1.0, tasks)
        earlier = Earlier(written, dump(before), Seen(written, live, continues), begun, done)
        campaign = parse({**RAW, **changes}, tmp_path / "c.toml")
        kept = earlier.kept(NOW, made_under(campaign), {})
        return earlier, make_plan(campaign, "r", kept, NOW), dump(campaign)

    return make


def test_nothing_there(case: Case) -> None:
    _, plan, campaign = case({})
    assert decide(None, plan, campaign, found=FOUND) == Start()
    assert decide(None, plan, campaign, found=FOUND, fresh=True) == Start(clear=True)


@pytest.mark.parametrize(
    ("changes", "facts", "expected"),
    [
        # Nothing of it runs: go on from there, whatever the campaign may change.
        ({}, {}, Start()),
        (GROWN, {"begun": BEGUN}, Start(changed={"trials.grid.lr": "[1, 2] -> [1, 2, 3]"})),
        (NO_REPORT, {"begun": BEGUN}, Start(changed={"report": "true -> false"})),
        (LONGER, {"begun": BEGUN}, Start(changed={"slurm.time": '"60" -> "90"'})),
        # Trials under other options are others: those that are there are outdated, not lost.
        (OPTIONS, {}, Start(changed={"trials.options": '[] -> ["--reader", "tfio"]'})),
        (
            OPTIONS,
            {"begun": BEGUN, "live": JOBS},
            Start(end=JOBS, changed={"trials.options": '[] -> ["--reader", "tfio"]'}),
        ),
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
    assert decide(earlier, plan, campaign, ("poll_seconds",), found=FOUND) == expected


def test_what_the_jobs_do_not_see_is_told(case: Case) -> None:
    earlier, plan, campaign = case(NO_REPORT, JOBS, True)
    decision = decide(earlier, plan, campaign, ("poll_seconds",), found=FOUND)
    assert decision == Join(earlier.state, {"report": "true -> false"})


@pytest.mark.parametrize(
    ("changes", "facts", "what", "seen"),
    [
        (BROKERS, {"live": JOBS, "continues": True}, "another campaign", "broker.count: 1 -> 2"),
        (LONGER, {"live": JOBS, "continues": True}, "another campaign", 'slurm.time: "60" -> "90"'),
        (LESS, {"live": JOBS, "continues": True}, "another campaign", "trials.grid.lr: [1, 2]"),
        (GROWN, {"live": JOBS, "continues": True}, "has more trials", "trial-2\n"),
        (OPTIONS, {"live": JOBS, "continues": True}, "another campaign", "trials.options: []"),
    ],
)
def test_refused(case: Case, changes: Any, facts: Any, what: str, seen: str) -> None:
    decision = decide(*case(changes, **facts), ("poll_seconds",), found=FOUND)
    assert isinstance(decision, Refuse)
    assert what in decision.what
    assert seen in decision.seen
    assert str(decision.error()).endswith(f"next: {decision.next_step}")
    if "live" in facts and "continues" in facts:
        assert "deeptool-hpc down /runs/c" in decision.next_step


def test_files_that_changed_while_their_jobs_wait(case: Case) -> None:
    earlier, plan, campaign = case({}, JOBS, True)
    decision = decide(earlier, plan, campaign, found=SettingsPlan("s", OTHER_MODEL))
    assert isinstance(decision, Refuse)
    assert "the files that they were launched with have changed" in decision.what
    assert decision.seen == "training code changed: model.py"


def test_what_is_kept_and_what_is_outdated(case: Case) -> None:
    earlier, _, _ = case({}, begun=BEGUN)
    under = earlier.state.tasks["trial-0"].under
    known = earlier.kept(NOW, under, {})
    assert sorted(known.indices.values()) == [0, 1]
    assert known.first_new == 2
    # The second never began: its number is free.
    edited = earlier.kept(OTHER_MODEL, under, {})
    assert edited == Kept({}, 1)
    trial = earlier.state.tasks["trial-0"]
    assert why_outdated(trial, NOW, under) == ""
    assert why_outdated(trial, OTHER_MODEL, under) == "training code changed: model.py"
    other_data = Versions(BLOBS, {"0": "v3"}, {"0": frozenset({"v3"})})
    assert why_outdated(trial, other_data, under) == "samples changed: scaling.py"
    more = {**under, "trials.options": ["--x"]}
    assert why_outdated(trial, NOW, more) == 'trials.options: [] -> ["--x"]'
    unknown = replace(trial, version="", under={})
    assert why_outdated(unknown, NOW, under) == "its launch did not record what it was made from"
    assert "no variant of this campaign" in why_outdated(replace(trial, proc_id=4), NOW, under)


def test_of_two_trials_that_would_do_the_one_that_is_done_is_kept(case: Case) -> None:
    earlier, _, _ = case({}, begun=BEGUN, done=BEGUN)
    first = earlier.state.tasks["trial-0"]
    state = replace(earlier.state, tasks={"trial-0": first, "trial-5": replace(first, index=5)})
    twice = replace(earlier, state=state, seen=Seen(state))
    assert list(twice.kept(NOW, first.under, {}).indices.values()) == [0]
    assert list(replace(twice, done=frozenset()).kept(NOW, first.under, {}).indices.values()) == [5]


FOREIGN = StoredNow(0, "train", "s.0.train", "different", "somebody", ("scaling.py",))
OWN = StoredNow(0, "train", "s.0.train", "different", "campaign:r:producer-0", ("scaling.py",))
ABSENT = StoredNow(0, "train", "s.0.train", "absent")
SAME = StoredNow(0, "train", "s.0.train", "same", "somebody")


@pytest.mark.parametrize(
    ("producers", "stored", "refused"),
    [
        ({}, SAME, ""),
        ({}, OWN, ""),
        ({}, ABSENT, ""),
        ({}, FOREIGN, "was not uploaded by this run folder"),
        ({"replace": True}, FOREIGN, ""),
        ({"reuse": "always"}, FOREIGN, ""),
        ({"upload": False}, SAME, ""),
        ({"upload": False}, ABSENT, "the datasets that the trials read are not all stored"),
        ({"upload": False}, OWN, "the datasets that the trials read are not all stored"),
        ({"upload": False, "reuse": "always"}, OWN, ""),
        ({"upload": False, "reuse": "always"}, ABSENT, "are not all stored"),
    ],
)
def test_what_an_existing_kafka_holds(
    case: Case, producers: Any, stored: StoredNow, refused: str
) -> None:
    earlier, plan, campaign = case({"producers": producers})
    found = SettingsPlan("s", NOW, (stored,))
    decision = decide(earlier, plan, campaign, found=found)
    assert (refused in decision.what) if isinstance(decision, Refuse) else not refused
    if isinstance(decision, Refuse):
        assert f"s.0.train is {stored.state}" in decision.seen
    if stored is FOREIGN:
        first = decide(None, plan, campaign, found=found)
        assert isinstance(first, Refuse) == isinstance(decision, Refuse)
        told = decide(earlier, plan, campaign, found=found, replace_others=True)
        assert isinstance(told, Start)
        # Nothing is to run: whatever is stored.
        finished = replace(earlier, done=frozenset({"trial-0", "trial-1"}))
        assert isinstance(decide(finished, plan, campaign, found=found), Start)


def test_another_backend(case: Case) -> None:
    earlier, plan, campaign = case({"backend": "local"}, JOBS, True)
    decision = decide(earlier, plan, campaign, found=FOUND)
    assert isinstance(decision, Refuse)
    assert decision.seen == "/runs/c: slurm"
    # What is there ends where it runs, before it is deleted.
    assert decide(earlier, plan, campaign, found=FOUND, fresh=True) == Start(clear=True, end=JOBS)
