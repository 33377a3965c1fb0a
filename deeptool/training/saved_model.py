"""The SavedModel of a trained model: it takes what the samples are, and names what it returns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeptool.codec.spec import Spec
from deeptool.training import fixed_batch, keras_backend


def write(model: Any, elements: Any, folder: Path) -> None:
    """Export a model with one signature, ``serve``.

    Keras' own export takes all inputs as floats of any batch size, without their structure, and
    calls what a model returns ``output_0``.

    Parameters
    ----------
    model : keras.Model
    elements : structure of tf.TypeSpec
        Of the batches that it was trained with, (x, y) or (x, y, sample_weight).
    folder : Path
    """
    import keras
    import tensorflow as tf

    x = elements[0] if isinstance(elements, tuple) else elements
    dense = all(isinstance(spec, tf.TensorSpec) and spec.shape.rank for spec in tf.nest.flatten(x))
    if not dense or not keras_backend.is_tensorflow():
        model.export(folder, verbose=False)
        return
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", _serve(model), input_signature=[_signature(model, x)])
    archive.write_out(folder, verbose=False)


def _signature(model: Any, x: Any) -> Any:
    """The inputs as they are in the samples; any number of rows, unless the model says how many."""
    import tensorflow as tf

    spec, rows = Spec.from_tf(x), fixed_batch.batch_size(model)
    return spec.nest(
        [
            tf.TensorSpec([rows, *one.shape[1:]], one.dtype, name)
            for one, name in zip(tf.nest.flatten(x), _names(model, x, spec), strict=True)
        ]
    )


def _names(model: Any, x: Any, spec: Spec) -> list[str]:
    """A name for each input: its own, or else the model's."""
    inputs = getattr(model, "inputs", None) or ()
    names: Sequence[str] = spec.paths
    if isinstance(x, tuple) and len(getattr(x, "_fields", ())) == len(names):
        names = x._fields  # type: ignore[attr-defined]
    elif not isinstance(x, Mapping) and len(inputs) == len(names):
        # Keras matches them by their order.
        names = [one.name for one in inputs]
    # TensorFlow takes no other letters, and no digit first.
    letters = [re.sub(r"[^\w.-]", "_", name) for name in names]
    return [name if name[:1].isalpha() else f"input_{name}".rstrip("_") for name in letters]


def _serve(model: Any) -> Callable[[Any], Any]:
    import keras
    import tensorflow as tf

    names = getattr(model, "output_names", None) or ()
    if isinstance(model, keras.Sequential):
        names = (model.layers[-1].name,)

    def serve(inputs: Any) -> Any:
        outputs = model(inputs)
        flat = tf.nest.flatten(outputs)
        if isinstance(outputs, dict) or len(set(names)) != len(flat):
            return outputs
        return dict(zip(names, flat, strict=True))

    return serve
