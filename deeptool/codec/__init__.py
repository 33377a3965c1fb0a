"""A batch of samples <-> one Kafka record. A codec is one module here, and one line in `CODECS`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from deeptool.errors import UserError

if TYPE_CHECKING:
    from deeptool.codec.protocol import Codec
    from deeptool.codec.spec import Spec

# Where each codec is: "module:class". Imported when it is asked for, since one may need TensorFlow.
CODECS = {
    "arrow": "deeptool.codec.arrow:ArrowCodec",
    "example": "deeptool.codec.example:ExampleCodec",
}
DEFAULT_CODEC = "arrow"

# What Kafka's record batches are compressed with, by the names that librdkafka and pyarrow share.
COMPRESSIONS = ("none", "lz4", "zstd")


def make_codec(name: str, spec: Spec) -> Codec:
    """The codec of that name for datasets of that spec.

    Raises
    ------
    UserError
        There is no such codec, or it cannot hold what the spec says.
    """
    if name not in CODECS:
        raise UserError("unknown codec", seen=name, valid=", ".join(CODECS))
    module, _, attribute = CODECS[name].partition(":")
    codec: Codec = getattr(importlib.import_module(module), attribute)(spec)
    return codec
