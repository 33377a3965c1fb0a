"""``deeptool-hpc logs``: what a campaign's processes said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click

from deeptool.errors import UserError
from hpc.campaign.backend_traits import backend_traits
from hpc.run.run_folder import RunFolder, open_run
from hpc.run.snapshot import TaskRow, take_snapshot
from hpc.run.state import ENDED

_ROLES = ("broker", "producer", "trial", "view")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", metavar="[RUN_DIR] ROLE [INDEX]", nargs=-1, required=True)
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the process has ended.")
def command(words: tuple[str, ...], follow: bool) -> None:
    """Print the log of a process of RUN_DIR (the newest below runs/).

    ROLE is broker, producer, trial or view; INDEX is a producer's procID or a trial's number.
    """
    run, role, index = _parse(words)
    row = _choose(take_snapshot(run).of(role), role, index)
    for text in _read(run, row, follow):
        click.echo(text, nl=False)


def _parse(words: tuple[str, ...]) -> tuple[RunFolder, str, int | None]:
    folder, rest = (None, words) if words[0] in _ROLES else (Path(words[0]), words[1:])
    if not rest or rest[0] not in _ROLES or len(rest) > 2 or not all(map(str.isdigit, rest[1:])):
        raise UserError(
            "logs takes a role, and which one of it",
            seen=" ".join(words),
            valid=f"[RUN_DIR] {'|'.join(_ROLES)} [INDEX]",
        )
    return open_run(folder), rest[0], int(rest[1]) if len(rest) > 1 else None


def _choose(rows: tuple[TaskRow, ...], role: str, index: int | None) -> TaskRow:
    chosen = [row for row in rows if index in (None, row.index)]
    if len(chosen) == 1:
        return chosen[0]
    known = "".join(f"\n    {role} {row.index}: {row.state}, {row.log}" for row in rows)
    raise UserError(
        f"there is no {role} {index}" if index is not None else f"there is not just one {role}",
        valid=known or f"none: the campaign has no {role}",
    )


def _read(run: RunFolder, row: TaskRow, follow: bool) -> Iterator[str]:
    path = Path(row.log)
    traits = backend_traits(run.state().backend)
    offset = 0
    while True:
        # Asked before the file is read: what is written until then is not lost.
        snapshot = take_snapshot(run, ask=False)
        states = {each.name: each.state for each in snapshot.rows}
        over = snapshot.state in (*ENDED, "killed")
        ended = over or states.get(row.name) not in ("waiting", "running", "ready", "preempted")
        if path.exists():
            with open(path, errors="replace") as file:
                file.seek(offset)
                yield file.read()
                offset = file.tell()
        elif not follow:
            next_step = f"deeptool-hpc status {run.folder} shows what runs"
            if traits.job_logs is not None:
                next_step = f"see {run.folder / traits.job_logs} for what its job said"
            raise UserError(
                f"{row.name} has no log yet: it is {row.state}",
                seen=f"{path}" + (f"; {row.note}" if row.note else ""),
                next_step=next_step,
            )
        if ended or not follow:
            return
        time.sleep(traits.file_seconds)
