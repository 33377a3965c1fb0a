"""The pipeline of a settings file, and where the file says that its upload ends."""

from __future__ import annotations

from typing import Any

from deeptool.settings import Settings

_INFINITE = -1


class SettingsPipeline:
    """An experiment's pipeline of one split, built again for each stored epoch.

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
    """How many samples an epoch the settings ask for; None: as many as the pipeline yields.

    The numbers of a settings file are those of the whole dataset. A shard whose pipeline takes its
    share by itself runs to its own end, because shares need not be equal. Only a shard of an
    infinite pipeline stops at an equal share.

    Parameters
    ----------
    settings : Settings
    split : str
    auto_shard : bool
        Whether the limit is that of the whole dataset for a shard, too.
    infinite : bool
        Whether the pipeline is infinite.
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
