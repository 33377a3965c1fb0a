"""`deeptool.open` and `deeptool.kafka_dataset`: find a stored dataset, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from deeptool.catalog import datasets
from deeptool.catalog.fold import Catalog
from deeptool.catalog.stored import Stored
from deeptool.client import topic_names
from deeptool.errors import UserError
from deeptool.reader.read_request import Reader, ReadOptions
from deeptool.reader.stored_dataset import StoredDataset
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.sealed.sealed_store import SealedStore

if TYPE_CHECKING:
    import tensorflow
    from typing_extensions import Unpack

_SECONDS_BETWEEN_LINES = 10.0
_LOG = logging.getLogger(__name__)


class TfOptions(ReadOptions, total=False):
    """The parameters of `StoredDataset.tf`."""

    reader: Reader


def open_dataset(
    servers: str | PathLike[str] | Sequence[str],
    name: str | None = None,
    split: str = "train",
    *,
    proc_id: int | Sequence[int] | None = None,
    topic: str | None = None,
    follow: bool = False,
    wait: float = 0.0,
    client_properties: Mapping[str, str] | str | PathLike[str] | None = None,
) -> StoredDataset:
    """Find a stored dataset, once: the handle reads what was found, and nothing else.

    Imports no TensorFlow; for a sealed dataset, no Kafka client either.

    Parameters
    ----------
    servers : str, path or sequence of str
        ``host:port`` of some of the brokers; or, without a `name`, the folder of a sealed dataset.
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
        or its parts do not belong together. Of a sealed dataset: the folder is none, is incomplete,
        cannot be read, or was written by a later deeptool.
    """
    if name is None:
        given = (topic is not None, follow, wait > 0, client_properties is not None)
        return open_sealed(servers, split, proc_id, any(given))
    if isinstance(servers, PathLike):
        raise UserError(
            "a sealed dataset is opened without a name",
            seen=f"deeptool.open({str(servers)!r}, {name!r})",
            valid=f"deeptool.open({str(servers)!r}, split={split!r})",
        )
    # Here, so that a sealed dataset is read without them.
    from deeptool.catalog.catalog_log import CatalogLog
    from deeptool.client.connection import connect
    from deeptool.store.kafka_store import KafkaStore

    dataset_name = name

    def find(catalog: Catalog) -> Stored:
        if topic is not None:
            return datasets.find_topic(catalog, topic_names.check_topic(topic), follow)
        return datasets.find_dataset(catalog, dataset_name, split, proc_id, follow)

    connection = connect(servers, client_properties)
    with CatalogLog(connection) as log:
        stored = datasets.wait_for(log, find, wait, _waiting_lines())
    return StoredDataset(KafkaStore(connection), stored, follow)


def open_sealed(
    source: str | PathLike[str] | Sequence[str],
    split: str,
    proc_id: int | Sequence[int] | None = None,
    for_brokers: bool = False,
) -> StoredDataset:
    """A split of a sealed dataset; see `open_dataset`.

    Parameters
    ----------
    for_brokers : bool
        Whether something was asked for that only a broker has.
    """
    if not isinstance(source, (str, PathLike)) or for_brokers:
        raise UserError(
            "a dataset on a broker is opened by its name",
            seen=repr(source),
            valid="deeptool.open(SERVERS, NAME); or the folder of a sealed dataset, with split and "
            "proc_id only",
        )
    folder = SealedFolder(source)
    return StoredDataset(SealedStore(folder), folder.find(split, proc_id))


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
