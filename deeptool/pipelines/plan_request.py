"""What ``deeptool plan`` is asked, and the topics that it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deeptool.client.topic_names import variant_name
from deeptool.errors import UserError

FORMAT = 1
# All shards together are one dataset.
SHARDS = "all"


@dataclass(frozen=True)
class PlanRequest:
    """What is asked, for one settings file.

    Attributes
    ----------
    hparams : mapping
        Overrides for all variants and trials.
    variants : tuple of mapping
        ``{"procID", "hparams"}`` each.
    num_procs : int or None
        Shards of the dataset, or of each variant.
    auto_shard : bool
    splits : tuple of str
    epochs : int
    trials : tuple of mapping
        ``{"hparams", "procID"}`` each; procID None: all shards.
    versions : mapping
        Name -> a version of an earlier answer, to be compared with.
    probe : bool
        Whether pipelines are read. Otherwise their code decides alone.
    model : bool
        Whether the first trial's model, loss, metrics and optimizer are tried.
    """

    hparams: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[Mapping[str, Any], ...] = ()
    num_procs: int | None = None
    auto_shard: bool = False
    splits: tuple[str, ...] = ("train", "val")
    epochs: int = 1
    trials: tuple[Mapping[str, Any], ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)
    probe: bool = True
    model: bool = False

    @classmethod
    def from_json(cls, value: Any) -> PlanRequest:
        """Read a request.

        Raises
        ------
        UserError
            It is none.
        """
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            raise UserError("this is no request of deeptool plan", valid=f"format {FORMAT}")
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        for name in {"variants", "splits", "trials"} & known.keys():
            known[name] = tuple(known[name])
        return cls(**known)


@dataclass(frozen=True, eq=False)
class PlannedTopic:
    """One topic that a campaign's producers fill: of a variant, or of a shard.

    Attributes
    ----------
    key : str
        The dataset that trials read: a variant's procID, or `SHARDS`.
    proc_id, num_procs, split, hparams, variant
        As for `ProbeRequest`.
    """

    key: str
    proc_id: int | None
    num_procs: int | None
    split: str
    hparams: Mapping[str, Any]
    variant: int | None = None

    def session_of(self, name: str) -> str:
        """The settings' own session_name, where its dataset is called `name`."""
        suffix = "" if self.variant is None else variant_name("", self.variant)
        return name.removesuffix(suffix)

    @property
    def part(self) -> str:
        """Its name within the dataset that trials read."""
        first = self.num_procs is None or self.proc_id == 0
        return self.split if first else f"{self.split} of shard {self.proc_id}"


def planned_topics(request: PlanRequest) -> Iterator[PlannedTopic]:
    """The topics of a request, the first variant's or shard's first."""
    number = request.num_procs
    for made in request.variants or ({"procID": None, "hparams": {}},):
        variant, hparams = made["procID"], {**request.hparams, **made["hparams"]}
        for split in request.splits:
            if number is None:
                yield PlannedTopic(str(variant or 0), variant, None, split, hparams)
                continue
            key = SHARDS if variant is None else str(variant)
            for shard in range(number):
                yield PlannedTopic(key, shard, number, split, hparams, variant)
