"""One run of a trial, from its settings to its result."""

from __future__ import annotations

import contextlib
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deeptool.errors import Terminated, UserError
from deeptool.settings import Settings
from deeptool.termination import RememberedSignals
from deeptool.training import checkpoint, devices, failures, keras_backend, session_folder
from deeptool.training.display import Display
from deeptool.training.result import MONITOR, Status, TrialResult, Usage, finite
from deeptool.training.session_folder import SessionFolder
from deeptool.training.trial_data import TrialData, from_pipeline
from deeptool.training.trial_request import TrialRequest, copies, module_hashes, reload

_SECONDS_BETWEEN_LINES = 5.0


class TrialRun:
    """One run of a trial, and how far it came."""

    def __init__(
        self,
        request: TrialRequest,
        folder: SessionFolder | None,
        display: Display,
        *,
        resumed: bool = False,
        loaded: Settings | None = None,
    ) -> None:
        self._request, self._session, self._display = request, folder, display
        self._resumed, self._settings = resumed, loaded
        self._started = time.time()
        self._cpu, self._wall = time.process_time(), time.monotonic()
        self._signals = RememberedSignals()
        self._notes: list[str] = []
        self._said = 0.0
        self._kept: checkpoint.Checkpoint | None = None
        self._data: TrialData | None = None
        self._keeper: Any = None

    def run(self) -> TrialResult:
        with contextlib.ExitStack() as held, self._signals:
            if self._session is not None:
                held.enter_context(self._session.held())
            try:
                if self._session is not None and not self._resumed:
                    self._session.ask(self._request.to_json())
                self._train(held)
                if self._keeper.diverged is None:
                    return self._end("complete", None)
                return self._end("diverged", self._keeper.diverged)
            except BaseException as error:
                self._signals.deferred = True
                self._display.close()
                known = self._explained(error)
                self._fail(known)
                if known is error:
                    raise
                raise known from error

    def _fail(self, error: BaseException) -> None:
        interrupted = isinstance(error, (Terminated, KeyboardInterrupt))
        # A full disk may be why it failed: that is what to tell.
        with contextlib.suppress(OSError):
            if self._resumed and isinstance(error, UserError):
                # It was rejected before it resumed: its earlier result still holds.
                self._show("interrupted")
            else:
                self._end("interrupted" if interrupted else "failed", _named(error))
            if interrupted and self._session is not None:
                self._display.say(f"interrupted; to resume: {self._session.resume}")

    def _train(self, held: contextlib.ExitStack) -> None:
        self._show("starting")
        settings = self._prepare()
        kafka = self._request.from_kafka(settings)
        self._request.source.check(kafka)
        place = devices.prepare(settings.used_gpu_IDs, settings.enable_mixed_precision)
        for note in (*place.notes, *keras_backend.notes(settings)):
            self._say(note)
        self._show("waiting" if kafka else "starting")
        if kafka:
            from deeptool.store import read_shutdown
            from deeptool.training.kafka_data import from_kafka

            held.enter_context(read_shutdown.ending_when(self._signals.arrived))
            source, proc_id = self._request.source, self._request.proc_id
            say, waiting = self._say, self._waiting
            self._data = from_kafka(settings, source, proc_id, self._begins, say, waiting)
        else:
            first, _ = self._begins(None)
            self._data = from_pipeline(settings, first, self._request.source, self._say)
        facts = self._data.facts
        places = facts.get("servers") or [facts.get("sealed", "")]
        self._display.say(
            f"reads {', '.join(facts['topics'])} from {', '.join(places)}"
            if kafka
            else "runs the settings' own pipeline, without Kafka"
        )

        self._check_uploads(self._data)
        for split, dataset in (("train", self._data.train), ("val", self._data.val)):
            keras_backend.check_elements(dataset.element_spec, split)

        from deeptool.training import fitting, fixed_batch, model
        from deeptool.training.rehearsal import rehearse

        scope = place.strategy.scope if place.strategy else contextlib.nullcontext
        devices.use_precision(place.precision)
        with scope():
            network = settings.build_model()
            fixed_batch.check(network, self._data, kafka)
            compiled = model.compiled(settings, network)
            # Before the rehearsal, since the function may change the model.
            callbacks = settings.addon_callbacks(network, self._data.train, self._data.val)
            rehearse(network, self._data, settings, callbacks)
            self._restore(settings, network)
        folder = self._begin(held, settings, self._data, place)
        self._keeper, fit = fitting.prepare(
            settings,
            compiled,
            callbacks,
            self._data,
            folder,
            self._display,
            self._signals,
            self._kept,
            self._usage,
        )
        ended = self._epochs_run >= settings.nbEpoch
        if not ended and not (self._kept and self._kept.state["stopped"]):
            fit()
            self._check_arrival(self._data)
        if self._keeper.stopped is not None:
            self._say(self._keeper.stopped)
        if self._keeper.diverged is not None:
            self._say(self._keeper.diverged)
            if self._keeper.best_values is None:
                return self._say("no weights were exported: there is no epoch before that")
        self._show("exporting")
        if self._keeper.best_values is not None:
            checkpoint.assign(network.variables, self._keeper.best_values)
        rebuild = settings.build_model if place.strategy is not None else None
        elements = self._data.train.element_spec
        for note in model.export(network, elements, rebuild, folder.path):
            self._say(note)

    def _prepare(self) -> Settings:
        """Settings and checkpoint."""
        if self._resumed and self._session is not None:
            config = self._session.config()
            self._started = config["started"]
            keras_backend.check_resumed(config.get("keras_backend"))
            self._settings = reload(self._request, self._session, self._say)
            self._kept = checkpoint.load(self._session.checkpoints)
        elif self._settings is None:
            self._settings = self._request.load()
        for warning in self._settings.warnings:
            self._say(f"warning: {warning}")
        return self._settings

    def _begins(self, order: dict[str, Any] | None) -> tuple[int, int]:
        """The epoch and its batch to begin with, where samples are read in such an order."""
        if not self._resumed or self._session is None:
            return 0, 0
        kept = self._kept
        if kept is not None and kept.batch and kept.state["order"] != order:
            self._say(f"cannot resume inside epoch {kept.epoch + 1}: samples come in another order")
            kept = self._kept = checkpoint.load(self._session.checkpoints, inside=False)
        if kept is None:
            self._say("no checkpoint yet: starts at the first epoch")
            return 0, 0
        if kept.batch:
            done = f"{kept.batch} batch{'es' * (kept.batch != 1)}"
            self._display.say(f"resumes in epoch {kept.epoch + 1}, after {done}")
        else:
            self._display.say(f"resumes after epoch {kept.epoch}")
        return kept.epoch, kept.batch

    def _check_uploads(self, trial_data: TrialData) -> None:
        """Tell where a resumed trial reads another upload than it began with."""
        if self._resumed and self._session is not None:
            before = self._session.config()["data"].get("uploads")
            if before is not None and before != trial_data.facts.get("uploads"):
                self._say("the dataset was uploaded again since this trial began")

    def _check_arrival(self, trial_data: TrialData) -> None:
        if trial_data.arrival is not None and not trial_data.arrival.complete:
            self._say(
                "the training set was still being uploaded when the trial ended: only those data"
                " hparams that are known so far were compared"
            )

    def _restore(self, settings: Settings, network: Any) -> None:
        """The variables of the checkpoint, or of the session's last trial where that is asked."""
        if self._kept is not None:
            checkpoint.restore(network, self._kept)
        elif settings.recoverFromCheckpoint:
            for earlier in session_folder.others(settings.workingFolder, settings.session_name):
                kept = checkpoint.load(earlier.checkpoints)
                if kept is not None and earlier != self._session:
                    count = len(network.variables)
                    checkpoint.assign(network.variables, kept.best or kept.variables[:count])
                    return self._say(f"starts with the weights of {earlier.path}")
            self._say(f"recoverFromCheckpoint: no checkpoint in {settings.workingFolder}")

    def _begin(
        self,
        held: contextlib.ExitStack,
        settings: Settings,
        trial_data: TrialData,
        place: devices.Devices,
    ) -> SessionFolder:
        """The session folder, claimed only now that all checks have passed."""
        if self._resumed and self._session is not None:
            return self._session
        if self._session is None:
            name = session_folder.folder_name(
                settings.session_name, settings.hparams, self._started
            )
            self._session = session_folder.create(None, settings.workingFolder, name)
            held.enter_context(self._session.held())
            self._session.ask(self._request.to_json())
        files = copies(settings)
        config = {
            "deeptool": version("deeptool"),
            "python": sys.version.split()[0],
            "tensorflow": sys.modules["tensorflow"].__version__,
            "keras": sys.modules["keras"].__version__,
            "keras_backend": keras_backend.name(),
            "started": self._started,
            "request": self._request.to_json(),
            "copies": {k: {"from": str(path), "name": name} for k, (path, name) in files.items()},
            "modules": module_hashes(settings),
            "settings": settings.summary(),
            "data": trial_data.facts,
            "gpus": list(place.gpus),
            "precision": sys.modules["keras"].mixed_precision.dtype_policy().name,
        }
        self._session.begin(config, {name: path.read_bytes() for path, name in files.values()})
        self._display.say(f"session folder {self._session.path}")
        return self._session

    def _usage(self) -> Usage:
        """So far, earlier runs of the trial included."""
        here = Usage(
            cpu_seconds=time.process_time() - self._cpu,
            wall_seconds=time.monotonic() - self._wall,
        )
        if self._data is not None:
            meter = self._data.meter
            here += Usage(meter.samples, meter.records, meter.bytes, meter.cpu_seconds)
        return Usage(**self._kept.state["usage"]) + here if self._kept else here

    def _end(self, status: Status, error: str | None) -> TrialResult:
        """The result, which also goes into the session folder."""
        settings, keeper = self._settings, self._keeper
        result = TrialResult(
            status=status,
            session_dir=self._session.path if self._session else Path(),
            session_name=settings.session_name if settings else "",
            hparams=settings.hparams if settings else dict(self._request.hparams),
            proc_id=self._data.proc_id if self._data else self._request.proc_id,
            data_from=self._request.data_from(settings),
            epochs_run=self._epochs_run,
            epochs_planned=settings.nbEpoch if settings else 0,
            best_epoch=keeper.best_epoch if keeper else None,
            best=keeper.best if keeper else {},
            final=keeper.final if keeper else {},
            usage=self._usage(),
            started=self._started,
            finished=time.time(),
            notes=tuple(self._notes),
            monitor=settings.monitored_loss_name if settings else MONITOR,
            error=error,
        )
        if self._session is not None:
            self._session.end(result)
            self._show(status)
        return result

    @property
    def _epochs_run(self) -> int:
        if self._keeper is not None:
            return int(self._keeper.epochs_run)
        return self._kept.epoch if self._kept else 0

    def _show(self, state: str) -> None:
        if self._session is not None:
            metrics = finite(self._keeper.final) if self._keeper else {}
            epochs = self._settings.nbEpoch if self._settings else None
            kept = self._keeper.kept_batches if self._keeper else self._kept and self._kept.batch
            self._session.show(
                state,
                epoch=self._epochs_run,
                epochs=epochs,
                kept_batches=kept or 0,
                metrics=metrics,
            )

    def _say(self, note: str) -> None:
        self._notes.append(note)
        self._display.say(note)

    def _waiting(self, text: str) -> None:
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._display.say(text)

    def _explained(self, error: BaseException) -> BaseException:
        """The error to report: a signal's exception may have been turned into another one."""
        caught = self._signals.caught
        if caught is not None and not isinstance(error, type(caught)):
            return caught
        if isinstance(error, Exception) and self._session is not None:
            return session_folder.explained(error, self._session)
        return error


def _named(error: BaseException) -> str:
    if isinstance(error, Exception):
        error = failures.described(error)
    return f"{type(error).__name__}: {error}"
