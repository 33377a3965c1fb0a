"""A batch of samples <-> one Kafka record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeptool.errors import UserError

if TYPE_CHECKING:
    from deeptool.codec.records import Codec
    from deeptool.codec.spec import Spec

CODECS = ("arrow", "example")


def make_codec(name: str, spec: Spec) -> Codec:
    """The codec of that name for datasets of that spec.

    Raises
    ------
    UserError
        There is no such codec, or it cannot hold what the spec says.
    """
    if name == "arrow":
        from deeptool.codec.arrow import ArrowCodec

        return ArrowCodec(spec)
    if name == "example":
        from deeptool.codec.example import ExampleCodec

        return ExampleCodec(spec)
    raise UserError("unknown codec", seen=name, valid=", ".join(CODECS))
