"""Which uploads make up a dataset to read: one variant, or all shards of one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from deeptool.catalog.damage import check_legible, damaged_topic
from deeptool.catalog.fold import Catalog, TopicState, Upload
from deeptool.catalog.one_run import run_differences
from deeptool.catalog.stored import PLACE_HPARAMS, Entry, data_hparams, same_value
from deeptool.catalog.stored import NotComplete as NotComplete
from deeptool.catalog.stored import NotStored as NotStored
from deeptool.catalog.stored import Shard as Shard
from deeptool.catalog.stored import Stored as Stored
from deeptool.client.topic_names import SPLITS, topic_name
from deeptool.errors import UserError, did_you_mean

if TYPE_CHECKING:
    # It imports the Kafka client, which a dataset without a broker does not need.
    from deeptool.catalog.catalog_log import CatalogLog

T = TypeVar("T")

_INSPECT = "deeptool inspect lists what is stored"


def find_dataset(
    catalog: Catalog,
    session: str,
    split: str,
    proc_ids: int | Sequence[int] | None = None,
    follow: bool = False,
) -> Stored:
    """The uploads to read for a dataset.

    Parameters
    ----------
    catalog : mapping
        From `CatalogLog.read`.
    session, split : str
        The dataset's name; "train" or "val".
    proc_ids : int, sequence of int or None
        None takes all shards of one run, or the only variant. Several procIDs that are not shards
        are read as one dataset if they differ in nothing but their procID.
    follow : bool
        Take an upload that is under way, where there is one.

    Raises
    ------
    NotStored
        There is no such dataset.
    NotComplete
        A part of it is not complete: under way, or not begun.
    UserError
        There are several variants and none was named, or the uploads do not belong together.
    """
    if split not in SPLITS:
        raise UserError("unknown split", seen=split, valid="train or val")
    check_legible(catalog, session, split, proc_ids)
    entries = _entries(catalog, session, split, follow)
    chosen = _choose(entries, session, split, proc_ids, follow, session_names(catalog))
    missing = [entry for entry in chosen if entry.readable is None]
    if missing:
        kind = NotComplete if any(entry.state.pending for entry in missing) else NotStored
        raise kind(
            f"dataset {session}, split {split}, {_lacking('complete', follow)}",
            seen="; ".join(map(str, missing)),
            next_step=_INSPECT,
        )
    _check_one_run(chosen, f"dataset {session}, split {split}")
    shards = tuple(Shard(entry.topic, entry.facts) for entry in chosen)
    return Stored(session, split, shards)


def find_topic(catalog: Catalog, topic: str, follow: bool = False) -> Stored:
    """The dataset in one topic, whatever its name.

    Raises
    ------
    NotStored, NotComplete
        As `find_dataset`.
    """
    state = catalog.get(topic, TopicState())
    upload = _readable(state, follow)
    if state.damaged and state.current is None:
        raise damaged_topic(topic, state)
    if upload is not None:
        return Stored(upload.begun.session, upload.begun.split, (Shard(topic, upload),))
    if state.pending is not None:
        raise NotComplete(
            f"the dataset in topic {topic} is not complete",
            seen=f"{state.pending.samples} samples so far by {state.pending.begun.owner}",
        )
    reason = f"the last upload failed: {state.failed.reason}" if state.failed else None
    raise NotStored(f"topic {topic} holds no dataset", seen=reason, next_step=_INSPECT)


def find_variant(
    catalog: Catalog, session: str, split: str, hparams: Mapping[str, Any], follow: bool = False
) -> int | None:
    """The procID of the variant that was made under these hparams.

    Parameters
    ----------
    hparams : mapping
        A trial's; those that tell producers apart (procID, num_procs) do not count, but
        decide between variants that are alike.
    follow : bool
        Take one that is still being uploaded, too; one that fits may yet begin.

    Returns
    -------
    int or None
        None where the dataset is not stored in variants but in shards.

    Raises
    ------
    NotStored
        There is no such dataset; with `follow`, none that fits.
    NotComplete
        The only one that fits, as far as is known, is still being uploaded.
    UserError
        None fits; all are listed with what differs. Or several do.
    """
    entries = _entries(catalog, session, split, follow)
    alive = [e for e in entries.values() if e.readable or e.state.pending]
    if not alive:
        check_legible(catalog, session, split, None)
        _choose(entries, session, split, None, follow, session_names(catalog))
        raise NotStored(
            f"dataset {session}, split {split}, {_lacking('stored', follow)}",
            seen="; ".join(map(str, entries.values())),
            next_step=_INSPECT,
        )
    # Shards were all made under the same hparams: there is nothing to choose between.
    if any(entry.num_procs > 1 for entry in alive):
        return None
    fitting = [e for e in alive if not differences(data_hparams(e.facts), hparams)]
    complete = [entry.proc_id for entry in fitting if entry.readable]
    if len(complete) == 1 or hparams.get("procID") in complete:
        return complete[0] if len(complete) == 1 else int(hparams["procID"])
    if complete:
        raise UserError(
            f"several variants of {session}, split {split}, fit these hparams",
            seen=", ".join(f"procID {proc_id}" for proc_id in complete),
            next_step="choose one with --procID",
        )
    if fitting:
        raise NotComplete(
            f"the variant of {session}, split {split}, that fits is not complete",
            seen="; ".join(map(str, fitting)),
        )
    check_legible(catalog, session, split, None)
    # With `follow` one that fits may begin any moment: an error that `wait_for` waits out.
    kind = NotStored if follow else UserError
    raise kind(
        f"no variant of {session}, split {split}, was made under this trial's hparams",
        seen="; ".join(_difference(entry, hparams) for entry in alive),
        next_step="upload one that fits under a procID of its own, or change the trial's hparams",
    )


def wait_for(
    log: CatalogLog,
    finder: Callable[[Catalog], T],
    timeout: float,
    on_wait: Callable[[str], None] | None = None,
) -> T:
    """Ask `finder` until it finds what it looks for, a dataset mostly.

    Parameters
    ----------
    finder : callable
        Raises `NotStored` while it should be asked again.
    timeout : float
        Seconds; 0 asks once.
    on_wait : callable, optional
        Called about once a second with what is missing.

    Raises
    ------
    NotStored
        When the time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return finder(log.read())
        except NotStored as error:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise
            if on_wait is not None:
                seen = f" ({error.seen})" if error.seen else ""
                on_wait(f"waiting up to {remaining:.0f} s more: {error.what}{seen}")
        time.sleep(min(1.0, remaining))


def differences(
    data_hparams: Mapping[str, Any], hparams: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """The keys of `data_hparams` with another value in `hparams`: key -> (stored, given)."""
    return {
        key: (value, hparams.get(key))
        for key, value in data_hparams.items()
        if key not in PLACE_HPARAMS and (key not in hparams or not same_value(value, hparams[key]))
    }


def session_names(catalog: Catalog) -> list[str]:
    """The names under which something is or was to be stored."""
    uploads = [state.current or state.pending or state.gave_up for state in catalog.values()]
    return sorted({upload.begun.session for upload in uploads if upload is not None})


def _readable(state: TopicState, follow: bool) -> Upload | None:
    return (state.pending or state.current) if follow else state.current


def _entries(catalog: Catalog, session: str, split: str, follow: bool) -> dict[int, Entry]:
    """What is or was to be stored under each procID, in the session's own topics."""
    found = {}
    for topic, state in catalog.items():
        upload = _readable(state, follow) or state.pending or state.gave_up
        if upload is None or (upload.begun.session, upload.begun.split) != (session, split):
            continue
        # An upload to a topic of another name is read by that name only, never as part of these.
        if topic == topic_name(session, upload.begun.proc_id, split):
            entry = Entry(upload.begun.proc_id, topic, state, _readable(state, follow))
            found[entry.proc_id] = entry
    return dict(sorted(found.items()))


def _choose(
    entries: Mapping[int, Entry],
    session: str,
    split: str,
    proc_ids: int | Sequence[int] | None,
    follow: bool,
    stored: Iterable[str],
) -> list[Entry]:
    name, lacking = f"dataset {session}, split {split}", _lacking("stored", follow)
    if not entries:
        raise NotStored(
            f"{name}, {lacking}",
            seen=f"nothing of it{did_you_mean(session, stored)}",
            next_step=f"upload it: deeptool produce --split {split}; {_INSPECT}",
        )
    # Uploads that failed are only named where there is nothing else.
    alive = [e for e in entries.values() if e.readable or e.state.pending]
    if proc_ids is None:
        chosen = alive or list(entries.values())
        if len(chosen) > 1 and all(entry.num_procs == 1 for entry in chosen):
            raise UserError(
                f"{name}, has several variants",
                seen="; ".join(map(str, chosen)),
                next_step=f"choose one by its procID: --procID {chosen[0].proc_id}",
            )
    else:
        wanted = [proc_ids] if isinstance(proc_ids, int) else sorted(proc_ids)
        if not wanted or len(set(wanted)) < len(wanted):
            raise UserError("procIDs are distinct numbers, at least one", seen=list(wanted))
        absent = [proc_id for proc_id in wanted if proc_id not in entries]
        if absent:
            raise NotStored(
                f"{name}, {lacking} under procID {', '.join(map(str, absent))}",
                seen="; ".join(map(str, entries.values())),
                next_step=_INSPECT,
            )
        chosen = [entries[proc_id] for proc_id in wanted]
    _check_shards(chosen, name, "; ".join(map(str, entries.values())))
    return chosen


def _lacking(what: str, follow: bool) -> str:
    return f"is not {what}, and no upload of it has begun" if follow else f"is not {what}"


def _check_shards(chosen: Sequence[Entry], name: str, seen: str) -> None:
    """Shards come all together, and not with anything else."""
    sizes = {entry.num_procs for entry in chosen}
    if sizes == {1}:
        return
    if len(sizes) > 1:
        raise _not_one_run(chosen, f"{name}, mixes uploads of different runs", seen)
    size = sizes.pop()
    absent = sorted(set(range(size)) - {entry.proc_id for entry in chosen})
    if absent:
        raise NotComplete(
            f"{name}, lacks shard {', '.join(map(str, absent))} of {size}",
            seen=seen,
            valid=f"procIDs 0 to {size - 1}",
            next_step=_INSPECT,
        )


def _check_one_run(chosen: Sequence[Entry], name: str) -> None:
    whole = all(entry.facts.completed for entry in chosen)
    for entry in chosen[1:]:
        if different := run_differences(chosen[0].facts, entry.facts, whole):
            raise _not_one_run(
                chosen,
                f"{name}: procID {chosen[0].proc_id} and {entry.proc_id} are of different runs",
                "; ".join(different),
            )


def _not_one_run(chosen: Sequence[Entry], what: str, seen: str) -> UserError:
    """An error; one that passes by itself while an upload is under way."""
    kind = NotComplete if any(entry.state.pending for entry in chosen) else UserError
    return kind(
        what,
        seen=seen,
        valid="uploads under the same settings and hparams, of the same raw data",
        next_step="upload them again with --replace, or name the procIDs to read",
    )


def _difference(entry: Entry, hparams: Mapping[str, Any]) -> str:
    different = differences(data_hparams(entry.facts), hparams)
    values = ", ".join(
        f"{key} is {stored!r}, not {given!r}" for key, (stored, given) in different.items()
    )
    return f"procID {entry.proc_id}: {values}"
