"""One experiment: what its settings file defines, ready to be used."""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeptool.client.topic_names import SPLITS
from deeptool.errors import UserError, did_you_mean
from deeptool.files import sha256
from deeptool.settings import code_snapshot, usercode
from deeptool.settings.contract import FUNCTIONS, PIPELINE_PARAMETERS, VARIABLES, Contract, in_file
from deeptool.settings.hparams import plain
from deeptool.settings.loaded_file import LoadedFile
from deeptool.settings.opened_files import unseen
from deeptool.settings.raw_data import folders_of, list_raw_data

# The names that the samples of an upload come from: the pipeline, what it is given, where it ends.
DATA_NAMES = (
    "get_input_pipeline",
    "raw_data_dir_train",
    "raw_data_dir_val",
    "nb_train_samples",
    "nb_val_samples",
    "batched",
)


# An address (gs://bucket) or a pattern (*.png), which only the pipeline can look for.
_ELSEWHERE = re.compile(r"://|[*?\[]")


class Settings(Contract):
    """A settings file after it ran, its names checked by the contract.

    The attributes of `Contract` hold the file's values in their canonical types, with defaults
    filled in. Made by `load_settings`; two of them share nothing.

    Attributes
    ----------
    loaded : LoadedFile
        The file as it ran, for whoever asks what it did.
    path : Path
        The file, absolute.
    module : ModuleType
        The names of the file, as the user's own code sees them: what ``model(usersettings)``
        gets. Optional variables that the file lacks are there with their defaults.
    sha256 : str
        Of the file's bytes.
    hparams : dict
        All hyperparameters, overrides applied, as JSON has them: a copy, for whoever keeps, shows
        or compares them. User code reads ``module.hparams``.
    warnings : tuple of str
        What the file says that probably does not mean what it was meant to.
    """

    def __init__(
        self,
        loaded: LoadedFile,
        values: Mapping[str, Any],
        warnings: Sequence[str] = (),
    ) -> None:
        self.loaded, self._recording = loaded, loaded.hparams
        self.warnings = tuple(warnings)
        super().__init__(**{**values, "hparams": plain(self._recording)})
        self.path, self.module, module = loaded.source.path, loaded.module, loaded.module
        self.sha256 = sha256(loaded.source.data)
        for name in FUNCTIONS:
            function = getattr(self, name)
            if function is not None and name != "get_input_pipeline":
                setattr(self, name, self._guarded(function))
        self.addon_callbacks = _as_list(self.addon_callbacks)
        for name in VARIABLES:
            if not hasattr(module, in_file(name)):
                setattr(module, in_file(name), copy.copy(getattr(self, name)))
        self._recording.recording = False
        self._recording.take_lookups()

    @property
    def proc_id(self) -> int:
        """hparams' procID, 0 where it has none."""
        return int(self.hparams.get("procID", 0))

    @property
    def num_procs(self) -> int:
        """hparams' num_procs, 1 where it has none."""
        return int(self.hparams.get("num_procs", 1))

    @property
    def model_path(self) -> Path:
        """Where `model_file` is: relative to the working directory, else to the settings file.

        Raises
        ------
        UserError
            It is in neither place.
        """
        candidates = [Path.cwd() / self.model_file, self.path.parent / self.model_file]
        for candidate in candidates:
            if code_snapshot.is_file(candidate):
                return candidate.resolve()
        here = {path.name for each in candidates for path in each.parent.glob("*.py")}
        near = difflib.get_close_matches(candidates[0].name, here, 1)
        raise UserError(
            f"the model_file of {usercode.shown_path(self.path)} does not exist",
            seen=f"{self.model_file}: there is no "
            + " and no ".join(dict.fromkeys(str(candidate) for candidate in candidates)),
            valid="a file relative to the working directory, or to the settings file",
            next_step="correct model_file" + "".join(f": there is {name}" for name in near),
        )

    def build_model(self) -> Any:
        """Run the model file and call its ``model(usersettings)``.

        Returns
        -------
        keras.Model
            As the file made it, not compiled.

        Raises
        ------
        UserError
            The file is missing, raises, has no such function, or that returns something else.
        """
        import keras

        source = usercode.read_source(self.model_path, "model file")
        code = usercode.compiled(source.tree, source.path, "model file")
        module = usercode.new_module(source, "usermodel")
        imports = usercode.Imports(source.path.parent)
        with self._quiet():
            usercode.run(module, code, source.path, imports)
            where = usercode.shown_path(source.path)
            if not callable(getattr(module, "model", None)):
                raise UserError(f"{where} defines no function model(usersettings)")
            with usercode.calling(source.path):
                model = module.model(self.module)
        if not isinstance(model, keras.Model):
            raise UserError(
                f"model() of {where} does not return a Keras model",
                seen=type(model).__name__,
                valid="keras.Model",
            )
        return model

    def pipeline(self, split: str) -> Any:
        """Build one pass of the experiment's own input pipeline.

        Lookups of hparams are recorded from here on, for `data_hparams`.

        Parameters
        ----------
        split : str
            "train" or "val": says the raw data folder and isTraining.

        Returns
        -------
        tf.data.Dataset
            What get_input_pipeline returns for batch_size and nbEpoch=1: of batches, or of single
            samples where `batched` is False.

        Raises
        ------
        UserError
            It raises, or returns no Dataset; or a raw data folder is not there.
        """
        import tensorflow as tf

        values = (self._folders(split), split == "train", self.batch_size, 1)
        self._recording.recording = True
        self.loaded.follow_pipeline()
        try:
            with usercode.calling(self.path):
                dataset = _call(self.get_input_pipeline, PIPELINE_PARAMETERS, values)
        except UserError as error:
            # Not before: a pipeline need not use the folder, and may have something else there.
            lacking = self.missing_raw_data(split, error.what)
            raise (lacking or error) from error.__cause__
        return _checked(dataset, tf.data.Dataset, "get_input_pipeline")

    def online(self, dataset: Any, is_training: bool) -> Any:
        """Apply the experiment's get_online_pipeline; `dataset` itself where it has none.

        Parameters
        ----------
        dataset : tf.data.Dataset
            Of batches, from the store or from `pipeline`.
        is_training : bool
            False for validation.

        Raises
        ------
        UserError
            It raises, or returns no Dataset.
        """
        import tensorflow as tf

        if self.get_online_pipeline is None:
            return dataset
        result = self.get_online_pipeline(dataset, is_training)
        return _checked(result, tf.data.Dataset, "get_online_pipeline")

    def data_hparams(self) -> dict[str, Any]:
        """The hyperparameters that the samples depend on, with their values.

        Those that the file names (``data_hparams = [...]``); else those looked up since the first
        `pipeline`, and those behind the names that it refers to.
        """
        if self.declared_data_hparams is not None:
            keys = set(self.declared_data_hparams)
        else:
            keys = {*self._recording.looked_up, *self.loaded.behind(DATA_NAMES)}
        return {key: value for key, value in self.hparams.items() if key in keys}

    def raw_data(self, split: str) -> dict[str, Any] | None:
        """The listing of a split's raw data folders; see `list_raw_data`."""
        return list_raw_data(self._folders(split))

    def missing_raw_data(self, split: str, failure: str = "") -> UserError | None:
        """The error of a pipeline that fails, or yields nothing, without a folder of its raw data.

        Parameters
        ----------
        split : str
        failure : str
            How it failed, where it did.

        Returns
        -------
        UserError or None
            None where all folders are there, or only the pipeline can know.
        """
        for folder in folders_of(self._folders(split)):
            if not _ELSEWHERE.search(folder) and not os.path.exists(folder):
                near = [each.name for each in _siblings(folder)]
                return UserError(
                    f"the raw data of {usercode.shown_path(self.path)} is not there:"
                    f" raw_data_dir_{split}",
                    seen=f"{folder}{did_you_mean(os.path.basename(folder), near)}",
                    valid="a folder, relative to the working directory or to the settings file",
                    next_step="correct it"
                    + (f"; the pipeline failed with {failure}" if failure else ""),
                )
        return None

    def summary(self) -> dict[str, Any]:
        """All variables of the contract as JSON has them, with the file's path and hash."""
        variables = {name: plain(getattr(self, name)) for name in VARIABLES}
        return {"settings": str(self.path), "settings_sha256": self.sha256, **variables}

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """What user code does in the block says nothing about the samples."""
        with self._recording.quiet(), unseen():
            yield

    def _folders(self, split: str) -> str | tuple[str, ...]:
        """A split's raw data folders, as the working directory or the settings file has them."""
        if split not in SPLITS:
            raise UserError("unknown split", seen=split, valid="train or val")
        given = self.raw_data_dir_train if split == "train" else self.raw_data_dir_val
        if isinstance(given, str):
            return self._beside(given)
        return tuple(map(self._beside, given))

    def _beside(self, folder: str) -> str:
        """`folder`, or the one of that name beside the settings file where only that is there."""
        beside = self.path.parent / folder
        return str(beside) if folder and not os.path.exists(folder) and beside.exists() else folder

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose lookups of hparams say nothing about the data, and whose errors say
        where they are."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._quiet(), usercode.calling(self.path):
                return function(*args, **kwargs)

        return call


def _siblings(folder: str) -> list[Path]:
    """The folders beside one that is not there."""
    with contextlib.suppress(OSError):
        return [each for each in Path(folder).parent.iterdir() if each.is_dir()]
    return []


def _as_list(addon_callbacks: Callable[..., Any]) -> Callable[..., list[Any]]:
    """addon_callbacks, which may return them by name; an empty dict or None means none."""

    @functools.wraps(addon_callbacks)
    def call(*args: Any, **kwargs: Any) -> list[Any]:
        callbacks = addon_callbacks(*args, **kwargs)
        if isinstance(callbacks, Mapping):
            callbacks = list(callbacks.values())
        if callbacks and not isinstance(callbacks, (list, tuple)):
            raise UserError(
                "addon_callbacks does not return a list",
                seen=type(callbacks).__name__,
                valid="a list of Keras callbacks, or a dict of them",
            )
        return list(callbacks or ())

    return call


def _call(function: Callable[..., Any], names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """Call by name where the function has these names, else by position."""
    parameters = inspect.signature(function).parameters
    if all(name in parameters for name in names):
        return function(**dict(zip(names, values, strict=True)))
    return function(*values)


def _checked(result: Any, kind: type, function: str) -> Any:
    if not isinstance(result, kind):
        raise UserError(f"{function} does not return a tf.data.Dataset", seen=type(result).__name__)
    return result
