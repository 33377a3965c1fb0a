"""A stored dataset as PyTorch reads it. No TensorFlow."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from deeptool.catalog.stored import Stored
from deeptool.errors import UserError
from deeptool.reader.numpy_batches import NumpyBatches
from deeptool.reader.pass_lengths import elements_of_iterator, elements_of_passes
from deeptool.reader.read_request import Position, ReadOptions, ReadRequest, prepared
from deeptool.reader.shared_position import SharedPosition, Worker, check_begin
from deeptool.reader.torch_tensors import torch_value
from deeptool.rows.element_form import ElementForm, element_form
from deeptool.rows.pass_copies import PassCopies
from deeptool.rows.pass_plan import WorkerShare
from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.selection import Selection
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import RecordStore

_FORMAT = 1


class TorchBatches(IterableDataset):  # type: ignore[misc]
    """The elements of a stored dataset for PyTorch: what `StoredDataset.torch` returns.

    Give it to ``DataLoader(..., batch_size=None, num_workers=N)``, since its elements are batches;
    a dataset of single samples can be batched by the loader, too. Each iterator makes the pass
    after those of the one before it, in a loader with workers as well. ``len()`` is the number of
    elements of an iterator that begins with a whole pass, where it is known and the same for each.

    *Elements* are nested as those of `StoredDataset.numpy`. Numbers are tensors, which share their
    memory with the array where nobody else does; arrays that are read-only, because they are views
    of what was read, are copied, so that tensors can be written to. Not every PyTorch computes with
    uint16, uint32 and uint64: they become int32, int64 and int64. Strings stay NumPy arrays of
    bytes (dtype object), or bytes. A ragged component is a `deeptool.Ragged` of tensors.

    *Workers and ranks.* Each process of ``torch.distributed`` reads a part of its own, and each
    worker of its loader reads some of the batches of that part: each sample once per pass, in
    batches of the same sizes for any number of workers. A worker connects by itself, and takes
    `memory_bytes` for itself. Where batches come as they were uploaded, because their dimensions
    are unknown, one can come in two parts to two workers.

    *Positions.* `state_dict` says how far the loop has come, exactly, where the loader has no
    workers and nothing else reads ahead of the loop. Workers read ahead of it, and their positions
    are known to them only: torchdata's ``StatefulDataLoader`` collects these. With a plain
    ``DataLoader`` that has workers, `state_dict` is rejected; resume with a whole pass then, by
    `set_epoch` or ``first_epoch``.

    Attributes
    ----------
    meter : ReadMeter
        Counts what this process reads; not what workers do.
    """

    def __init__(
        self,
        store: RecordStore,
        stored: Stored,
        follow: bool,
        meter: ReadMeter,
        copies: PassCopies,
        selection: Selection,
        options: ReadOptions,
    ) -> None:
        super().__init__()
        self._ranked = "num_shards" not in options and "index" not in options
        self._world = _world() if self._ranked else (1, 0)
        request = ReadRequest(**options)
        if self._ranked:
            request = replace(request, num_shards=self._world[0], index=self._world[1])
        self._seed_drawn = request.shuffle and request.seed is None
        if self._seed_drawn and not self._ranked and request.num_shards > 1:
            raise UserError(
                "the parts of a shuffled pass belong to one seed, and none is given",
                seen=f"num_shards={request.num_shards}, shuffle=True",
                next_step="give the same seed for all parts",
            )
        if self._world[0] > 1 and self._seed_drawn:
            request = replace(request, seed=_common_seed())
        self._follow, self._request, self.meter = follow, request, meter
        self._plan, self._form = prepared(store, stored, follow, request, copies, selection)
        # A function is asked whenever an iterator begins, and decides alone.
        self._asked = callable(request.first_epoch) or callable(request.start)
        first = Position(0, 0) if self._asked else request.positions()()
        self._shared = SharedPosition(first, self._plan.seed)
        # Of this process: where its last iterator is, and where its next one is to begin.
        self._at: list[Position] | None = None
        self._loaded: Position | None = None

    def __iter__(self) -> Iterator[Any]:
        worker = _worker()
        self._check_world()
        if worker and worker.workers > 1 and self._follow:
            raise UserError(
                "a dataset that may still be uploading can only be read whole",
                seen=f"num_workers={worker.workers}",
                valid="num_workers of 0 or 1, or a handle without follow=True",
            )
        at, self._loaded = self._loaded, None
        if self._asked:
            at = self._request.positions()()
            check_begin(at, worker)
        begin = self._shared.begin(self._request.repeat, worker, at)
        plan, form = self._part(worker)
        # At once: a loader may ask for the position before it takes the first element.
        self._at = place = [begin]
        return self._elements(plan, form, place)

    def __len__(self) -> int:
        repeat = self._request.repeat
        # Workers may get a batch in two parts.
        known = self._plan.stored.complete and not self._form.whole_batches
        counts = elements_of_passes(self._plan, self._form) if known else None
        length = None if repeat is None else elements_of_iterator(counts, None, repeat)
        if length is None:
            raise TypeError("the number of elements is not known, or differs from pass to pass")
        return length

    def set_epoch(self, epoch: int) -> None:
        """Let the next iterator begin with pass `epoch`, in all workers.

        Parameters
        ----------
        epoch : int

        Raises
        ------
        UserError
            It is negative; or `first_epoch` or `start` is a function, which decides alone.
        """
        if epoch < 0:
            raise UserError("epoch must not be negative", seen=epoch)
        self._begin_at(Position(epoch, 0), self._shared.seed)

    def state_dict(self) -> dict[str, Any]:
        """The position behind what the loop has taken, and what it is a position in.

        Returns
        -------
        dict
            Of numbers, strings and lists: "epoch" is the pass, "batch" the number of its elements
            that were taken. At the end of a pass, that is all of them: then the first iterator
            that begins there has no element, and the next one makes the next pass.

        Raises
        ------
        UserError
            It is not known here: workers of a plain ``DataLoader`` read ahead. Or it says nothing:
            the dataset was under way, and its samples came in the order of arrival.
        """
        worker = _worker()
        if worker is None and self._shared.by_workers:
            raise UserError(
                "how far a loop has come is not known while workers read ahead of it",
                seen="a DataLoader with num_workers above 0",
                valid="num_workers=0, or torchdata's StatefulDataLoader, which asks its workers",
                next_step="keep the number of the epoch, and resume with a whole pass: "
                "set_epoch(epoch)",
            )
        if not self._plan.stored.complete:
            raise UserError(
                "there are no positions in a dataset that was under way when it was opened",
                seen="follow=True",
                next_step="open it again once it is complete",
            )
        position = self._at[0] if self._at else self._loaded or self._shared.position
        belongs_to = self._belongs_to(worker)
        return {**belongs_to, "epoch": position.epoch, "batch": position.element}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iterator begin where `state_dict` was called.

        Parameters
        ----------
        state : mapping
            What `state_dict` returned, in this process or an earlier one. Where no seed was given,
            that of the state is taken.

        Raises
        ------
        UserError
            It belongs to another dataset or to another way of reading it; or `first_epoch` or
            `start` is a function, which decides alone.
        """
        worker = _worker()
        here = self._belongs_to(worker)
        for name, value in here.items():
            if name == "seed" and self._seed_drawn and isinstance(state.get(name), int):
                continue
            if state.get(name) != value:
                raise UserError(
                    "this position belongs to something else",
                    seen=f"{name} {state.get(name)!r} in the state",
                    valid=f"{name} {value!r}",
                    next_step="read as when the state was saved, or begin without it",
                )
        found = [state.get("epoch"), state.get("batch")]
        numbers = [number for number in found if type(number) is int and number >= 0]
        if numbers != found:
            raise UserError("the state holds no position", seen=found, valid="numbers from 0 on")
        self._begin_at(Position(*numbers), state["seed"], here=worker is not None)

    def _begin_at(self, position: Position, seed: int | None, here: bool = False) -> None:
        """Begin there next: in this process alone, or in all."""
        if self._asked:
            raise UserError(
                "a function decides alone where an iterator begins",
                seen="first_epoch or start is a function",
                valid=f"that it returns pass {position.epoch}, or numbers in its place",
            )
        self._at = None
        self._loaded = position if here else None
        if not here:
            self._shared.set(position, seed)
        else:
            self._shared.set_seed(seed)

    def _belongs_to(self, worker: Worker | None) -> dict[str, Any]:
        """What a position depends on. One worker reads as none does."""
        stored, form = self._plan.stored, self._form
        return {
            "format": _FORMAT,
            "dataset": f"{stored.session}, split {stored.split}",
            "selection": self._plan.selection.digest,
            "uploads": [shard.upload.id for shard in stored.shards],
            "batch_size": form.batch_size,
            "drop_remainder": form.drop_remainder,
            "shuffle": self._request.shuffle,
            "seed": self._shared.seed,
            # Batches as they were uploaded are shuffled as far as the memory reaches.
            "memory_bytes": self._request.memory_bytes if form.whole_batches else None,
            "order": self._request.order,
            "copied": self._request.cache != "off",
            "num_shards": self._request.num_shards,
            "index": self._request.index,
            "num_workers": worker.workers if worker else 1,
            "worker": worker.worker if worker else 0,
        }

    def _part(self, worker: Worker | None) -> tuple[ReadPlan, ElementForm]:
        """What this process reads of the part that this object is for."""
        plan, form, asked = self._plan, self._form, self._request
        if plan.seed != self._shared.seed:
            plan = replace(plan, seed=self._shared.seed)
        if worker is None or worker.workers == 1:
            return plan, form
        plan = plan.shared(WorkerShare(worker.workers, worker.worker, form.batch_size or 1))
        if form.whole_batches:
            form = element_form(plan, asked.batch_size, asked.drop_remainder, asked.padding_value)
        return plan, form

    def _elements(self, plan: ReadPlan, form: ElementForm, place: list[Position]) -> Iterator[Any]:
        """The elements from `place` on, which says how many of them were taken.

        Its end is the end of the last pass, not the begin of the next one, which is the next
        iterator's.
        """
        repeat = self._request.repeat
        one = replace(self._request, repeat=1, first_epoch=0, start=None)
        for k in itertools.islice(itertools.count(place[0].epoch), repeat):
            begin = place[0] if k == place[0].epoch else Position(k, 0)
            batches = NumpyBatches(plan, form, self.meter, partial(Position, *begin), one)
            for number, element in enumerate(batches, begin.element + 1):
                place[0] = Position(k, number)
                yield form.spec.nest([torch_value(each) for each in form.spec.flatten(element)])

    def _check_world(self) -> None:
        # A worker that was not forked knows of no other ranks.
        if self._ranked and _world()[0] > 1 and _world() != self._world:
            raise UserError(
                "torch.distributed was set up after data.torch(...), so each rank would read all",
                seen="rank {1} of {0}".format(*_world()),
                next_step="call data.torch(...) after init_process_group(...)",
            )

    def __getstate__(self) -> dict[str, Any]:
        # The meter counts what one process reads, and cannot be sent to another.
        return {name: value for name, value in self.__dict__.items() if name != "meter"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.meter = ReadMeter()


def _worker() -> Worker | None:
    """Which process of a loader this is, where it is one."""
    info = get_worker_info()
    # Its seed is the number that the loader drew for this iteration, plus its own number.
    return None if info is None else Worker(info.id, info.num_workers, info.seed - info.id)


def _world() -> tuple[int, int]:
    """How many processes train together, and which of them this is."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1, 0
    return distributed.get_world_size(), distributed.get_rank()


def _common_seed() -> int:
    """One that is drawn for all ranks."""
    drawn = [secrets.randbits(32)]
    torch.distributed.broadcast_object_list(drawn, src=0)
    return drawn[0]
