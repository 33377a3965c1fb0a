"""What a campaign's producers upload: variants, or shards, or shards of each variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hpc.campaign.definition import Campaign
from hpc.campaign.sampling import Value


@dataclass(frozen=True)
class PlannedUpload:
    """What one producer uploads.

    Attributes
    ----------
    index : int
        Its number among the producers.
    place : tuple of str
        Of its command line: which part of what it is.
    proc_id : int or None
        The dataset that trials read: a variant's procID, None for the shards of the only one.
    hparams : mapping
        The variant's.
    """

    index: int
    place: tuple[str, ...]
    proc_id: int | None
    hparams: Mapping[str, Value]


def planned_uploads(campaign: Campaign) -> Iterator[PlannedUpload]:
    """One per variant, per shard, or per shard of each variant."""
    options = campaign.producers
    number = options.num_procs
    if number is None:
        for each in campaign.variants:
            place = ("--procID", str(each.procID))
            yield PlannedUpload(each.procID, place, each.procID, each.hparams)
        return
    auto = ("--auto-shard",) if options.auto_shard else ()
    made: list[tuple[int | None, Mapping[str, Value]]] = [
        (each.procID, each.hparams) for each in campaign.variants
    ]
    for position, (variant, hparams) in enumerate(made or [(None, {})]):
        of_variant = () if variant is None else ("--variant", str(variant))
        for shard in range(number):
            place = ("--procID", str(shard), "--num-procs", str(number), *auto, *of_variant)
            yield PlannedUpload(position * number + shard, place, variant, hparams)


def variant_name(session: str, variant: int) -> str:
    """The name of the dataset that a variant's shards are: as ``deeptool produce`` gives it."""
    return f"{session}-v{variant}"
