"""One trial: from a settings file to a trained model, a result, and what is needed to resume it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from deeptool.errors import UserError
from deeptool.reader.read_request import Order
from deeptool.settings import Settings
from deeptool.settings.contract import PADDING, Padding
from deeptool.settings.hparams import plain
from deeptool.settings.random_state import kept_random_state
from deeptool.training import keras_backend, session_folder
from deeptool.training.display import Display
from deeptool.training.keras_config import kept_keras_config
from deeptool.training.result import DONE, TrialResult
from deeptool.training.trial_request import TrialRequest
from deeptool.training.trial_run import TrialRun
from deeptool.training.trial_source import TrialSource


def train(
    settings: Settings | str | os.PathLike[str] | None = None,
    *,
    hparams: Mapping[str, Any] | None = None,
    proc_id: int | None = None,
    variant: int | None = None,
    kafka: bool | None = None,
    servers: str | Sequence[str] | None = None,
    client_properties: Mapping[str, str] | str | os.PathLike[str] | None = None,
    reader: Literal["librdkafka", "tfio"] = "librdkafka",
    wait: float = 0.0,
    online: bool = False,
    drop_remainder: bool | None = None,
    padding_value: Padding | Mapping[str, Padding] | None = None,
    order: Order = "auto",
    cache: str = "auto",
    sealed: str | os.PathLike[str] | None = None,
    session_dir: str | os.PathLike[str] | None = None,
    restart_from: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> TrialResult:
    """Run one trial of an experiment, or resume one that was interrupted.

    Everything about it is kept in a session folder, and ``result.json`` at the end: also when it
    fails or is interrupted by SIGTERM or SIGINT.

    Parameters
    ----------
    settings : path or Settings
        The settings file, or what `load_settings` made of it (what a program changes about that
        is not there when the trial is restarted). Not needed to resume a trial.
    hparams : mapping, optional
        Overrides of the file's hparams.
    proc_id : int, optional
        Overrides hparams' procID, and names the stored variant to read. Without it that one is
        read which was made under this trial's data hparams, or all shards.
    variant : int, optional
        The variant to read where variants were uploaded in shards: the dataset
        ``<session_name>-v<variant>``.
    kafka : bool, optional
        Read the stored dataset, or run the settings' own pipeline; by default the former where
        `servers` are given, else as consume_data_from_kafka says.
    servers : str or sequence of str, optional
        "host:port" of Kafka brokers, instead of kafka_bootstrap_servers.
    client_properties : mapping or path, optional
        librdkafka's settings for a secured broker; see `deeptool.kafka_dataset`.
    reader : str
        "librdkafka", or "tfio" for tensorflow-io.
    wait : float
        Seconds to wait for a dataset that is not complete yet; for an upload of the training set
        that has not begun, with `online`.
    online : bool
        Begin while the training set is still being uploaded: the first epoch reads it as it
        arrives. The validation set must be complete.
    drop_remainder, padding_value
        See `deeptool.StoredDataset.tf`; instead of what the settings say of them.
    order, cache
        See `deeptool.reader.read_request.ReadRequest`.
    sealed : path, optional
        The folder of a sealed dataset, read instead of one on a broker.
    session_dir : path, optional
        The session folder, instead of ``<workingFolder>/<session_name>_<hparams>_<time>``.
    restart_from : path, optional
        The session folder of a trial to resume, under its own copy of the settings, its hparams
        and its data; `servers`, `client_properties`, `sealed` and `wait` may be given again. A
        trial that is complete, or has diverged, is not run again.
    verbose : bool
        Show each epoch, on standard error.

    Returns
    -------
    TrialResult
        Of a complete trial, or of one whose loss diverged.

    Raises
    ------
    UserError
        Settings, server, data or session folder are not as they should be; nothing was trained.
    WorkError
        It failed while it ran.

    Notes
    -----
    The settings' addon_callbacks get the datasets themselves as train_samples and val_samples: of
    batches, after get_online_pipeline. With steps_per_epoch the one for training has no end.

    random_seed seeds the trial alone: the caller's generators of Python, NumPy and TensorFlow are
    afterwards as they were, unless it loaded the settings itself. Keras' dtype policy and floatx
    are those that the caller, the settings file or the model file set, and the caller's afterwards.

    Epochs are counted from 1 in ``history.csv`` and results. The learning rate may be a number, a
    schedule, or a function of the epoch from 0.
    """
    if os.environ.get("KERAS_BACKEND", keras_backend.TENSORFLOW) != keras_backend.TENSORFLOW:
        # One error, wherever the user's files import Keras.
        keras_backend.name()
    display = Display(verbose)
    addresses = (servers,) if isinstance(servers, str) else tuple(servers or ())
    padding_value = _checked_padding(padding_value)
    source = TrialSource(
        *(addresses, client_properties, reader, wait, online),
        *(drop_remainder, padding_value, order, cache),
        None if sealed is None else os.path.abspath(sealed),
    )
    if restart_from is not None:
        given = (proc_id, variant, kafka)
        if settings or hparams or session_dir or any(each is not None for each in given):
            raise UserError("a trial resumes under the settings and hparams that it began with")
        earlier = session_folder.reopen(restart_from)
        done = earlier.result()
        if done is not None and done.status in DONE:
            display.say(f"this trial is already {done.status}: {earlier.path}")
            return done
        request = TrialRequest.from_json(earlier.request() or {}, source)
        # Without it, the trial was killed before it began, and nothing of it is kept.
        begun = bool(earlier.config())
        with kept_random_state(), kept_keras_config():
            return TrialRun(request, earlier, display, resumed=begun).run()
    if settings is None:
        raise UserError("no settings file was given")
    if addresses and kafka is None:
        # A server says where to read from, so that it says to read from there.
        kafka = True
    source.check(kafka is not False)
    loaded = settings if isinstance(settings, Settings) else None
    if loaded is not None:
        if hparams or proc_id is not None or variant is not None:
            raise UserError("loaded settings have their hparams: give them to load_settings")
        hparams = loaded.hparams
    file = Path(os.path.abspath(loaded.path if loaded else str(settings)))
    request = TrialRequest(file, plain(hparams or {}), proc_id, kafka, source, variant)
    folder = session_folder.create(session_dir) if session_dir is not None else None
    with kept_random_state(), kept_keras_config():
        return TrialRun(request, folder, display, loaded=loaded).run()


def _checked_padding(given: Any) -> Padding | Mapping[str, Padding] | None:
    """`padding_value` as JSON has it."""
    try:
        found: Padding | Mapping[str, Padding] | None = given
        return found if given is None else PADDING.read(given)
    except (TypeError, ValueError) as error:
        raise UserError(
            "padding_value cannot fill up anything", seen=given, valid=PADDING.expected
        ) from error
