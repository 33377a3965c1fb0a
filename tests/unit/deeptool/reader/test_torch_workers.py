"""Workers and ranks read disjoint parts, pass after pass, in the batches that one would make."""

from __future__ import annotations

import pickle
import socket
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.errors import UserError, WorkError
from deeptool.reader import StoredDataset

torch = pytest.importorskip("torch", reason="PyTorch has an environment: make test-torch")
pytestmark = [
    pytest.mark.torch,
    # More of them than this machine has processors.
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]
data_loading = pytest.importorskip("torch.utils.data", reason="PyTorch: make test-torch")

# Two stored passes, told apart by their numbers.
ROWS, OTHERS, FROM = 53, 38, 1000


def numbered(rows: int, first: int = 0) -> list[Any]:
    y = np.arange(first, first + rows)
    x = np.repeat(y[:, None], 40, axis=1).astype(np.float32)
    return [(x[n : n + 4], y[n : n + 4]) for n in range(0, rows, 4)]


SPEC = Spec((Leaf("float32", (None, 40)), Leaf("int64", (None,))))


@pytest.fixture
def data() -> StoredDataset:
    store = MemoryStore()
    uploaded = store.upload("u", numbered(ROWS), numbered(OTHERS, FROM), spec=SPEC)
    return StoredDataset(store, uploaded)


def loader(batches: Any, workers: int, **options: Any) -> Any:
    return data_loading.DataLoader(batches, batch_size=None, num_workers=workers, **options)


def numbers(reading: Any) -> list[list[int]]:
    found = []
    for x, y in reading:
        assert x[:, 7].tolist() == y.tolist()
        found.append(y.tolist())
    return found


@pytest.mark.parametrize(
    ("workers", "persistent"), [(0, False), (1, False), (2, False), (4, False), (3, True)]
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_pass_once_over_all_workers(
    data: StoredDataset, workers: int, persistent: bool, shuffle: bool
) -> None:
    batches = data.torch(batch_size=5, shuffle=shuffle, seed=1)
    reading = loader(batches, workers, persistent_workers=persistent)
    for rows, first in [(ROWS, 0), (OTHERS, FROM), (ROWS, 0)]:
        found = numbers(reading)
        assert sorted(n for batch in found for n in batch) == list(range(first, first + rows))
        # Batches of the same sizes for any number of workers.
        assert Counter(map(len, found)) == Counter([5] * (rows // 5) + [rows % 5])


def test_orders_are_those_of_the_seed_and_differ_from_pass_to_pass(data: StoredDataset) -> None:
    def passes(count: int, **options: Any) -> list[list[list[int]]]:
        reading = loader(data.torch(batch_size=5, shuffle=True, **options), 2)
        return [numbers(reading) for _ in range(count)]

    first = passes(3, seed=1)
    assert passes(1, seed=1) == first[:1]
    assert first[0] != first[2]
    assert passes(1, seed=2) != first[:1]
    assert passes(1, seed=1, first_epoch=2) == first[2:]
    assert passes(1) != passes(1)


def test_one_worker_reads_what_none_reads(data: StoredDataset) -> None:
    readings = [loader(data.torch(batch_size=5, shuffle=True, seed=1), n) for n in (0, 1)]
    assert numbers(readings[0]) == numbers(readings[1])


def test_no_worker_reads_what_another_needs(data: StoredDataset) -> None:
    batches = data.torch(batch_size=4)
    parts = []
    for number in range(3):
        worker = data_loading._utils.worker.WorkerInfo(
            id=number, num_workers=3, seed=7 + number, dataset=batches
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(data_loading._utils.worker, "_worker_info", worker)
            before = data.meter.samples
            parts.append([n for batch in numbers(batches) for n in batch])
            # Whole records, which hold others at the edges of a part.
            assert data.meter.samples - before < ROWS // 2
    assert parts == [list(range(0, 16)), list(range(16, 36)), list(range(36, ROWS))]


def test_more_workers_than_batches(data: StoredDataset) -> None:
    found = numbers(loader(data.torch(batch_size=30), 4))
    assert sorted(map(len, found)) == [23, 30]
    left = loader(data.torch(batch_size=30, drop_remainder=True), 4)
    assert [sorted(map(len, numbers(left))) for _ in range(2)] == [[30], [30]]


def test_two_loaders_of_one_dataset_share_its_passes(data: StoredDataset) -> None:
    batches = data.torch(batch_size=5)
    alone, together = loader(batches, 0), loader(batches, 2)
    firsts = [min(n for batch in numbers(one) for n in batch) for one in [alone, together] * 2]
    assert firsts == [0, FROM, 0, FROM]
    # A loop that is left early has had its pass; its workers end.
    next(iter(together))
    assert min(n for batch in numbers(together) for n in batch) == FROM


def test_the_epoch_can_be_set_between_passes(data: StoredDataset) -> None:
    batches = data.torch(batch_size=5, shuffle=True, seed=1)
    reading = loader(batches, 2, persistent_workers=True)
    passes = [numbers(reading) for _ in range(3)]
    batches.set_epoch(1)
    assert [numbers(reading) for _ in range(2)] == passes[1:]
    with pytest.raises(UserError, match="negative"):
        batches.set_epoch(-1)
    epoch = 2
    said = data.torch(batch_size=5, shuffle=True, seed=1, first_epoch=lambda: epoch)
    assert numbers(loader(said, 2)) == passes[2]
    epoch = 1
    assert numbers(loader(said, 2)) == passes[1]
    with pytest.raises(UserError, match="decides alone"):
        said.set_epoch(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_single_samples_are_batched_by_the_loader(workers: int) -> None:
    store = MemoryStore()
    spec = Spec(SPEC.structure, batched=False)
    data = StoredDataset(store, store.upload("u", numbered(ROWS), spec=spec, batch_size=1))
    reading = data_loading.DataLoader(data.torch(), batch_size=8, num_workers=workers)
    found = numbers(reading)
    assert sorted(n for batch in found for n in batch) == list(range(ROWS))
    assert len(data.torch()) == ROWS


def test_the_length_is_that_of_every_iterator(data: StoredDataset) -> None:
    reading = loader(data.torch(repeat=2), 3)
    assert len(reading) == 14 + 10
    with warnings.catch_warnings():
        # PyTorch warns of more than that.
        warnings.filterwarnings("error", "Length of IterableDataset")
        assert len(numbers(reading)) == 14 + 10
    with pytest.raises(TypeError, match="differs from pass to pass"):
        len(data.torch())
    with pytest.raises(TypeError, match="not known"):
        len(data.torch(repeat=None))
    assert len(data.torch(repeat=2, batch_size=10, drop_remainder=True)) == 5 + 3
    assert len(data.torch(repeat=2, num_shards=2, index=1)) == 7 + 5


def test_a_loader_that_starts_its_workers_anew_gets_them_by_pickle(data: StoredDataset) -> None:
    batches = data.torch(batch_size=5, shuffle=True, seed=1)
    whole = numbers(data.torch(batch_size=5, shuffle=True, seed=1))
    other = pickle.loads(pickle.dumps(batches))
    assert numbers(other) == whole
    reading = loader(batches, 1, multiprocessing_context="spawn")
    assert numbers(reading) == whole
    # The second pass is the next one, though its worker was started with what the first one was.
    assert min(n for batch in numbers(reading) for n in batch) == FROM


def test_errors_come_from_workers_as_they_were_raised(data: StoredDataset) -> None:
    data.store.delete_records("u")  # type: ignore[attr-defined]
    with pytest.raises(WorkError, match="deleted or replaced while it was read") as error:
        numbers(loader(data.torch(), 2))
    assert "worker process" in str(error.value)
    # The workers end as soon as nobody looks at the error any more.
    error.value.__traceback__ = None


def rank(number: int, world: int, port: int, found: Any) -> None:
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", world_size=world, rank=number
    )
    store = MemoryStore()
    data = StoredDataset(store, store.upload("u", numbered(ROWS), spec=SPEC))
    batches = data.torch(batch_size=5, shuffle=True)
    state = batches.state_dict()
    reading = loader(batches, 2)
    found.put((number, state["seed"], state["index"], numbers(reading), numbers(reading)))
    torch.distributed.destroy_process_group()


def test_ranks_with_workers_read_each_sample_once_with_one_drawn_seed() -> None:
    context = torch.multiprocessing.get_context("fork")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = context.Queue()
    ranks = [context.Process(target=rank, args=(n, 2, port, found)) for n in range(2)]
    for process in ranks:
        process.start()
    told = sorted(found.get(timeout=40) for _ in ranks)
    for process in ranks:
        process.join(30)
        assert process.exitcode == 0
    assert [(number, index) for number, _, index, _, _ in told] == [(0, 0), (1, 1)]
    assert told[0][1] == told[1][1]
    for passed in (3, 4):
        assert sorted(n for one in told for batch in one[passed] for n in batch) == [*range(ROWS)]
    assert told[0][3] != told[0][4]


def test_parts_that_nobody_gives_one_seed_are_refused(data: StoredDataset) -> None:
    with pytest.raises(UserError, match="one seed"):
        data.torch(shuffle=True, num_shards=2, index=0)


def test_ranks_that_come_too_late_are_refused(
    data: StoredDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, explicit = data.torch(), data.torch(num_shards=2, index=1)
    for name, value in [("is_initialized", True), ("get_world_size", 2), ("get_rank", 1)]:
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    with pytest.raises(UserError, match="set up after") as error:
        iter(batches)
    assert error.value.seen == "rank 1 of 2"
    assert sum(map(len, numbers(explicit))) == 27
    assert sum(map(len, numbers(data.torch(seed=1, shuffle=True)))) == 27
