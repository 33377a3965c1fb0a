"""A sealed dataset is read as it was read from where it was stored: same batches, same order."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore
from paths import ROOT
from test_numpy_batches import FIXED, ROWS, SPECS, leaves_of, made

import deeptool
from deeptool.codec.spec import Spec
from deeptool.reader import StoredDataset
from deeptool.sealed.seal import seal, uploads_to_seal
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.sealed.sealed_store import SealedStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def sealed(store: MemoryStore, folder: Path) -> Path:
    seal(store, "s", uploads_to_seal(store.catalog(), "s"), folder)
    return folder


def uploaded(store: MemoryStore, name: str, **facts: Any) -> tuple[Spec, StoredDataset]:
    spec, even = SPECS[name], name == "open, one size"
    epochs = [made(spec, rows, even=even) for rows in (ROWS, 30)]
    return spec, StoredDataset(store, store.upload("u", *epochs, spec=spec, batch_size=4, **facts))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_every_element_is_that_of_the_broker(
    store: MemoryStore, tmp_path: Path, name: str, shuffle: bool
) -> None:
    spec, stored = uploaded(store, name)
    data = deeptool.open(sealed(store, tmp_path / "digits"))
    assert (data.digest, data.upload_ids, len(data)) == (stored.digest, stored.upload_ids, ROWS)
    assert data.spec.to_json() == stored.spec.to_json()
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 5, "repeat": 3}
    part: dict[str, Any] = {"num_shards": 3, "index": 1, "start": (1, 1)}
    if "open" in name and name != "open, one size":
        part |= {"batch_size": 3, "padding_value": b"-" if name == "open text" else 7}
    for option in ({}, part):
        # Passes that were read before are shuffled as a whole; without a copy none is.
        for cache in ("auto", "off"):
            kept = "memory" if cache == "auto" else "off"
            expected = leaves(spec, stored, **how, **option, cache=kept)
            assert leaves(spec, data, **how, **option, cache=cache) == expected, (option, cache)
    expected = leaves(spec, stored, **how, cache="memory")
    assert leaves(spec, data, **how, cache=tmp_path / "copy") == expected
    assert [leaves_of(spec, each) for each in data.tf(**how)] == expected


def leaves(spec: Spec, data: StoredDataset, **how: Any) -> list[list[Any]]:
    return [leaves_of(spec, element) for element in data.numpy(**how)]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", ["fixed", "ragged", "ragged twice", "text"])
def test_all_shards_are_one_dataset(
    store: MemoryStore, tmp_path: Path, name: str, shuffle: bool
) -> None:
    spec, shards = SPECS[name], []
    for number, rows in enumerate((20, 13, 30)):
        facts: dict[str, Any] = {"proc_id": number, "num_procs": 3}
        shards += store.upload(f"u{number}", made(spec, rows), spec=spec, **facts).shards
    stored = StoredDataset(store, deeptool_stored(shards))
    data = deeptool.open(sealed(store, tmp_path / "digits"))
    assert (data.proc_ids, data.digest) == ((0, 1, 2), stored.digest)
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 3, "repeat": 2, "batch_size": 5}
    expected = [leaves_of(spec, one) for one in stored.numpy(**how, cache="memory")]
    assert [leaves_of(spec, one) for one in data.numpy(**how)] == expected
    assert [leaves_of(spec, one) for one in data.numpy(**how, start=(0, 3))] == expected[3:]


def deeptool_stored(shards: Any) -> Any:
    from deeptool.catalog.stored import Stored

    return Stored("s", "train", tuple(shards))


def test_variants_are_chosen_by_their_number(store: MemoryStore, tmp_path: Path) -> None:
    for number, rows in enumerate((20, 13)):
        store.upload(f"u{number}", made(FIXED, rows), spec=FIXED, proc_id=number)
    path = sealed(store, tmp_path / "digits")
    with pytest.raises(deeptool.UserError, match="several variants"):
        deeptool.open(path)
    assert [len(deeptool.open(path, proc_id=number)) for number in (0, 1)] == [20, 13]
    with pytest.raises(deeptool.NotStored, match="under procID 2"):
        deeptool.open(path, proc_id=2)
    assert len(deeptool.open(path, proc_id=[0, 1])) == 33


def test_a_handle_is_sent_to_other_processes(store: MemoryStore, tmp_path: Path) -> None:
    uploaded(store, "fixed")
    data = deeptool.open(sealed(store, tmp_path / "digits"))
    assert isinstance(data.store, SealedStore)
    again = pickle.loads(pickle.dumps(data.store))
    assert again.folder.path == data.store.folder.path
    assert len(again.folder.find("train").shards) == 1


def test_rows_are_views_of_the_file(store: MemoryStore, tmp_path: Path) -> None:
    """Nothing is copied where the folder is on this node: neither to its disk nor to memory."""
    uploaded(store, "fixed")
    data = deeptool.open(sealed(store, tmp_path / "digits"))
    first = next(iter(data.numpy(batch_size=4)))[0]
    assert not first.flags.owndata
    assert not first.flags.writeable
    assert not data.copies._open
    assert data.meter.records == 0


def test_on_a_network_file_system_a_copy_on_the_node_is_filled(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptool.sealed.sealed_store.network_file_system", lambda path: "nfs")
    monkeypatch.setenv("DEEPTOOL_COPIES", str(tmp_path))
    spec, stored = uploaded(store, "fixed")
    data = deeptool.open(sealed(store, tmp_path / "digits"))
    expected = [leaves_of(spec, one) for one in stored.numpy(cache="memory")]
    assert [leaves_of(spec, one) for one in data.numpy()] == expected
    assert len(data.copies._open) == 1
    # Where there can be none, the rows are read where they are.
    monkeypatch.setenv("DEEPTOOL_COPIES", "/dev/null/nowhere")
    data = deeptool.open(tmp_path / "digits")
    how: dict[str, Any] = {"shuffle": True, "seed": 1, "order": "global"}
    expected = [leaves_of(spec, one) for one in stored.numpy(**how, cache="memory")]
    assert [leaves_of(spec, one) for one in data.numpy(**how)] == expected
    assert not data.copies._open


@pytest.mark.parametrize("face", ["numpy", "tf"])
def test_codec_example_is_read_without_its_records(
    store: MemoryStore, tmp_path: Path, face: str
) -> None:
    spec, stored = uploaded(store, "fixed", codec="example")
    data = deeptool.open(sealed(store, tmp_path / "digits"))
    assert data.digest == stored.digest
    for shuffle in (False, True):
        how: dict[str, Any] = {"shuffle": shuffle, "seed": 3, "repeat": 2, "batch_size": 5}
        expected = [leaves_of(spec, one) for one in stored.tf(**how, cache="memory")]
        found = getattr(data, face)(**how)
        assert [leaves_of(spec, one) for one in found] == expected
        off = {**how, "cache": "off", "order": "windowed"}
        expected = [leaves_of(spec, one) for one in stored.tf(**off)]
        assert [leaves_of(spec, one) for one in getattr(data, face)(**off)] == expected


def test_neither_kafka_nor_tensorflow_is_imported(store: MemoryStore, tmp_path: Path) -> None:
    uploaded(store, "ragged")
    path = sealed(store, tmp_path / "digits")
    code = f"""
import sys
import deeptool
data = deeptool.open({str(path)!r}, split="train")
assert sum(len(y) for _, y in data.numpy(shuffle=True, seed=1, batch_size=5)) == {ROWS}
assert not {{"tensorflow", "confluent_kafka", "kafka"}} & sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_tensorflow_io_reads_brokers_only(store: MemoryStore, tmp_path: Path) -> None:
    uploaded(store, "fixed")
    data = deeptool.open(sealed(store, tmp_path / "digits"))
    with pytest.raises(deeptool.UserError, match="tensorflow-io reads from a broker"):
        data.tf(reader="tfio")


def test_the_catalog_is_that_of_the_broker(store: MemoryStore, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"hparams": {"a": float("nan")}, "data_hparams": {"size": [1, 2]}}
    _, stored = uploaded(store, "fixed", **facts)
    folder = SealedFolder(sealed(store, tmp_path / "digits"))
    (state,) = folder.catalog.values()
    shard = stored.stored.shards[0]
    assert state.current is not None
    assert state.current.completed == shard.upload.completed
    assert np.isnan(state.current.begun.hparams["a"])
    assert folder.find("train").data_hparams == {"size": [1, 2]}
