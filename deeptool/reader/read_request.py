"""How a dataset is asked to be read: checked, and made a plan and a form of its elements.

Every framework's face asks in the same words.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Literal, NamedTuple, TypedDict

from deeptool.catalog.stored import Stored
from deeptool.errors import UserError
from deeptool.reader.pass_lengths import elements_of_pass
from deeptool.rows.element_form import ElementForm, Padding, element_form
from deeptool.rows.pass_copies import PassCopies
from deeptool.rows.read_plan import MemoryShares, ReadPlan
from deeptool.rows.selection import ALL, Selection
from deeptool.sealed.sealed_store import SealedStore
from deeptool.store.record_store import RecordStore

LEAST_MEMORY = 8 << 20
MEMORY = 256 << 20
Reader = Literal["librdkafka", "tfio"]
_READERS = ("librdkafka", "tfio")
Order = Literal["auto", "windowed", "global"]
ORDERS = ("auto", "windowed", "global")
_LOG = logging.getLogger(__name__)


class ReadOptions(TypedDict, total=False):
    """What every face of a stored dataset takes; `ReadRequest` explains it."""

    batch_size: int | None
    shuffle: bool
    seed: int | None
    first_epoch: int | Callable[[], int]
    start: tuple[int, int] | Callable[[], tuple[int, int]] | None
    repeat: int | None
    drop_remainder: bool | None
    num_shards: int
    index: int
    padding_value: Padding | Mapping[str, Padding] | None
    memory_bytes: int
    order: Order
    cache: str | PathLike[str]


@dataclass(frozen=True)
class ReadRequest:
    """How a dataset is asked to be read, in the words of every framework's face.

    Attributes
    ----------
    batch_size : int, optional
        Samples per batch. By default that of the upload, or none for a dataset of single samples.
    shuffle : bool
        In random order, another one in each pass: groups of samples from everywhere in the pass,
        of about 128 MB, each in random order. Else in the order of the pipeline, shard after shard.
    seed : int, optional
        Makes the orders the same in every run. By default one is drawn once per call.
    first_epoch : int or callable
        The pass that the first iterator begins with; pass k reads stored pass k modulo the number
        of stored passes, in the order drawn for k. Each later iterator begins with the pass after
        those of the one before it, so that ``model.fit(epochs=N)`` sees N orders and all stored
        passes; without an end (``repeat=None``) each begins with this one. A callable is asked each
        time an iterator begins, and decides alone.
    start : (int, int) or callable, optional
        Instead of `first_epoch`: the pass and the element in it that the first iterator begins
        with, to resume where another one stopped. Later iterators begin with whole passes. A
        callable is asked each time an iterator begins, and decides alone.
    repeat : int or None
        How many passes an iterator makes, a begun one included; None never ends.
    drop_remainder : bool, optional
        Leave out the last batch of a pass if it is not whole; then element_spec has the batch size.
        By default as the pipeline did: True where its element_spec has a batch size, as that of
        ``batch(drop_remainder=True)``. What that leaves out is logged as a warning.
    num_shards, index : int
        Read part `index` of `num_shards` of each pass: disjoint, together all of it, and of the
        same size but for one sample.
    padding_value : scalar or mapping, optional
        What fills up dense tensors with unknown dimensions, so that they can be rebatched; by path
        ("0/tokens") where they differ.
    memory_bytes : int
        About what an iterator may take without a local copy. The order of samples does not depend
        on it: to shuffle, it must have room for one group.
    order : str
        Of shuffled passes. "windowed" shuffles groups of rows from everywhere, "global" all rows of
        a pass, which needs a local copy. "auto" is windowed while a stored pass is read for the
        first time, and global afterwards, if a pass takes less than 8 GiB and there is a `cache`.
    cache : str or path
        Where a local copy is kept, which all readers on a node share: "auto", in $DEEPTOOL_COPIES
        or the node's folder for temporary files; a folder; "memory", of this process; or "off".

    Raises
    ------
    UserError
        A value makes no sense.
    """

    batch_size: int | None = None
    shuffle: bool = False
    seed: int | None = None
    first_epoch: int | Callable[[], int] = 0
    start: tuple[int, int] | Callable[[], tuple[int, int]] | None = None
    repeat: int | None = 1
    drop_remainder: bool | None = None
    num_shards: int = 1
    index: int = 0
    padding_value: Padding | Mapping[str, Padding] | None = None
    memory_bytes: int = MEMORY
    order: Order = "auto"
    cache: str | PathLike[str] = "auto"

    def __post_init__(self) -> None:
        for name in ("batch_size", "repeat", "num_shards"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UserError(f"{name} must be at least 1", seen=number)
        if not callable(self.first_epoch) and self.first_epoch < 0:
            raise UserError("first_epoch must not be negative", seen=self.first_epoch)
        if self.start is not None:
            self._check_start(self.start)
        if not 0 <= self.index < self.num_shards:
            raise UserError(
                "there is no such part",
                seen=f"index {self.index}",
                valid=f"0 to {self.num_shards - 1}",
            )
        if self.memory_bytes < LEAST_MEMORY:
            raise UserError(
                "memory_bytes is too small to read with",
                seen=self.memory_bytes,
                valid=f"at least {LEAST_MEMORY}",
            )
        if self.order not in ORDERS:
            raise UserError("unknown order", seen=self.order, valid=" or ".join(ORDERS))
        if self.order == "global" and self.cache == "off":
            raise UserError(
                "a global order needs a local copy of the dataset",
                seen="order='global', cache='off'",
                valid="order='windowed', or another cache",
            )

    def _check_start(self, start: tuple[int, int] | Callable[[], tuple[int, int]]) -> None:
        if not callable(start) and (len(start) != 2 or min(start) < 0):
            raise UserError(
                "start is no position", seen=start, valid="(epoch, batch), both from 0 on"
            )
        if callable(self.first_epoch) or self.first_epoch:
            raise UserError(
                "start and first_epoch say the same thing",
                seen=self.first_epoch,
                valid="one of them",
            )

    @property
    def whole_passes(self) -> bool:
        """Whether every iterator begins with the first element of a pass."""
        return self.start is None or (not callable(self.start) and self.start[1] == 0)

    def positions(self) -> Callable[[], Position]:
        """Says the pass and the element in it that an iterator begins with, whenever one begins.

        Each begins with the pass after those of the one before it: `model.fit` makes one for each
        epoch, and each is to see samples that it has not seen. Those without an end begin alike.
        """
        first = self.first_epoch
        if callable(first):
            return lambda: Position(first(), 0)
        start = self.start
        if callable(start):
            return lambda: Position(*start())
        pass_, element = start or (first, 0)
        if self.repeat is None:
            return lambda: Position(pass_, element)
        later = (Position(k, 0) for k in itertools.count(pass_ + self.repeat, self.repeat))
        return itertools.chain([Position(pass_, element)], later).__next__


class Position(NamedTuple):
    """A place between two elements: behind the first `element` elements of a pass."""

    epoch: int
    element: int


def prepared(
    store: RecordStore,
    stored: Stored,
    follow: bool,
    request: ReadRequest,
    copies: PassCopies,
    selection: Selection = ALL,
) -> tuple[ReadPlan, ElementForm]:
    """What is read, and as which elements.

    Raises
    ------
    UserError
        It cannot be read as asked.
    """
    if follow and request.num_shards > 1:
        raise UserError(
            "a dataset that may still be uploading can only be read whole",
            seen=f"num_shards={request.num_shards}",
            valid="follow=True without it",
        )
    seed = request.seed if request.shuffle else None
    if request.shuffle and seed is None:
        seed = secrets.randbits(32)
    memory = MemoryShares(request.memory_bytes)
    plan = ReadPlan(
        store,
        stored,
        memory,
        request.num_shards,
        request.index,
        seed,
        shuffling=request.order,
        cache=os.fspath(request.cache),
        copies=copies,
        selection=selection,
    )
    form = element_form(plan, request.batch_size, request.drop_remainder, request.padding_value)
    if request.drop_remainder is None:
        _tell_left_out(plan, form)
    return plan, form


def check_reader(reader: str, follow: bool, store: RecordStore) -> None:
    """Raise `UserError` for a reader that is none, or cannot read this place or an upload."""
    if reader not in _READERS:
        raise UserError("unknown reader", seen=reader, valid=" or ".join(_READERS))
    if follow and reader == "tfio":
        raise UserError(
            "a dataset that may still be uploading can only be read by librdkafka",
            seen=f"reader={reader!r}",
            valid="follow=True without it",
        )
    if reader == "tfio" and isinstance(store, SealedStore):
        raise UserError(
            "tensorflow-io reads from a broker, never from a sealed dataset",
            seen=f"reader={reader!r}",
            valid="reader='librdkafka', the default: it reads every place",
        )


def _tell_left_out(plan: ReadPlan, form: ElementForm) -> None:
    if not (form.drop_remainder and plan.stored.complete):
        return
    samples, elements = plan.samples(0), elements_of_pass(plan, form, 0)
    left_out = samples - (elements or 0) * (form.batch_size or 1)
    if left_out:
        _LOG.warning(
            "%s, split %s: %d of %d samples are left out of a pass, because the pipeline made "
            "batches of exactly one size (drop_remainder)",
            plan.stored.session,
            plan.stored.split,
            left_out,
            samples,
        )
