"""What a settings file defines: each name with its type, its default and its meaning."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np

from deeptool.errors import UserError, near_name


@dataclass(frozen=True)
class Kind:
    """A type of the contract.

    Attributes
    ----------
    expected : str
        How an error calls it.
    read : callable
        Returns the value in its one canonical type; raises TypeError or ValueError for what is
        no such value.
    reads_none : bool
        Whether None is a value of its own, and not another word for the default.
    """

    expected: str
    read: Callable[[Any], Any]
    reads_none: bool = False


def _text(value: Any) -> str:
    if not isinstance(value, (str, PathLike)):
        raise TypeError
    return str(fspath(value))


def _folders(value: Any) -> str | tuple[str, ...]:
    return tuple(map(_text, value)) if isinstance(value, (list, tuple)) else _text(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)) and not (type(value) is int and value in (0, 1)):
        raise TypeError
    return bool(value)


def _whole_number(least: int, below: float = float("inf")) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, (bool, str)) or int(value) != value or not least <= value < below:
            raise TypeError
        return int(value)

    return read


def _seconds(value: Any) -> float:
    if value is None:
        return 0.0
    if isinstance(value, (bool, np.bool_, str)) or not 0 <= float(value) < math.inf:
        raise TypeError
    return float(value)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple, np.ndarray)):
        raise TypeError
    return [str(item) for item in value]


def _servers(value: Any) -> list[str]:
    servers = value.split(",") if isinstance(value, str) else list(value)
    if not servers or not all(isinstance(server, str) and server.strip() for server in servers):
        raise TypeError
    return [server.strip() for server in servers]


def _numbers(value: Any) -> list[int]:
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return [_whole_number(0)(item) for item in value]


def _keys(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple, set)) or not all(isinstance(key, str) for key in value):
        raise TypeError
    return sorted(value)


def _scalar(value: Any) -> bool | int | float | str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, (bool, int, float, str)):
        raise TypeError
    return value


def _padding(value: Any) -> Padding | dict[str, Padding]:
    if not isinstance(value, Mapping):
        return _scalar(value)
    if not value or not all(isinstance(path, str) for path in value):
        raise TypeError
    return {path: _scalar(one) for path, one in value.items()}


def _hparams(value: Any) -> Mapping[str, Any]:
    # dict.keys: the type of the keys is asked here, not their values looked up.
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in dict.keys(value)):
        raise TypeError
    return value


def _function(*parameters: str) -> Kind:
    def read(value: Any) -> Callable[..., Any]:
        if not callable(value):
            raise TypeError
        try:
            signature = inspect.signature(value)
        except ValueError:
            return value  # type: ignore[no-any-return]
        signature.bind(*parameters)
        return value  # type: ignore[no-any-return]

    return Kind(f"a function of ({', '.join(parameters)})", read)


# What fills up a dense tensor; for strings a str.
Padding = bool | int | float | str

PIPELINE_PARAMETERS = ("raw_data_files_folder", "isTraining", "batch_size", "nbEpoch")

TEXT = Kind("str", _text)
TEXTS = Kind("list of str", _texts)
FOLDERS = Kind("str or tuple of str", _folders)
FLAG = Kind("bool", _flag)
COUNT = Kind("int >= 0", _whole_number(0))
POSITIVE = Kind("int >= 1", _whole_number(1))
SEED = Kind("int, 0 to 2**32 - 1", _whole_number(0, 2**32))
SECONDS = Kind("a number of seconds >= 0, or None", _seconds, reads_none=True)
NUMBERS = Kind("list of int", _numbers)
HPARAMS = Kind("dict with str keys", _hparams)
KEYS = Kind("list of str", _keys)
SERVERS = Kind("str or list of str", _servers)
PADDING = Kind("a number or str, or a dict of them by path", _padding)

# What errors and the settings file call a field where it is not the field's own name.
_IN_FILE = {"declared_data_hparams": "data_hparams"}
# How like a name of the contract another one has to be, so that a letter or two are wrong: files
# have names of their own.
_LIKENESS = 0.88
# Files were written before these meant something: a function or module of that name is their own.
_TAKEN_LATER = ("batched", "drop_remainder", "padding_value", "checkpoint_seconds")


# Of a file that sets no random_seed: its trials can be repeated, too.
DEFAULT_SEED = 0


def _no_callbacks(model: Any, train_samples: Any, val_samples: Any) -> list[Any]:
    return []


def _usual_learning_rate() -> float:
    """That of Keras' Adam."""
    return 0.001


def _no_metrics(model: Any, loss: Any) -> list[Any]:
    return []


@dataclass(kw_only=True, eq=False)
class Contract:
    """The names of a settings file, read: variables in their one type, functions as they are.

    A field without a default is a name that every file defines.
    """

    session_name: Annotated[str, TEXT]
    hparams: Annotated[dict[str, Any], HPARAMS]
    model_file: Annotated[str, TEXT]
    nbEpoch: Annotated[int, POSITIVE]
    batch_size: Annotated[int, POSITIVE]
    get_optimizer: Annotated[Callable[..., Any], _function("model", "loss", "learning_rate")]
    get_total_loss: Annotated[Callable[..., Any], _function("model")]
    get_input_pipeline: Annotated[Callable[..., Any], _function(*PIPELINE_PARAMETERS)]

    workingFolder: Annotated[str, TEXT] = "experiments"
    used_gpu_IDs: Annotated[list[int], NUMBERS] = field(default_factory=lambda: [0])
    useXLA: Annotated[bool, FLAG] = False
    use_profiling: Annotated[bool, FLAG] = False
    weights_moving_averages: Annotated[bool, FLAG] = False
    random_seed: Annotated[int, SEED] = DEFAULT_SEED
    early_stopping_patience: Annotated[int, COUNT] = 0
    raw_data_dir_train: Annotated[str | tuple[str, ...], FOLDERS] = ""
    raw_data_dir_val: Annotated[str | tuple[str, ...], FOLDERS] = ""
    raw_data_filename_extension: Annotated[str, TEXT] = ""
    nb_train_samples: Annotated[int, COUNT] = 0
    nb_val_samples: Annotated[int, COUNT] = 0
    steps_per_epoch: Annotated[int, COUNT] = 0
    validation_steps: Annotated[int, COUNT] = 0
    reference_labels: Annotated[list[str], TEXTS] = field(default_factory=list)
    addon_callbacks: Annotated[
        Callable[..., Any], _function("model", "train_samples", "val_samples")
    ] = _no_callbacks
    get_learningRate: Annotated[Callable[..., Any], _function()] = _usual_learning_rate
    get_metrics: Annotated[Callable[..., Any], _function("model", "loss")] = _no_metrics
    enable_mixed_precision: Annotated[bool | None, FLAG] = None
    consume_data_from_kafka: Annotated[bool, FLAG] = False
    kafka_bootstrap_servers: Annotated[list[str], SERVERS] = field(
        default_factory=lambda: ["localhost:9092"]
    )
    recoverFromCheckpoint: Annotated[bool, FLAG] = False
    monitored_loss_name: Annotated[str, TEXT] = "val_loss"
    batched: Annotated[bool, FLAG] = True
    drop_remainder: Annotated[bool | None, FLAG] = None
    padding_value: Annotated[Padding | dict[str, Padding] | None, PADDING] = None
    checkpoint_seconds: Annotated[float, SECONDS] = 60.0
    declared_data_hparams: Annotated[list[str] | None, KEYS] = None
    get_loss_weights: Annotated[Callable[..., Any] | None, _function()] = None
    get_online_pipeline: Annotated[
        Callable[..., Any] | None, _function("dataset", "isTraining")
    ] = None


FIELDS = {field.name: field for field in fields(Contract)}
FUNCTIONS = tuple(name for name in FIELDS if name.startswith("get_") or name == "addon_callbacks")
VARIABLES = tuple(name for name in FIELDS if name not in FUNCTIONS)


def in_file(name: str) -> str:
    """The name by which a settings file defines the field `name`."""
    return _IN_FILE.get(name, name)


def misspelt(namespace: Mapping[str, Any], path: str) -> list[str]:
    """A warning for each name of a settings file that is probably an optional one, misspelt.

    Parameters
    ----------
    namespace : mapping
        The names of the executed file.
    path : str
        The file, for the warning.
    """
    known = {in_file(name) for name in FIELDS}
    lacking = {name.lower(): name for name in sorted(known - namespace.keys())}
    found = []
    for name, value in namespace.items():
        if name in known or name.startswith("_") or inspect.ismodule(value):
            continue
        close = difflib.get_close_matches(name.lower(), lacking, 1, _LIKENESS)
        found += [
            f"{path}: {name} means nothing to deeptool; did you mean {lacking[each]}?"
            for each in close
        ]
    return found


def read_contract(namespace: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The contract's values as a settings file's names hold them.

    Parameters
    ----------
    namespace : mapping
        The names of the executed file.
    path : Path
        The file, for the error.

    Returns
    -------
    dict
        What `Contract` is made of; optional names that the file lacks, or sets to None where that
        means nothing else, are left out.

    Raises
    ------
    UserError
        Names are missing or hold something else than the contract says: all of them, in one error.
    """
    values: dict[str, Any] = {}
    missing, wrong = [], []
    hints = get_type_hints(Contract, include_extras=True)
    for name, field_ in FIELDS.items():
        kind: Kind = hints[name].__metadata__[0]
        value = namespace.get(in_file(name), MISSING)
        if name in _TAKEN_LATER and (callable(value) or inspect.ismodule(value)):
            value = MISSING
        required = field_.default is MISSING and field_.default_factory is MISSING
        if value is MISSING and required:
            own = [each for each in namespace if not each.startswith("_") and each not in FIELDS]
            near = near_name(in_file(name), own)
            has = f"; the file has {near}" if near else ""
            missing.append(f"  missing: {in_file(name)}, expected {kind.expected}{has}")
        if value is MISSING or (value is None and not required and not kind.reads_none):
            continue
        try:
            values[name] = kind.read(value)
        except (TypeError, ValueError, OverflowError):
            found = _shown(value)
            wrong.append(f"  wrong: {in_file(name)}, expected {kind.expected}, found {found}")
    if missing or wrong:
        count = len(missing) + len(wrong)
        heading = f"{path}: {count} name{'s' * (count > 1)} missing or of the wrong type"
        raise UserError(
            "\n".join([heading, *missing, *wrong]),
            next_step="define them in the settings file; docs/settings.md describes each",
        )
    return values


def _shown(value: object) -> str:
    """`value` for an error: its type and the beginning of its repr."""
    if callable(value):
        try:
            return f"{type(value).__name__} {inspect.signature(value)}"
        except ValueError:
            return type(value).__name__
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
