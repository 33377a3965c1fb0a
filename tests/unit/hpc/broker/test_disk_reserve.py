"""A broker on a full disk: what it keeps back, and what it says."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from deeptool.errors import UserError, WorkError
from hpc.broker import disk_reserve, folder
from hpc.broker.broker_state import BrokerState, write_broker_state
from hpc.broker.disk_reserve import RESERVE_BYTES, DiskFull
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker
from hpc.processes.service import Service


def free(monkeypatch: pytest.MonkeyPatch, amount: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=amount))


@pytest.mark.parametrize(
    ("amount", "said", "full"),
    [
        (1 << 10, "", True),
        (1 << 30, "", False),
        (1 << 30, "java.io.IOException: No space left on device", True),
        (1 << 30, "java.io.IOException: Disk quota exceeded", True),
    ],
)
def test_a_server_that_died_of_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: int, said: str, full: bool
) -> None:
    service = Service("server", ["sh", "-c", f"echo {said}; false"], tmp_path / "server.log")
    with pytest.raises(WorkError):
        service.run(10)
    disk_reserve.keep_reserve(tmp_path)
    broker = EmbeddedBroker(BrokerOptions(tmp_path))
    monkeypatch.setattr(broker, "_services", {"broker": service})
    free(monkeypatch, amount)
    with pytest.raises(WorkError) as caught:
        broker.check()
    assert isinstance(caught.value, DiskFull) == full
    assert ("the disk is full" in str(caught.value)) == full
    command = f"deeptool-hpc broker up --dir {tmp_path} --detach"
    assert (command in str(caught.value)) == full
    assert ((tmp_path / "reserve").stat().st_size < RESERVE_BYTES) == full, "room for its state"


def test_the_reserve_is_kept_given_up_and_kept_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reserve"
    disk_reserve.keep_reserve(tmp_path)
    assert path.stat().st_size == RESERVE_BYTES
    assert path.stat().st_blocks * 512 >= RESERVE_BYTES, "no hole"
    disk_reserve.give_part(tmp_path)
    assert path.stat().st_size == RESERVE_BYTES - (1 << 20)
    with monkeypatch.context() as patch:
        free(patch, 0)
        disk_reserve.keep_reserve(tmp_path)
        assert path.stat().st_size == RESERVE_BYTES - (1 << 20), "never less than before"
        disk_reserve.release_reserve(tmp_path)
        free(patch, 10 << 20)
        disk_reserve.keep_reserve(tmp_path)
        assert path.stat().st_size == 5 << 20, "half of what there is"
    disk_reserve.release_reserve(tmp_path)
    disk_reserve.release_reserve(tmp_path)
    disk_reserve.give_part(tmp_path)
    assert not path.exists()


def test_a_reserve_that_others_were_faster_to_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        os.ftruncate(descriptor, size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    disk_reserve.keep_reserve(tmp_path)
    assert (tmp_path / "reserve").stat().st_size == 0


def test_what_is_written_on_a_full_disk_gets_room(tmp_path: Path) -> None:
    disk_reserve.keep_reserve(tmp_path)
    errors = [OSError(errno.EDQUOT, "quota"), None]

    def write() -> None:
        if error := errors.pop(0):
            raise error

    disk_reserve.write_into_reserve(tmp_path, write)
    assert errors == []
    assert (tmp_path / "reserve").stat().st_size == RESERVE_BYTES - (1 << 20)
    errors[:] = [OSError(errno.EACCES, "not allowed")]
    with pytest.raises(OSError, match="not allowed"):
        disk_reserve.write_into_reserve(tmp_path, write)


def test_a_supervisor_that_could_not_say_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {"pid": 1 << 22, "started": 1.0}
    write_broker_state(tmp_path, BrokerState("ready", supervisor=gone, secured=True))
    assert folder.current_state(tmp_path).error == "its supervisor was killed"
    free(monkeypatch, 100)
    state = folder.current_state(tmp_path)
    assert (state.state, state.disk_full) == ("failed", True)
    assert "the disk is full\n  seen: 100 bytes are free" in str(state.error)
    assert "\n  valid: a disk with room" in str(state.error)
    # Nothing was kept back: a start would fail, too.
    assert f"free 32 MiB there (the logs of earlier starts, {tmp_path}/logs" in str(state.error)
    (tmp_path / "reserve").write_bytes(bytes(8 << 20))
    state = folder.current_state(tmp_path)
    assert f"broker up --dir {tmp_path} --secret FILE --detach" in str(state.error)


def test_a_folder_on_a_full_disk_cannot_be_written() -> None:
    with (
        pytest.raises(UserError, match="the disk of the broker's folder /b is full") as caught,
        folder.writing(Path("/b")),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "No space left on device" in str(caught.value)


def test_a_broker_that_is_up_on_an_almost_full_disk_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 10 << 30)
    assert disk_reserve.warning(tmp_path, "h:1") is None
    free(monkeypatch, 10 << 20)
    warning = disk_reserve.warning(tmp_path, "h:1")
    assert warning is not None
    assert "deeptool delete NAME --server h:1" in warning
