"""What Keras refuses before the first epoch, in words: whose it is to correct, and where."""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras

from deeptool.errors import DeeptoolError, UserError
from deeptool.settings import Settings
from deeptool.settings.usercode import shown_path
from deeptool.training.failures import in_user_files, operation_error, short

# Keras lists the arguments behind the reason, and sets that in bold letters.
_ARGUMENTS = re.compile(r"\n+Arguments received by .*", re.DOTALL)
_BOLD = re.compile(r"\x1b\[\d+m")
# What autograph writes before the error of a function that it converted: where that was.
_WHERE = re.compile(r"^in user code:\n.*\n\s+(?=\w+: )", re.DOTALL)
# Of which of the settings' functions a part of Keras is made, or a function of it makes use.
_PARTS = {
    "CompileLoss": "get_total_loss",
    "compute_loss": "get_total_loss",
    "CompileMetrics": "get_metrics",
    "compute_metrics": "get_metrics",
}
# Where TensorFlow says which operation failed: as Keras names those of a loss.
_IN_LOSS = re.compile(r"\bnode \S*\bcompile_loss/")
# In the text of what the data raise, and of what a Python function in a graph does.
_NOT_KERAS = ("IteratorGetNext", "Traceback (most recent call last)")
# A name that Keras does not know.
_UNKNOWN = re.compile(
    r"Could not interpret (?P<kind>loss|metric|optimizer) identifier: (?P<name>\S+)"
)
_OPTIMIZERS = "keras.src.optimizers"
# The methods of a model that handle a batch.
STEPS = frozenset(("train_step", "test_step"))


@contextmanager
def refused(settings: Settings, model: Any, elements: Any = None) -> Iterator[None]:
    """Turn what Keras raises within into a UserError that names file and function.

    Parameters
    ----------
    model : keras.Model
    elements : structure of tf.TypeSpec, optional
        What the model is tried on.
    """
    try:
        with _whole_tracebacks():
            yield
    except (DeeptoolError, MemoryError):
        raise
    except Exception as error:
        name = _setting(error, settings)
        made = (
            shown_place(getattr(settings, name))
            if name
            else f"{shown_path(settings.model_path)}, in model"
        )
        folders = (settings.path.parent, settings.model_path.parent)
        place = in_user_files(error, folders) or made
        what = f"{place}: Keras refuses {f'what {name} returns' if name else 'the model'}"
        if unknown := _UNKNOWN.search(str(error)):
            raise UserError(
                f"{what}: {reason(error)}",
                valid=_near(unknown["name"], unknown["kind"]),
                next_step="correct it there",
            ) from error
        raise UserError(
            f"{what}: {reason(error)}",
            seen=None if elements is None else f"a dataset of {shown(elements)}",
            valid=_inputs(model) if elements is not None and name is None else None,
            next_step="correct it there"
            + (", in the model, or in get_input_pipeline" if elements is not None else "")
            + "; --debug shows the whole traceback",
        ) from error


@contextmanager
def refused_at_first(
    settings: Settings, model: Any, elements: Any, begun: Callable[[], bool]
) -> Iterator[None]:
    """`refused`, for what only the first batch shows: labels out of range, or an eager step.

    Parameters
    ----------
    begun : callable
        Whether a batch was trained on. What is raised after that is left as it is.
    """
    try:
        with _whole_tracebacks():
            yield
    except Exception as error:
        if not begun() and _of_the_step(error):
            with refused(settings, model, elements):
                raise
        raise


def place_of_loss(error: Exception, settings: Settings) -> str | None:
    """Where the settings file makes the loss that failed in the graph; None: no loss did."""
    return shown_place(settings.get_total_loss) if _IN_LOSS.search(str(error)) else None


def _of_the_step(error: Exception) -> bool:
    import tensorflow as tf

    if isinstance(error, (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)):
        return not any(mark in str(error) for mark in _NOT_KERAS)
    names = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    return not isinstance(error, tf.errors.OpError) and not STEPS.isdisjoint(names)


def _near(name: str, kind: str) -> str:
    """Keras' own names that are like a misspelt one."""
    module = {"loss": "losses", "metric": "metrics", "optimizer": "optimizers"}[kind]
    known = dir(getattr(keras, module))
    lower = {each.lower(): each for each in known if not each.startswith("_")}
    near = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, 3)]
    return " or ".join(near) or f"a name or an object of keras.{module}"


def shown_place(function: Callable[..., Any]) -> str:
    """``file:line, in name`` of a function of the user's."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(function)
    return f"{shown_path(Path(code.co_filename))}:{code.co_firstlineno}, in {function.__name__}"


def reason(error: BaseException) -> str:
    """Type and text of an error of Keras, on one line, without the arguments that it lists."""
    text = _WHERE.sub("", _BOLD.sub("", operation_error(str(error).strip())))
    text = " ".join(_ARGUMENTS.sub("", text).split())
    kind = type(error).__name__
    return short(text if text.startswith(f"{kind}: ") else f"{kind}{': ' * bool(text)}{text}")


def shown(spec: Any) -> str:
    """Elements of a dataset, or inputs of a model, with their dtypes and shapes."""
    if isinstance(spec, Mapping):
        return "{" + ", ".join(f"{key!r}: {shown(value)}" for key, value in spec.items()) + "}"
    if isinstance(spec, (tuple, list)):
        return "(" + ", ".join(map(shown, spec)) + ")"
    if not hasattr(spec, "dtype"):
        return str(spec)
    dtype = getattr(spec.dtype, "name", spec.dtype)
    rank = spec.shape.rank if hasattr(spec.shape, "rank") else len(spec.shape)
    if rank is None:
        return f"{dtype}[...]"
    return f"{dtype}[{', '.join('?' if size is None else str(size) for size in spec.shape)}]"


@contextmanager
def _whole_tracebacks() -> Iterator[None]:
    """With the frames of Keras, which say what it was about."""
    if not keras.config.is_traceback_filtering_enabled():
        yield
        return
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        keras.config.enable_traceback_filtering()


def _setting(error: Exception, settings: Settings) -> str | None:
    """The function of the settings file whose result Keras was busy with; None for the model."""
    in_step = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        in_step |= frame.f_code.co_name in STEPS
        part = _PARTS.get(type(frame.f_locals.get("self")).__name__)
        part = part or _PARTS.get(frame.f_code.co_name)
        if part == "get_total_loss" and settings.get_loss_weights and "loss_weights" in str(error):
            return "get_loss_weights"
        if part:
            return part
        # Within a step, an optimizer lacks what the model should have given it: gradients.
        if not in_step and frame.f_globals.get("__name__", "").startswith(_OPTIMIZERS):
            return "get_optimizer"
    return "get_total_loss" if _IN_LOSS.search(str(error)) else None


def _inputs(model: Any) -> str | None:
    """What the model says that it takes, where it says it (a subclass mostly does not)."""
    for name in ("input", "inputs"):
        # A Sequential model says it in the second way; a subclass may mean anything by the first.
        with suppress(Exception):
            return f"{shown(getattr(model, name))}, the model's input"
    return None
