"""What a settings file says about its upload."""

from __future__ import annotations

from typing import Any

from deeptool.catalog.fold import Upload
from deeptool.errors import UserError
from deeptool.settings import Settings, compare

_INFINITE = -1


class Pipeline:
    """An experiment's pipeline of one split, made anew for each stored epoch.

    Attributes
    ----------
    limit : int or None
        Samples an epoch at which the upload ends.
    """

    def __init__(self, settings: Settings, split: str, limit: int | None, auto_shard: bool) -> None:
        self._settings, self._split = settings, split
        self._first = settings.pipeline(split)
        infinite = int(self._first.cardinality()) == _INFINITE
        self.limit = limit or sample_limit(settings, split, auto_shard, infinite)

    def __call__(self, epoch: int) -> Any:
        """The ``tf.data.Dataset`` of one epoch."""
        return self._first if epoch == 0 else self._settings.pipeline(self._split)


def sample_limit(settings: Settings, split: str, auto_shard: bool, infinite: bool) -> int | None:
    """Where the settings say that an epoch's upload ends; None: where the pipeline does.

    The numbers of a settings file are those of the whole dataset. A shard whose pipeline takes its
    share by itself goes to its own end: shares need not be equal. Only one that is infinite takes
    as many samples as are its due.

    Parameters
    ----------
    settings : Settings
    split : str
    auto_shard : bool
        Whether the limit is that of the whole dataset for a shard, too.
    infinite : bool
        Whether the pipeline is.
    """
    train = split == "train"
    number = settings.nb_train_samples if train else settings.nb_val_samples
    steps = settings.steps_per_epoch if train else settings.validation_steps
    total = number or steps * settings.batch_size
    if not total or settings.num_procs == 1 or auto_shard:
        return total or None
    if not infinite:
        return None
    share, rest = divmod(total, settings.num_procs)
    return share + (settings.proc_id < rest)


def check_reusable(
    settings: Settings, upload: Upload, *, epochs: int, codec: str, limit: int | None, auto: bool
) -> None:
    """Return if a complete upload is what an upload now would store.

    Raises
    ------
    UserError
        Settings, data hparams, raw data or the way of the upload differ: names all that do.
    """
    begun = upload.begun
    stored_epochs = len(upload.completed.epochs) if upload.completed else 0
    limits = (
        {limit}
        if limit
        else {sample_limit(settings, begun.split, auto, infinite) for infinite in (True, False)}
    )
    pairs = {
        "num_procs": (begun.num_procs, settings.num_procs),
        "auto_shard": (begun.auto_shard, auto),
        "epochs": (stored_epochs, epochs),
        "codec": (begun.codec, codec),
        "limit": (begun.limit, begun.limit if begun.limit in limits else max(limits, key=bool)),
        "batch_size": (begun.batch_size, settings.batch_size),
        "raw data": (bool(begun.raw_data), bool(settings.raw_data(begun.split))),
    }
    differences = [
        f"{name}: {stored} stored, {now} now"
        for name, (stored, now) in pairs.items()
        if stored != now
    ]
    try:
        differences += compare(settings, begun, upload.data_hparams)
    except UserError as error:
        differences.append(str(error.seen))
    if differences:
        raise UserError(
            f"topic {begun.topic} holds a complete dataset, but another one",
            seen="; ".join(differences),
            next_step="--replace uploads it anew",
        )
