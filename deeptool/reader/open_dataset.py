"""`deeptool.open` and `deeptool.kafka_dataset`: find a stored dataset, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from deeptool.catalog import datasets
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.fold import Catalog
from deeptool.catalog.stored import Stored
from deeptool.client import topic_names
from deeptool.client.connection import connect
from deeptool.reader.read_request import Reader, ReadOptions
from deeptool.reader.stored_dataset import StoredDataset
from deeptool.store.kafka_store import KafkaStore

if TYPE_CHECKING:
    import tensorflow
    from typing_extensions import Unpack

_SECONDS_BETWEEN_LINES = 10.0
_LOG = logging.getLogger(__name__)


class TfOptions(ReadOptions, total=False):
    """The parameters of `StoredDataset.tf`."""

    reader: Reader


def open_dataset(
    servers: str | Sequence[str],
    name: str,
    split: str = "train",
    *,
    proc_id: int | Sequence[int] | None = None,
    topic: str | None = None,
    follow: bool = False,
    wait: float = 0.0,
    client_properties: Mapping[str, str] | str | PathLike[str] | None = None,
) -> StoredDataset:
    """Find a stored dataset, once: the handle reads what was found, and nothing else.

    Imports no TensorFlow.

    Parameters
    ----------
    servers : str or sequence of str
        ``host:port`` of some of the brokers.
    name, split : str
        The name that it was uploaded under; "train" or "val".
    proc_id : int or sequence of int, optional
        Which variant; or which shards, all of them by default.
    topic : str, optional
        Take the dataset in that topic, whatever its name.
    follow : bool
        Also take an upload that is still under way, and read it as it arrives.
    wait : float
        Seconds to wait for a dataset that is not complete; what is missing is logged.
    client_properties : mapping or path, optional
        librdkafka's settings for a secured broker, or a file of them.

    Raises
    ------
    UserError
        No broker answers, there is no such dataset (`NotStored`) or not all of it (`NotComplete`),
        or its parts do not belong together.
    """

    def find(catalog: Catalog) -> Stored:
        if topic is not None:
            return datasets.find_topic(catalog, topic_names.check_topic(topic), follow)
        return datasets.find_dataset(catalog, name, split, proc_id, follow)

    connection = connect(servers, client_properties)
    with CatalogLog(connection) as log:
        stored = datasets.wait_for(log, find, wait, _waiting_lines())
    return StoredDataset(KafkaStore(connection), stored, follow)


def kafka_dataset(
    servers: str | Sequence[str],
    name: str,
    split: str = "train",
    *,
    proc_id: int | Sequence[int] | None = None,
    topic: str | None = None,
    follow: bool = False,
    wait: float = 0.0,
    client_properties: Mapping[str, str] | str | PathLike[str] | None = None,
    **options: Unpack[TfOptions],
) -> tensorflow.data.Dataset:
    """``deeptool.open(...).tf(**options)`` in one call.

    Parameters
    ----------
    servers, name, split, proc_id, topic, follow, wait, client_properties
        See `deeptool.open`.
    options
        See `StoredDataset.tf`: reader, batch_size, shuffle, seed, first_epoch, repeat, ...

    Returns
    -------
    tf.data.Dataset

    Raises
    ------
    UserError
        There is no such dataset, or it cannot be read as asked.
    """
    return open_dataset(
        servers,
        name,
        split,
        proc_id=proc_id,
        topic=topic,
        follow=follow,
        wait=wait,
        client_properties=client_properties,
    ).tf(**options)


def _waiting_lines() -> Callable[[str], None]:
    """Logs what is waited for, at once and then every few seconds."""
    said = -_SECONDS_BETWEEN_LINES

    def log(text: str) -> None:
        nonlocal said
        if time.monotonic() - said >= _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            # A warning: Python shows these where nothing about logging was configured.
            _LOG.warning(text)

    return log
