"""A training set that was still being uploaded when its trial began."""

from __future__ import annotations

from deeptool.catalog import datasets
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.stored import Stored
from deeptool.client.connection import Connection
from deeptool.errors import UserError, WorkError
from deeptool.settings import Settings, compare
from deeptool.store.upload_watch import UploadWatch


class Arrival:
    """Compares the training set with the trial's settings again when all of it is there.

    Which hparams a pipeline reads is known in full only at its end, and so is whether shards are
    of one run.

    Attributes
    ----------
    complete : bool
        Whether the upload was complete when it was last looked at.
    """

    def __init__(self, connection: Connection, settings: Settings, stored: Stored) -> None:
        self._connection, self._settings = connection, settings
        self._watch = UploadWatch(stored)
        self.complete = False

    def check(self) -> None:
        """Look at the upload, until it is complete.

        Raises
        ------
        WorkError
            It is lost (see `UploadWatch.look`), or it does not fit the trial that has read it.
        """
        if self.complete:
            return
        with CatalogLog(self._connection) as log:
            catalog = log.read()
        stored = self._watch.look(catalog)
        if not stored.complete:
            return
        proc_ids = [shard.upload.begun.proc_id for shard in stored.shards]
        try:
            whole = datasets.find_dataset(catalog, stored.session, stored.split, proc_ids)
            compare(self._settings, whole.begun, whole.data_hparams)
        except UserError as error:
            raise WorkError(
                f"the trial read an upload that does not fit it: {error.what}",
                seen=error.seen,
                valid=error.valid,
                next_step=error.next_step,
            ) from error
        self.complete = True
