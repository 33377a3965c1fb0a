"""What `deeptool produce --split both` says where the second split fails after the first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from deeptool.commands.produce import partly_stored
from deeptool.errors import UserError, WorkError


def test_what_is_stored_and_how_to_continue() -> None:
    done: Any = [SimpleNamespace(topic="s.0.val")]
    step = "s.0.val is stored; the same command with --reuse keeps it and uploads the rest"
    error = partly_stored(UserError("the pipeline is infinite", valid="--limit N"), done)
    assert isinstance(error, UserError)
    assert (error.what, error.valid, error.next_step) == (
        *("the pipeline is infinite", "--limit N"),
        step,
    )
    more = partly_stored(WorkError("the disk is full", next_step="delete datasets"), done)
    assert isinstance(more, WorkError)
    assert more.next_step == f"delete datasets; {step}"


def test_an_error_of_the_first_stays_as_it_is() -> None:
    error = UserError("no")
    assert partly_stored(error, []) is error
