"""Whether a model can take what a dataset holds: found out before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeptool.errors import UserError


def check(model: Any, element_spec: Any, origin: str) -> None:
    """Hold the inputs of a model against the elements of its dataset.

    A model that does not say what it takes (a subclass of keras.Model, mostly) passes.

    Parameters
    ----------
    model : keras.Model
    element_spec : structure of tf.TypeSpec
        Of ``(x, y)`` or ``(x, y, sample_weight)``.
    origin : str
        Names the data in the error.

    Raises
    ------
    UserError
        The dataset does not yield ``(x, y)``, lacks an input of the model, or holds another shape
        or type for it.
    """
    if not isinstance(element_spec, tuple) or len(element_spec) not in (2, 3):
        raise UserError(
            f"{origin} cannot be trained on",
            seen=_shown(element_spec),
            valid="(x, y) or (x, y, sample_weight)",
        )
    try:
        wanted = model.input
    except (AttributeError, ValueError):
        # A Sequential model says it in another way; others do not know before they are called.
        wanted = getattr(model, "inputs", None)
    if wanted is None or (isinstance(wanted, list) and not wanted):
        return
    for name, tensor, spec in _pairs(wanted, element_spec[0], origin):
        reason = _misfit(tensor, spec)
        if reason:
            raise UserError(
                f"{origin} does not fit the model: {reason}",
                seen=f"{name or 'x'}: {_shown(spec)}",
                valid=f"{_shown(tensor)}, the model's input {tensor.name!r}",
                next_step="change the model, or upload what it takes",
            )


def _pairs(wanted: Any, x: Any, origin: str) -> list[tuple[str, Any, Any]]:
    """Each input of the model beside what the data hold for it, as Keras matches them."""
    import tensorflow as tf

    tensors = tf.nest.flatten(wanted)
    if not isinstance(x, Mapping):
        specs = tf.nest.flatten(x)
        if isinstance(wanted, Mapping) or len(specs) != len(tensors):
            raise _other_inputs(origin, tensors, _shown(x))
        return [
            ("x" if len(specs) == 1 else t.name, t, s) for t, s in zip(tensors, specs, strict=True)
        ]
    named = dict(wanted) if isinstance(wanted, Mapping) else {t.name: t for t in tensors}
    if len(tensors) == len(x) == 1:
        return [(key, tensors[0], spec) for key, spec in x.items()]
    if not all(name in x and not isinstance(x[name], (Mapping, tuple)) for name in named):
        raise _other_inputs(origin, list(named), ", ".join(map(repr, x)))
    return [(name, tensor, x[name]) for name, tensor in named.items()]


def _other_inputs(origin: str, inputs: Any, seen: str) -> UserError:
    names = [repr(getattr(entry, "name", entry)) for entry in inputs]
    return UserError(
        f"{origin} does not hold the model's inputs", seen=f"x: {seen}", valid=", ".join(names)
    )


def _misfit(tensor: Any, spec: Any) -> str | None:
    """Why a component of the data cannot be this input, None if it can."""
    import tensorflow as tf

    given, taken = tf.dtypes.as_dtype(spec.dtype), tf.dtypes.as_dtype(str(tensor.dtype))
    numbers = [dtype.is_floating or dtype.is_integer or dtype.is_bool for dtype in (given, taken)]
    if given != taken and not all(numbers):
        return "another type"
    if given.is_floating and taken.is_integer:
        return "another type, fractions would be cut off"
    if spec.shape.rank is None or isinstance(spec, tf.RaggedTensorSpec):
        return None
    one, other = list(spec.shape), list(tensor.shape)
    # Keras takes (batch,) for (batch, 1) and the other way round.
    if len(one) == len(other) + 1 and one[-1] == 1:
        other.append(1)
    elif len(other) == len(one) + 1 and other[-1] == 1:
        one.append(1)
    if len(one) != len(other):
        return "another number of dimensions"
    if any(a is not None and b is not None and a != b for a, b in zip(one, other, strict=True)):
        return "another shape"
    return None


def _shown(spec: Any) -> str:
    if isinstance(spec, Mapping):
        return "{" + ", ".join(f"{key!r}: {_shown(value)}" for key, value in spec.items()) + "}"
    if isinstance(spec, (tuple, list)):
        return "(" + ", ".join(_shown(value) for value in spec) + ")"
    if not hasattr(spec, "dtype"):
        return str(spec)
    dtype = getattr(spec.dtype, "name", spec.dtype)
    rank = spec.shape.rank if hasattr(spec.shape, "rank") else len(spec.shape)
    if rank is None:
        return f"{dtype}[...]"
    return f"{dtype}[{', '.join('?' if size is None else str(size) for size in spec.shape)}]"
