"""How an upload ends in the catalog: as a dataset, or as nothing."""

from __future__ import annotations

import logging
import threading
import time

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import clean_up
from deeptool.catalog.events import Begun, Completed, Failed
from deeptool.catalog.fold import Catalog, TopicState
from deeptool.client import admin
from deeptool.errors import DeeptoolError, WorkError
from deeptool.producer.heartbeat import Heartbeat, lost_topic

_log = logging.getLogger(__name__)

_ATTEMPTS = 3
_GIVE_UP_SECONDS = 5.0
_CLEAN_SECONDS = 20.0


def commit(log: CatalogLog, begun: Begun, completed: Completed) -> None:
    """Make the upload the topic's dataset.

    Raises
    ------
    WorkError
        Another upload took over meanwhile, or the catalog did not take the event.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            # An attempt may have reached the log although its answer was lost. Then the event
            # is there twice, and the second has no effect.
            catalog = log.append(completed)
        except WorkError as error:
            if attempt == _ATTEMPTS:
                raise
            _log.warning("%s; trying again", error)
            continue
        if not _stored(catalog, begun):
            raise lost_topic(catalog, begun)
        return


def give_up(
    log: CatalogLog, heart: Heartbeat, begun: Begun, error: BaseException, *, clean: bool = False
) -> None:
    """Tell the catalog that the upload failed, if the broker takes it within five seconds.

    Where it does not, the upload stays pending without a heartbeat, and the next one takes over.

    Parameters
    ----------
    clean : bool
        Whether what the upload has stored is to be deleted at once: on a full disk others wait for
        the space.
    """
    reason = error.what if isinstance(error, DeeptoolError) else f"{type(error).__name__} {error}"

    def tell() -> None:
        heart.stop(_GIVE_UP_SECONDS)
        try:
            log.append(Failed(begun.topic, begun.upload, reason.strip(), time.time()))
        except DeeptoolError as silent:
            _log.info("the catalog does not know that the upload failed: %s", silent)
        else:
            if clean:
                delete_garbage(log, begun.topic)

    # A process that must end does not wait for a broker that is away.
    thread = threading.Thread(target=tell, name="give up", daemon=True)
    thread.start()
    thread.join(_CLEAN_SECONDS if clean else _GIVE_UP_SECONDS)


def delete_garbage(log: CatalogLog, topic: str) -> None:
    """Delete what replaced and failed uploads left in the topic; the next upload tries again."""
    if not admin.partitions(log.connection, topic):
        return
    try:
        clean_up(log.connection, log, topic)
    except DeeptoolError as error:
        _log.warning("old records of topic %s could not be deleted: %s", topic, error)


def _stored(catalog: Catalog, begun: Begun) -> bool:
    current = catalog.get(begun.topic, TopicState()).current
    return current is not None and current.id == begun.upload
