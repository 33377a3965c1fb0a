"""How a dataset is asked to be read: checked, and made a plan and a form of its elements.

Every framework's face asks in the same words.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Literal

from deeptool.catalog.stored import Stored
from deeptool.errors import UserError
from deeptool.reader.element_form import ElementForm, Padding, element_form
from deeptool.reader.pass_lengths import elements_of_pass
from deeptool.reader.read_plan import MemoryShares, ReadPlan
from deeptool.store.record_store import RecordStore

LEAST_MEMORY = 8 << 20
MEMORY = 256 << 20
Reader = Literal["librdkafka", "tfio"]
_READERS = ("librdkafka", "tfio")
_LOG = logging.getLogger(__name__)


def prepared(
    store: RecordStore,
    stored: Stored,
    follow: bool,
    *,
    batch_size: int | None,
    shuffle: bool,
    seed: int | None,
    first_epoch: int | Callable[[], int],
    repeat: int | None,
    drop_remainder: bool | None,
    num_shards: int,
    index: int,
    padding_value: Padding | Mapping[str, Padding] | None,
    memory_bytes: int,
) -> tuple[ReadPlan, ElementForm]:
    """What is read, and as which elements; see `deeptool.reader.stored_dataset.StoredDataset.tf`.

    Raises
    ------
    UserError
        It cannot be read as asked.
    """
    _check(batch_size, repeat, first_epoch, num_shards, index, memory_bytes)
    if follow and num_shards > 1:
        raise UserError(
            "a dataset that may still be uploading can only be read whole",
            seen=f"num_shards={num_shards}",
            valid="follow=True without it",
        )
    if not shuffle:
        seed = None
    elif seed is None:
        seed = secrets.randbits(32)
    plan = ReadPlan(store, stored, MemoryShares(memory_bytes), num_shards, index, seed)
    form = element_form(plan, batch_size, drop_remainder, padding_value)
    if drop_remainder is None:
        _tell_left_out(plan, form)
    return plan, form


def check_reader(reader: str, follow: bool) -> None:
    """Raise `UserError` for a reader that is none, or cannot follow an upload."""
    if reader not in _READERS:
        raise UserError("unknown reader", seen=reader, valid=" or ".join(_READERS))
    if follow and reader == "tfio":
        raise UserError(
            "a dataset that may still be uploading can only be read by librdkafka",
            seen=f"reader={reader!r}",
            valid="follow=True without it",
        )


def next_passes(first_epoch: int | Callable[[], int], repeat: int | None) -> Callable[[], int]:
    """Says which pass an iterator begins with, whenever one begins.

    Each begins with the pass after those of the one before it: `model.fit` makes one for each
    epoch, and each is to see samples that it has not seen. Those without an end all begin alike.
    """
    if callable(first_epoch):
        return first_epoch
    return itertools.count(first_epoch, repeat or 0).__next__


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


def _check(
    batch_size: int | None,
    repeat: int | None,
    first_epoch: int | Callable[[], int],
    num_shards: int,
    index: int,
    memory_bytes: int,
) -> None:
    for name, number in (
        ("batch_size", batch_size),
        ("repeat", repeat),
        ("num_shards", num_shards),
    ):
        if number is not None and number < 1:
            raise UserError(f"{name} must be at least 1", seen=number)
    if not callable(first_epoch) and first_epoch < 0:
        raise UserError("first_epoch must not be negative", seen=first_epoch)
    if not 0 <= index < num_shards:
        raise UserError(
            "there is no such part", seen=f"index {index}", valid=f"0 to {num_shards - 1}"
        )
    if memory_bytes < LEAST_MEMORY:
        raise UserError(
            "memory_bytes is too small to read with",
            seen=memory_bytes,
            valid=f"at least {LEAST_MEMORY}",
        )
