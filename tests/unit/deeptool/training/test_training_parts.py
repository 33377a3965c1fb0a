"""The parts of a trial, each by itself."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from paths import HELPERS

from deeptool.commands.train import command
from deeptool.errors import Terminated, UserError, WorkError
from deeptool.store import read_shutdown
from deeptool.termination import RememberedSignals
from deeptool.training import checkpoint, devices, session_folder
from deeptool.training.checkpoint import Checkpoint
from deeptool.training.history import History
from deeptool.training.log_values import one_number_each
from deeptool.training.result import Usage
from deeptool.training.session_folder import SessionFolder
from deeptool.training.trial_data import SampleMeter, start

SETTINGS = str(HELPERS / "trial_settings.py")


# ---- devices ----


@pytest.mark.parametrize(
    ("wanted", "seen", "assigned", "chosen", "note"),
    [
        ([], 2, False, (), None),
        ([0], 0, False, (), "trains on the CPU"),
        ([0, 1], 2, False, (0, 1), None),
        ([1], 2, False, (1,), None),
        ([1, 1], 2, True, (1,), None),
        ([0, 1], 1, False, (0,), "there are 1"),
        ([2, 3], 2, True, (0, 1), "CUDA_VISIBLE_DEVICES"),
        ([3], 4, True, (3,), None),
        ([5], 4, True, (0,), "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_the_gpus_that_are_used(
    wanted: list[int], seen: int, assigned: bool, chosen: tuple[int, ...], note: str | None
) -> None:
    gpus, told = devices.choose(wanted, seen, assigned)
    assert gpus == chosen
    assert (told is None) == (note is None)
    assert note is None or note in str(told)


def test_gpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(UserError, match="not here") as caught:
        devices.choose([4], 2, False)
    assert caught.value.valid == "0 to 1, or [] for the CPU"


@pytest.mark.parametrize(
    ("mixed", "capabilities", "own", "expected"),
    [
        (None, [(9, 0)], "float32", "float32"),
        (None, [(9, 0)], "mixed_float16", "mixed_float16"),
        (None, [], "float64", "float64"),
        (False, [(9, 0)], "float64", "float64"),
        (False, [(9, 0)], "mixed_bfloat16", "float64"),
        (True, [(8, 0), (9, 0)], "float32", "mixed_bfloat16"),
        (True, [(7, 5), (8, 6)], "mixed_bfloat16", "mixed_float16"),
        (True, [(6, 1)], "float64", "float64"),
        (True, [], "mixed_bfloat16", "mixed_bfloat16"),
    ],
)
def test_the_precision_is_the_users_own_or_follows_the_slowest_gpu(
    mixed: bool | None, capabilities: list[tuple[int, int]], own: str, expected: str
) -> None:
    name, note = devices.policy(mixed, capabilities, own, "float64")
    assert name == expected
    assert (note is not None) == (mixed is True and name == own)


def test_preparing_without_a_gpu_says_so_and_needs_no_strategy() -> None:
    place = devices.prepare([0], mixed=True)
    assert (place.gpus, place.strategy, place.precision) == ((), None, "float32")
    assert len(place.notes) == 2


class FakeGpus:
    """tf.config of a machine with GPUs of the given compute capabilities."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
        self.there = [f"gpu {n}" for n in range(len(capabilities))]
        self.visible: list[str] = list(self.there)
        self.growing: list[str] = []
        self.in_use = False
        self.strategies: list[Any] = []
        details = dict(zip(self.there, capabilities, strict=True))
        config = tf.config
        monkeypatch.setattr(config, "list_physical_devices", lambda kind: self.there)
        monkeypatch.setattr(config, "set_visible_devices", self.show)
        monkeypatch.setattr(config, "get_visible_devices", lambda kind: self.visible)
        monkeypatch.setattr(
            config.experimental, "set_memory_growth", lambda gpu, grow: self.growing.append(gpu)
        )
        monkeypatch.setattr(
            config.experimental,
            "get_device_details",
            lambda gpu: {"compute_capability": details[gpu]},
        )
        for kind in ("MirroredStrategy", "OneDeviceStrategy"):
            monkeypatch.setattr(
                tf.distribute,
                kind,
                lambda *names, kind=kind: self.strategies.append((kind, *names)),
            )

    def show(self, gpus: list[str], kind: str) -> None:
        if self.in_use:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        self.visible = gpus


def test_the_chosen_gpus_are_the_only_ones_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = FakeGpus(monkeypatch, (7, 0), (8, 0), (9, 0))
    place = devices.prepare([1], mixed=True)
    assert (place.gpus, place.precision, place.notes) == ((1,), "mixed_bfloat16", ())
    assert machine.visible == machine.growing == ["gpu 1"]
    assert machine.strategies == []
    place = devices.prepare([0, 2], mixed=True)
    assert place.precision == "mixed_float16"
    assert machine.visible == ["gpu 0", "gpu 2"]
    assert machine.strategies == [("MirroredStrategy", None)]
    assert devices.prepare([], mixed=False).gpus == ()
    assert machine.visible == []


def test_where_devices_are_fixed_already_the_variables_are_placed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = FakeGpus(monkeypatch, (8, 0), (8, 0), (8, 0))
    machine.in_use = True
    for wanted in ([1], [0, 1], [], [0, 1, 2]):
        devices.prepare(wanted, mixed=False)
    assert machine.strategies == [
        ("OneDeviceStrategy", "/GPU:1"),
        ("MirroredStrategy", ["/GPU:0", "/GPU:1"]),
        ("OneDeviceStrategy", "/CPU:0"),
        ("MirroredStrategy", None),
    ]


# ---- data ----


@pytest.mark.parametrize(
    ("batch", "counts", "expected"),
    [
        (0, [5], (0, 0)),
        (4, [5], (0, 4)),
        (5, [5], (1, 0)),
        (13, [5], (2, 3)),
        (7, [3, 5], (1, 4)),
        (8, [3, 5], (2, 0)),
        (11, [3, 5], (3, 0)),
        (29, [3, 5, 2], (8, 1)),
    ],
)
def test_where_a_batch_is(batch: int, counts: list[int], expected: tuple[int, int]) -> None:
    assert start(batch, counts) == expected
    walked = [(p, b) for p in range(20) for b in range(counts[p % len(counts)])]
    assert walked[batch] == expected


@pytest.mark.parametrize(
    "batch",
    [
        tf.zeros((3, 2)),
        {"a": tf.zeros((3, 2)), "b": tf.zeros((3,))},
        tf.ragged.constant([[1], [2, 3], []]),
        tf.sparse.from_dense([[1, 0], [0, 2], [0, 0]]),
    ],
    ids=["dense", "dict", "ragged", "sparse"],
)
def test_samples_of_any_kind_are_counted(batch: Any) -> None:
    meter = SampleMeter()
    dataset = tf.data.Dataset.from_tensors((batch, tf.zeros((3,)))).repeat(4)
    counted = meter.counting(dataset)
    assert counted.element_spec == dataset.element_spec
    assert len(list(counted)) == 4
    assert meter.samples == 12


# ---- checkpoints ----


def make(epoch: int, best_epoch: int | None = None) -> Checkpoint:
    values = [np.full((2, 2), epoch, np.float32), np.array(epoch, np.int64)]
    odd = np.array([1.5, epoch], ml_dtypes.bfloat16)
    best = None if best_epoch is None else [np.full(3, best_epoch, np.float16)]
    return Checkpoint(epoch, [*values, odd], best, {"best_epoch": best_epoch, "more": [1, None]})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "none") is None
    checkpoint.save(tmp_path, make(4, best_epoch=2))
    loaded, saved = checkpoint.load(tmp_path), make(4, best_epoch=2)
    assert loaded is not None
    assert (loaded.epoch, loaded.state) == (4, saved.state)
    for one, other in zip(loaded.variables, saved.variables, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert loaded.best is not None
    np.testing.assert_array_equal(loaded.best[0], np.full(3, 2, np.float16))


def test_the_last_checkpoints_are_kept_and_share_the_best_weights(tmp_path: Path) -> None:
    for epoch in range(1, 5):
        checkpoint.save(tmp_path, make(epoch, best_epoch=3 if epoch >= 3 else None))
    assert sorted(os.listdir(tmp_path)) == ["epoch-000003", "epoch-000004"]
    one, other = (tmp_path / f"epoch-00000{n}" / "best.npz" for n in (3, 4))
    assert one.samefile(other)
    checkpoint.save(tmp_path, make(5, best_epoch=5))
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.best is not None
    assert loaded.best[0][0] == 5


def inside(epoch: int, batch: int, best_epoch: int | None = 1) -> Checkpoint:
    metrics = [np.full(2, batch, np.float32), np.array(batch, np.int64)]
    return replace(make(epoch, best_epoch), batch=batch, metrics=metrics)


def test_only_the_last_checkpoint_inside_an_epoch_is_kept(tmp_path: Path) -> None:
    for kept in (make(1, 1), make(2, 1), inside(2, 9), inside(2, 10)):
        checkpoint.save(tmp_path, kept)
    names = ["epoch-000001", "epoch-000002", "epoch-000002-batch-000000000010"]
    assert sorted(os.listdir(tmp_path)) == names
    assert len({(tmp_path / name / "best.npz").stat().st_ino for name in names}) == 1
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert (loaded.epoch, loaded.batch) == (2, 10)
    assert [value.dtype for value in loaded.metrics] == [np.float32, np.int64]
    assert [value.tolist() for value in loaded.metrics] == [[10, 10], 10]
    loaded = checkpoint.load(tmp_path, inside=False)
    assert loaded is not None
    assert (loaded.epoch, loaded.batch, loaded.metrics) == (2, 0, [])
    # One that is broken, or was being written, gives way to the end of the epoch before.
    (tmp_path / names[-1] / "metrics.npz").write_bytes(b"PK")
    (tmp_path / ".epoch-000002-batch-000000000011").mkdir()
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert (loaded.epoch, loaded.batch) == (2, 0)
    checkpoint.save(tmp_path, make(3, 1))
    assert sorted(os.listdir(tmp_path)) == ["epoch-000002", "epoch-000003"]


def test_checkpoints_that_training_went_back_behind_are_dropped(tmp_path: Path) -> None:
    """Else the best weights of the epoch that is trained again would be those of the first time."""
    for kept in (make(3, 2), inside(4, 7, best_epoch=4)):
        checkpoint.save(tmp_path, kept)
    again = make(4, best_epoch=4)
    checkpoint.save(tmp_path, replace(again, best=[np.full(3, 0.5, np.float16)]))
    assert sorted(os.listdir(tmp_path)) == ["epoch-000003", "epoch-000004"]
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.best is not None
    assert loaded.best[0].tolist() == [0.5] * 3


@pytest.mark.parametrize("broken", ["variables.npz", "state.json"])
def test_a_broken_checkpoint_gives_way_to_the_one_before(tmp_path: Path, broken: str) -> None:
    for epoch in (1, 2):
        checkpoint.save(tmp_path, make(epoch, best_epoch=1))
    (tmp_path / ".epoch-000003").mkdir()
    file = tmp_path / "epoch-000002" / broken
    file.write_bytes(file.read_bytes()[:-60])
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.epoch == 1
    # The epoch that is trained again replaces it.
    checkpoint.save(tmp_path, make(2, best_epoch=2))
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert (loaded.epoch, sorted(os.listdir(tmp_path))) == (2, ["epoch-000001", "epoch-000002"])


def test_a_checkpoint_of_another_model_is_refused() -> None:
    variables = [keras.Variable(np.zeros(3), name="three"), keras.Variable(np.zeros(2))]
    with pytest.raises(UserError, match="does not fit") as caught:
        checkpoint.assign(variables, [np.zeros(4), np.zeros(2)])
    assert caught.value.seen == "(4,) for three"
    with pytest.raises(UserError, match="does not fit") as caught:
        checkpoint.assign(variables, [np.zeros(3)])
    assert caught.value.seen == "1 variables"


def test_seeds_and_all_optimizers_are_in_a_checkpoint() -> None:
    class Two(keras.Sequential):
        pass

    model = Two([keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.second = keras.optimizers.Adam()
    model.second.build(model.trainable_variables)
    names = [variable.path for variable in checkpoint.variables_of(model)]
    assert any("seed_generator" in name for name in names)
    assert sum(name.endswith("iteration") for name in names) == 2
    assert any("adam" in name and "momentum" in name for name in names)


# ---- history ----


def test_history_keeps_what_was_and_drops_what_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history = History(path, 0)
    history.add(1, {"loss": 0.1}, 1.25)
    history.add(2, {"loss": 1 / 3, "late": 2.0}, 1)
    history.add(3, {"loss": float("nan")}, 1)
    assert path.read_text().splitlines() == [
        "epoch,loss,late,seconds",
        "1,0.1,,1.25",
        f"2,{1 / 3!r},2.0,1",
        "3,nan,,1",
    ]
    with open(path, "a") as file:
        file.write("4,0.")
    again = History(path, 2)
    assert [row["epoch"] for row in again.rows] == [1, 2]
    again.add(3, {"loss": 3.0}, 1)
    assert [row["epoch"] for row in History(path, 9).rows] == [1, 2, 3]


# ---- session folder ----


def test_a_folders_name_tells_the_hparams_unless_they_are_too_long() -> None:
    name = session_folder.folder_name("digits", {"lr": 0.1, "path": "/a b", "ok": True}, 0.0)
    assert name.startswith("digits_lr=0.1_path=-a-b_ok=True_19")
    many = {f"hparam{n}": n for n in range(60)}
    one = session_folder.folder_name("digits", many, 0.0)
    assert len(one) < 60
    assert one != session_folder.folder_name("digits", {**many, "hparam7": 8}, 0.0)
    assert len(session_folder.folder_name("s" * 249, many, 0.0)) <= 255 - 5


def test_trials_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    made = [session_folder.create(None, str(tmp_path), "name").path.name for _ in range(3)]
    assert made == ["name", "name-2", "name-3"]


def test_a_folder_that_cannot_be_made_is_the_users_to_correct(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for how in ({"exact": tmp_path / "file" / "in"}, {"parent": str(tmp_path / "file")}):
        with pytest.raises(UserError, match="no session folder can be made"):
            session_folder.create(how.get("exact"), how.get("parent", ""), "name")


def test_one_process_at_a_time_trains_in_a_folder(tmp_path: Path) -> None:
    refused = pytest.raises(UserError, match="another process")
    with SessionFolder(tmp_path).held(), refused, SessionFolder(tmp_path).held():
        pass
    with SessionFolder(tmp_path).held():
        pass


def test_file_systems_without_locks_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(code: int) -> Any:
        def flock(*args: Any) -> None:
            raise OSError(code, os.strerror(code))

        return flock

    monkeypatch.setattr(fcntl, "flock", fail(errno.ENOLCK))
    with SessionFolder(tmp_path).held():
        pass
    monkeypatch.setattr(fcntl, "flock", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), SessionFolder(tmp_path).held():
        pass


def test_what_a_full_disk_comes_to(tmp_path: Path) -> None:
    where = SessionFolder(tmp_path)
    full = OSError(errno.EDQUOT, "Disk quota exceeded", "there")
    told = session_folder.explained(full, where)
    assert isinstance(told, WorkError)
    assert told.seen == "there"
    tensorflows = tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")
    assert isinstance(session_folder.explained(tensorflows, where), WorkError)
    other = OSError(errno.EIO, "bad")
    assert session_folder.explained(other, where) is other


# ---- usage, command ----


def test_usage_adds_up_and_knows_what_it_does_not_know() -> None:
    one, other = Usage(1, 2, 3, None, 4.0, 5.0), Usage(10, 20, 30, 1.5, 40.0, 50.0)
    assert one + other == Usage(11, 22, 33, 1.5, 44.0, 55.0)
    assert (one + one).input_cpu_seconds is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--usersettings FILE is missing"),
        (["--restart_interrupted"], "needs --model_dir"),
        (["-u", "x.py", "--model_dir", "d"], "goes with --restart_interrupted"),
        (["-u", "x.py", "--hparam", "novalue"], "is not key=value"),
        (["-u", "x.py", "--wait", "-1"], "--wait"),
    ],
)
def test_command_lines_that_are_refused(arguments: list[str], text: str) -> None:
    outcome = CliRunner().invoke(command, arguments)
    assert outcome.exit_code == 2
    assert text in outcome.output


def test_a_restart_takes_no_hparams() -> None:
    restart = ["--restart_interrupted", "--model_dir", "d"]
    for more in (["--hparam", "a=1"], ["--procID", "1"], ["--session-dir", "x"]):
        outcome = CliRunner().invoke(command, [*restart, *more])
        assert isinstance(outcome.exception, UserError)


def test_the_command_prints_where_and_how_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["-u", SETTINGS, "--hparam", "epochs=2", "--session-dir", "here"]
    outcome = CliRunner().invoke(command, [*arguments, "--json"])
    assert outcome.exception is None
    printed = json.loads(outcome.stdout)
    assert printed == json.loads(Path("here/result.json").read_text())
    assert printed["epochs_run"] == 2
    assert "epoch 2/2  loss " in outcome.stderr
    again = ["--restart_interrupted", "--model_dir", "here", "--quiet"]
    outcome = CliRunner().invoke(command, again)
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith(f"2 of 2 epochs, best at epoch {printed['best_epoch']}: ")
    assert lines[1] == str(Path("here").absolute())


# ---- signals ----


def test_a_signal_is_there_for_other_threads_before_it_is_handled() -> None:
    with RememberedSignals() as signals:
        assert not signals.arrived()
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(signals.arrived).result()
            with (
                read_shutdown.ending_when(signals.arrived),
                pytest.raises(WorkError, match="the program ended"),
            ):
                read_shutdown.check()
    read_shutdown.check()
    with RememberedSignals() as signals:
        assert not signals.arrived()
    assert signal.set_wakeup_fd(-1) == -1


def test_only_single_numbers_of_the_logs_are_columns(tmp_path: Path) -> None:
    logs = {
        "loss": np.float32(0.5),
        "f1": np.array([0.1, 0.2, 0.3]),
        "text": "0.7",
        "nothing": None,
        "one": [[2.0]],
        "ragged": [[1.0], [1.0, 2.0]],
        7: 3,
    }
    assert one_number_each(logs) == {"loss": 0.5, "one": 2.0, "7": 3.0}
    assert one_number_each(None) == {}


def test_metrics_may_be_named_like_columns_of_the_history(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    names = {"epoch": 0.5, "seconds": 0.25, "a, b": 1.0, 'say "no"\nmore': 2.0}
    history = History(path, 0)
    for epoch in (1, 2):
        history.add(epoch, names, 3.0)
    columns = {"metric epoch": 0.5, "metric seconds": 0.25, "a, b": 1.0, 'say "no"\nmore': 2.0}
    assert History(path, 1).rows == [{"epoch": 1, **columns, "seconds": 3.0}]
