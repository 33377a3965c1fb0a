"""Whether a stored dataset is what an upload would store now."""

from __future__ import annotations

from deeptool.catalog.fold import Upload
from deeptool.errors import UserError
from deeptool.producer.settings_pipeline import sample_limit
from deeptool.settings import Settings, compare


def check_reusable(
    settings: Settings, upload: Upload, *, epochs: int, codec: str, limit: int | None, auto: bool
) -> None:
    """Return if a complete upload is what an upload would store now.

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
            f"topic {begun.topic} holds a complete dataset, but a different one",
            seen="; ".join(differences),
            next_step="--replace uploads it again",
        )
