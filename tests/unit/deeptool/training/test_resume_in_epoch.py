"""Resuming inside an epoch, from a dataset in memory that can be read from any position."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from paths import HELPERS

from deeptool import TrialResult, train
from deeptool.settings import Settings, load_settings
from deeptool.training import checkpoint
from deeptool.training import model as trial_model
from deeptool.training.checkpoint_writer import CheckpointWriter
from deeptool.training.trial_data import EpochClock, SampleMeter, TrialData

SETTINGS = HELPERS / "trial_settings.py"
BATCH = 8
Call = tuple[str, Any, dict[str, float]]


def batches(epoch: int, sizes: tuple[int, ...]) -> list[tuple[Any, Any]]:
    """Those of a pass, in an order of its own."""
    order = np.random.default_rng(epoch).permutation(sizes[epoch % len(sizes)])
    x = (order / 10).astype(np.float32)[:, np.newaxis]
    return [(x[n : n + BATCH], x[n : n + BATCH] ** 2) for n in range(0, len(x), BATCH)]


def endless(sizes: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    return itertools.chain.from_iterable(batches(k, sizes) for k in itertools.count())


class Stored:
    """In place of `deeptool.training.kafka_data.from_kafka`."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.order: dict[str, Any] | None = {"uploads": ["one"]}
        self.known = True

    def __call__(
        self, settings: Settings, source: Any, proc_id: Any, begins: Any, *_: Any
    ) -> TrialData:
        clock = EpochClock(*begins(self.order))
        counts = [len(batches(k, self.sizes)) for k in range(len(self.sizes))]
        steps = settings.steps_per_epoch or None
        behind = clock.epoch * (steps or 0) + clock.batch

        def read() -> Iterator[Any]:
            if steps:
                return itertools.islice(endless(self.sizes), behind, None)
            return iter(batches(clock.epoch, self.sizes)[clock.batch :])

        spec = tf.TensorSpec((None, 1), tf.float32)
        dataset = tf.data.Dataset.from_generator(read, output_signature=(spec, spec))

        def planned(epoch: int) -> int | None:
            return steps or (counts[epoch % len(counts)] if self.known else None)

        unending = tf.data.INFINITE_CARDINALITY if steps else tf.data.UNKNOWN_CARDINALITY
        counted = not steps and self.known
        dataset.cardinality = lambda: tf.constant(
            planned(clock.epoch) if counted else unending, tf.int64
        )
        return TrialData(
            train=dataset,
            val=tf.data.Dataset.from_tensor_slices(batches(99, (16,))[0]).batch(BATCH),
            steps=steps,
            planned=planned,
            clock=clock,
            meter=SampleMeter(),
            proc_id=None,
            facts={"topics": [], "servers": [], "uploads": []},
            order=self.order,
        )


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stored:
    """Trials read it, and keep a checkpoint after each batch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    monkeypatch.setattr(CheckpointWriter, "busy", False)
    found = Stored(44)
    monkeypatch.setattr("deeptool.training.kafka_data.from_kafka", found)
    return found


class Calls(keras.callbacks.Callback):
    """Each call of a callback, with its logs, until the one before the batch `stop`."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.stop, self.epoch = stop, -1

    def _called(self, name: str, given: Any, logs: Any) -> None:
        self.calls.append((name, given, {k: float(v) for k, v in (logs or {}).items()}))

    def on_train_begin(self, logs: Any = None) -> None:
        self._called("train begin", None, logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._called("train end", None, logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self._called("epoch begin", (epoch, self.params["steps"]), logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._called("epoch end", (epoch, self.model.stop_training), logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == self.stop:
            raise OSError("pulled the plug")
        self._called("batch begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._called("batch end", batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self._called("test begin", self.model.stop_training, logs)

    def on_test_end(self, logs: Any = None) -> None:
        self._called("test end", None, logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._called("test batch begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._called("test batch end", batch, logs)


def run(
    hparams: dict[str, Any],
    session: str,
    stop: tuple[int, int] | None = None,
    *,
    seconds: float = 1e-9,
    change: Callable[[Settings], None] = lambda settings: None,
) -> tuple[list[Call], TrialResult | None]:
    """Train in a session folder, or resume there; the calls of callbacks, None where it stopped."""
    monkey = pytest.MonkeyPatch()
    calls = Calls(stop)
    loaded = load_settings(SETTINGS, hparams=hparams)
    inner = loaded.addon_callbacks
    loaded.addon_callbacks = lambda *given: [*inner(*given), calls]
    loaded.checkpoint_seconds = seconds
    change(loaded)
    try:
        if not Path(session).exists():
            how: dict[str, Any] = {"settings": loaded, "kafka": True, "session_dir": session}
        else:
            monkey.setattr("deeptool.training.trial_run.reload", lambda *given: loaded)
            how = {"restart_from": session}
        if stop is None:
            return calls.calls, train(**how)
        with pytest.raises(OSError, match="plug"):
            train(**how)
        return calls.calls, None
    finally:
        monkey.undo()


def history(session: str) -> list[dict[str, str]]:
    with open(f"{session}/history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def kept(session: str) -> checkpoint.Checkpoint:
    found = checkpoint.load(Path(session) / "checkpoints")
    assert found is not None
    return found


def check_alike(one: str, other: str) -> None:
    assert history(one) == history(other)
    for name in ("variables", "best"):
        values, others = getattr(kept(one), name), getattr(kept(other), name)
        assert len(values) == len(others) > 0
        assert all(map(np.array_equal, values, others)), name


@pytest.mark.parametrize("hparams", [{}, {"steps": 4}], ids=["whole", "steps"])
def test_callbacks_are_called_as_by_keras(stored: Stored, hparams: dict[str, Any]) -> None:
    hparams = {"epochs": 3, "dropout": 0.3, **hparams}
    calls, _ = run(hparams, "trial")
    settings = load_settings(SETTINGS, hparams=hparams)
    model = trial_model.compiled(settings, settings.build_model()).model
    data, plain = stored(settings, None, None, lambda order: (0, 0)), Calls()
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: data.clock.enter(epoch))
    model.fit(
        data.train,
        validation_data=data.val,
        epochs=3,
        steps_per_epoch=data.steps,
        callbacks=[clock, plain],
        verbose=0,
    )
    assert calls == plain.calls
    assert [call[1] for call in calls if call[0] == "batch begin"] == [
        *range(4 if data.steps else 6)
    ] * 3


ALL = {"epochs": 4, "dropout": 0.3}
CUTS: list[tuple[tuple[int, ...], dict[str, Any], list[tuple[int, int]]]] = [
    ((44,), ALL, [(0, 1)]),
    ((44,), ALL, [(1, 5), (1, 5), (3, 2)]),
    ((44,), {**ALL, "averages": True, "plateau": True}, [(1, 2), (2, 4)]),
    ((44,), {**ALL, "steps": 4}, [(0, 2), (3, 3)]),
    ((44,), {**ALL, "steps": 9, "averages": True}, [(1, 8)]),
    ((44, 17), ALL, [(0, 5), (1, 2)]),
    ((17, 44), {**ALL, "averages": True}, [(0, 2), (1, 3), (3, 5)]),
    ((44,), {**ALL, "epochs": 12, "patience": 2, "learning_rate": 1.0}, [(1, 3), (2, 3)]),
]
# Between them, they have all kinds of hparams and sizes.
USUAL = (2, 3, 5, 7)


@pytest.mark.parametrize(
    ("sizes", "hparams", "cuts"),
    [
        pytest.param(*cut, marks=[] if n in USUAL else pytest.mark.soak)
        for n, cut in enumerate(CUTS)
    ],
)
def test_a_resumed_trial_is_the_undisturbed_one(
    stored: Stored,
    sizes: tuple[int, ...],
    hparams: dict[str, Any],
    cuts: list[tuple[int, int]],
) -> None:
    stored.sizes = sizes
    whole, result = run(hparams, "whole", seconds=0)
    assert result is not None
    assert not hparams.get("patience") or result.epochs_run < hparams["epochs"]
    pieces: list[Call] = []
    for stop in [*cuts, None]:
        calls, _ = run(hparams, "pieces", stop)
        if pieces:
            # Training begins again, and so does the epoch: that is all that callbacks notice.
            assert [call[0] for call in calls[:2]] == ["train begin", "epoch begin"]
            calls = calls[2:]
        pieces += calls
        if stop is not None:
            assert (kept("pieces").epoch, kept("pieces").batch) == stop
            progress = json.loads(Path("pieces/progress.json").read_text())
            assert (progress["epoch"], progress["kept_batches"]) == stop
    assert pieces == whole
    check_alike("pieces", "whole")


def test_a_rate_that_each_epoch_multiplies_is_multiplied_once(stored: Stored) -> None:
    def decay(settings: Settings) -> None:
        inner = settings.addon_callbacks
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
        settings.addon_callbacks = lambda *given: [schedule, *inner(*given)]

    for session, stops in (("whole", [None]), ("pieces", [(2, 1), (2, 4), None])):
        for stop in stops:
            run(ALL, session, stop, change=decay)
    check_alike("pieces", "whole")
    rates = [float(row["learning_rate"]) for row in history("pieces")]
    assert rates == pytest.approx([0.05 / 2**n for n in (1, 2, 3, 4)])


def test_samples_that_come_in_another_order_are_read_from_the_beginning_of_the_epoch(
    stored: Stored,
) -> None:
    run(ALL, "trial", (2, 3))
    stored.order = {"uploads": ["another"]}
    calls, result = run(ALL, "trial")
    assert [call[1][0] for call in calls if call[0] == "epoch begin"] == [2, 3]
    assert [call[1] for call in calls if call[0] == "batch begin"] == [*range(6)] * 2
    assert result is not None
    assert any("cannot resume inside epoch 3" in note for note in result.notes)
    run(ALL, "whole")
    check_alike("trial", "whole")


@pytest.mark.parametrize("why", ["switched off", "no order", "unknown length", "eager"])
def test_no_checkpoint_inside_an_epoch(stored: Stored, why: str) -> None:
    def eager(settings: Settings) -> None:
        build = settings.build_model

        def built() -> Any:
            model = build()
            compiled = model.compile
            model.compile = lambda **given: compiled(**given, run_eagerly=True)
            return model

        if why == "eager":
            settings.build_model = built

    stored.order = None if why == "no order" else stored.order
    stored.known = why != "unknown length"
    run(ALL, "trial", (2, 3), seconds=0 if why == "switched off" else 1e-9, change=eager)
    assert (kept("trial").epoch, kept("trial").batch) == (2, 0)
    run(ALL, "trial", change=eager)
    run(ALL, "whole", change=eager)
    check_alike("trial", "whole")


def test_checkpoints_are_as_far_apart_as_asked_and_as_writing_takes(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, cost, written = 100.0, 0.0, []
    save = checkpoint.save

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    def saving(folder: Path, kept: checkpoint.Checkpoint) -> None:
        nonlocal now
        now += cost
        written.append((kept.epoch, kept.batch))
        save(folder, kept)

    def batch(number: int, logs: Any) -> None:
        nonlocal now
        now += 10.0

    def timed(settings: Settings) -> None:
        ticking = keras.callbacks.LambdaCallback(on_train_batch_end=batch)
        settings.addon_callbacks = lambda *given: [ticking]

    monkeypatch.setattr("deeptool.training.callbacks.time", Clock)
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", 0.1)
    monkeypatch.setattr(checkpoint, "save", saving)
    monkeypatch.setattr(CheckpointWriter, "begin", lambda self, kept: saving(self._folder, kept))
    stored.sizes = (8 * 12,)
    run({"epochs": 1}, "quick", seconds=30, change=timed)
    assert written == [(0, 3), (0, 6), (0, 9), (1, 0)]
    written, cost = [], 5.0
    run({"epochs": 1}, "slow", seconds=30, change=timed)
    assert written == [(0, 3), (0, 8), (1, 0)]
    written, cost = [], 0.0
    monkeypatch.setattr(CheckpointWriter, "busy", True)
    run({"epochs": 1}, "busy", seconds=30, change=timed)
    assert written == [(1, 0)]


def test_the_seconds_of_an_epoch_are_those_of_all_its_pieces(stored: Stored) -> None:
    run(ALL, "trial", (1, 3))
    found = kept("trial")
    assert 0 < found.state["seconds"] < 60
    state = {**found.state, "seconds": 1000.0}
    checkpoint.save(Path("trial/checkpoints"), dataclasses.replace(found, state=state))
    run(ALL, "trial")
    with open("trial/history.csv", newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert 1000 < seconds[1] < 1060 > 1000 + max(seconds[0], *seconds[2:])
