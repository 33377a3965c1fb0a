"""The topic that an upload writes to."""

from __future__ import annotations

import logging

import numpy as np

from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.codec.records import MAX_BYTES
from deeptool.codec.spec import Spec
from deeptool.codec.values import numpy_dtype
from deeptool.errors import UserError
from deeptool.producer.sender import QUEUE_BYTES

_log = logging.getLogger(__name__)

_LIMIT = "max.message.bytes"
# Left for what Kafka puts around a record: batch and record framing, headers.
FRAMING_BYTES = QUEUE_BYTES - MAX_BYTES


def prepare_topic(
    connection: Connection, topic: str, partitions: int
) -> tuple[tuple[int, ...], int]:
    """Create the topic if it does not exist.

    It takes messages of up to 64 MiB, however small the records turn out to be: the limit costs
    nothing, and a larger sample may come late. Where a site forbids such topics, the topic gets
    the site's own limit.

    Returns
    -------
    partitions : tuple of int
    limit : int
        The bytes of the largest message that the topic takes.

    Raises
    ------
    UserError
        The topic cannot be created, or exists with settings under which samples would be lost.
    """
    try:
        found = admin.create_topic(
            connection, topic, partitions=partitions, config={_LIMIT: str(QUEUE_BYTES)}
        )
    except UserError as rejected:
        _log.info("%s; trying with the broker's own %s", rejected, _LIMIT)
        found = admin.create_topic(connection, topic, partitions=partitions, config={})
    return found, int(admin.topic_config(connection, topic)[_LIMIT])


def check_sample_size(spec: Spec) -> None:
    """Reject samples that no record can hold, as far as the spec alone shows.

    Raises
    ------
    UserError
        Names both sizes.
    """
    size = 0
    for leaf in spec.leaves:
        if leaf.fixed and leaf.dtype not in ("string", "bool"):
            inner = [side for side in leaf.inner if side is not None]
            size += int(np.prod(inner, dtype=np.int64)) * numpy_dtype(leaf.dtype).itemsize
    if size > MAX_BYTES:
        raise UserError(
            "one sample is too large for one record",
            seen=f"{size:,} bytes: {spec}",
            valid=f"at most {MAX_BYTES:,} bytes",
            next_step="make samples smaller in get_input_pipeline: crop or downscale them, split "
            "them into several samples, or use a smaller dtype (uint8, bfloat16)",
        )
