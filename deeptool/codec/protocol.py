"""What a codec is: all that producers and readers ask of one, so that none goes by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves

# (value, key) -> element, both in TensorFlow's graph: string tensors of shape (), and the tensors
# of one sample, nested as the spec and without an axis that counts samples. The key is empty where
# the record has none.
GraphParser = Callable[[Any, Any], Any]


class Codec(Protocol):
    """Turns batches of samples into records and back, for datasets of one spec.

    Made by ``class(spec)``, which raises a `UserError` for a spec that it cannot hold.

    Attributes
    ----------
    name : str
        Its key in `deeptool.codec.CODECS`; kept in the catalog with each dataset.
    spec : Spec
        Of the datasets; what is decoded is compared with it.
    samples_per_record : int or None
        1, or None for as many as fit.
    columns : int
        Arrays in a record: each takes some bytes of its own, however few the samples.
    """

    name: str
    spec: Spec
    samples_per_record: int | None
    columns: int

    @property
    def graph_parser(self) -> GraphParser | None:
        """How TensorFlow parses a record by itself; None where only `decode` does.

        Readers prefer it: in the graph, records are parsed by several threads at once. Only a codec
        of one sample per record can have one, because TensorFlow then shuffles and batches whole
        records.
        """
        ...

    def to_record(self, leaves: Leaves) -> tuple[bytes | None, bytes]:
        """Key and value of the record that holds `leaves`, at most `samples_per_record` of them.

        Raises
        ------
        WorkError
            A leaf is not what the spec says.
        """
        ...

    def decode(self, value: bytes, key: bytes | None = None) -> Leaves:
        """The samples of a record, as `to_record` was given them.

        Raises
        ------
        WorkError
            Value and key are not such a record, or not what the spec says. No other exception: a
            damaged record must not end a check of the whole dataset.
        """
        ...
