"""Which stored datasets a trial reads: on a broker, or sealed."""

from __future__ import annotations

from dataclasses import dataclass

from deeptool.catalog import datasets
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.fold import Catalog
from deeptool.catalog.stored import NotStored, Stored
from deeptool.client.connection import Connection, connect
from deeptool.errors import UserError, WorkError
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.sealed.sealed_store import SealedStore
from deeptool.settings import Settings
from deeptool.store.kafka_store import KafkaStore
from deeptool.store.record_store import RecordStore
from deeptool.training.arrival import Arrival
from deeptool.training.batching import Say
from deeptool.training.trial_source import TrialSource


@dataclass(frozen=True)
class FoundData:
    """The stored datasets of a trial, found once.

    Attributes
    ----------
    store : RecordStore
    train, val : Stored
    servers : tuple of str
        Of the broker, if there is one.
    connection : Connection or None
    """

    store: RecordStore
    train: Stored
    val: Stored
    servers: tuple[str, ...] = ()
    connection: Connection | None = None

    def arrival(self, settings: Settings) -> Arrival:
        """Watches a training set that is still being uploaded."""
        if self.connection is None:
            raise WorkError("a sealed dataset is complete: nothing arrives")
        return Arrival(self.connection, settings, self.train)


def find_on_broker(
    settings: Settings, proc_id: int | None, source: TrialSource, on_wait: Say
) -> FoundData:
    """See `deeptool.training.kafka_data.from_kafka`."""
    servers = source.servers or tuple(settings.kafka_bootstrap_servers)
    connection = connect(servers, source.client_properties)

    def find(catalog: Catalog) -> tuple[Stored, Stored]:
        # Both from one reading of the catalog: while one is waited for, an upload of the other may
        # fail.
        return _find_both(catalog, settings, proc_id, source.online)

    with CatalogLog(connection) as log:
        train, val = datasets.wait_for(log, find, source.wait, on_wait)
    return FoundData(KafkaStore(connection), train, val, servers, connection)


def find_sealed(settings: Settings, proc_id: int | None, path: str) -> FoundData:
    """The datasets of a sealed folder.

    Raises
    ------
    UserError
        It is none, or is of another name; or it lacks what the trial needs.
    """
    folder = SealedFolder(path)
    if folder.manifest.name != settings.session_name:
        raise UserError(
            "this sealed dataset is not the one of the settings file",
            seen=f"{path}: {folder.manifest.name}",
            valid=f"{settings.session_name}, its session_name",
        )
    try:
        train, val = _find_both(folder.catalog, settings, proc_id, False)
    except NotStored as error:
        raise folder.lacks(error) from error
    for stored in (train, val):
        folder.check_files(stored)
    return FoundData(SealedStore(folder), train, val)


def _find_both(
    catalog: Catalog, settings: Settings, proc_id: int | None, follow: bool
) -> tuple[Stored, Stored]:
    train = _find(catalog, settings, "train", proc_id, follow)
    variant = train.begun.proc_id if len(train.shards) == 1 else proc_id
    return train, _find(catalog, settings, "val", variant, False)


def _find(
    catalog: Catalog, settings: Settings, split: str, proc_id: int | None, follow: bool
) -> Stored:
    session = settings.session_name
    if proc_id is None:
        proc_id = datasets.find_variant(catalog, session, split, settings.hparams, follow)
    return datasets.find_dataset(catalog, session, split, proc_id, follow)
