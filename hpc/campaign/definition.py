"""A campaign: the whole job, as frozen values."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    model_validator,
)

from deeptool.codec import CODECS, COMPRESSIONS, DEFAULT_CODEC
from hpc.backends import BACKENDS
from hpc.campaign.backend_traits import backend_traits
from hpc.campaign.fields import (
    BesideFile,
    ExistingFile,
    ExistingFolder,
    ImageFiles,
    Positive,
    Strict,
)
from hpc.campaign.sampling import Range, Value, check_value, combinations, draw


def _one_of(names: Collection[str]) -> AfterValidator:
    """A name of a list that is kept elsewhere, and grows there."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(" or ".join(names))
        return name

    return AfterValidator(check)


BackendName = Annotated[str, _one_of(BACKENDS)]
CodecName = Annotated[str, _one_of(CODECS)]
CompressionName = Annotated[str, _one_of(COMPRESSIONS)]


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("at least one value")
    return values


Scalar = Annotated[Any, AfterValidator(check_value)]
Values = Annotated[tuple[Scalar, ...], AfterValidator(_not_empty)]
Hparams = dict[str, Scalar]


class Broker(Strict):
    """The campaign's own broker, or the address of one that is there.

    Attributes
    ----------
    mode, memory
        Of its own broker; memory is the heap, as Java writes it.
    folder : Path, optional
        Where its data is. By default ``<run_dir>/broker`` on this machine; on a cluster a folder of
        the job's own in `scratch`, which is deleted with the job.
    keep_data : bool
        Whether the data stays when the launch ends: the next one then uploads nothing again.
    count, replication : int
        On a cluster: how many brokers, each on a node of its own, and how many of them keep each
        record. On this machine there is one.
    interface : str, optional
        On a cluster: the network interface (``ib0``) whose address the broker advertises.
    scratch : str
        On a cluster: the nodes' folder for data that is deleted with the job. It may name variables
        of the job's environment.
    secrets : bool, optional
        Whether the broker asks for a password, which each run folder has of its own. By default
        the backend decides: clusters do.
    idle_minutes : int
        On a cluster: how long it waits for a producer or trial to come to work before it stops.
    bootstrap_servers : tuple of str
        The existing Kafka to use instead.
    client_properties : Path, optional
        Its client settings (SASL, TLS), a file that only its owner can read.
    """

    mode: Literal["zookeeper", "kraft"] = "zookeeper"
    memory: Annotated[str, Field(pattern=r"^[1-9]\d*[kmgKMG]$")] = "512m"
    folder: BesideFile | None = None
    keep_data: bool = True
    count: Positive = 1
    replication: Positive = 1
    interface: str | None = None
    scratch: str = "/tmp"
    secrets: bool | None = None
    idle_minutes: Positive = 720
    bootstrap_servers: tuple[str, ...] = ()
    client_properties: ExistingFile | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Broker:
        own = self.model_fields_set & {"mode", "folder", "keep_data", "count", "replication"}
        if self.bootstrap_servers and own:
            raise ValueError(
                f"bootstrap_servers (an existing Kafka), or {', '.join(sorted(own))} (its own)"
            )
        if self.client_properties and not self.bootstrap_servers:
            raise ValueError("client_properties with bootstrap_servers only")
        if self.replication > self.count:
            raise ValueError(f"a replication of at most count, {self.count}")
        return self


class Variant(Strict):
    """A dataset of its own: its procID and the hparams it is made under."""

    procID: Annotated[int, Field(ge=0)]
    hparams: Hparams = Field(default_factory=dict)


class Producers(Strict):
    """Which processes upload what: `variants`, `num_procs` shards of the dataset, or of each.

    Attributes
    ----------
    reuse : str
        Which stored dataset is used instead of another upload: ``verify``, one whose samples are
        those that the settings make now; ``always``, whatever is complete.
    upload : bool
        Whether there are producers at all: without, the trials read what is stored already.
    """

    variants: tuple[Variant, ...] = ()
    num_procs: Positive | None = None
    auto_shard: bool = False
    split: Literal["both", "train", "val"] = "both"
    epochs: Positive = 1
    codec: CodecName = DEFAULT_CODEC
    compression: CompressionName = "none"
    partitions: Positive = 4
    replace: bool = False
    reuse: Literal["verify", "always"] = "verify"
    upload: bool = True

    @model_validator(mode="after")
    def _variants_or_shards(self) -> Producers:
        if self.auto_shard and self.num_procs is None:
            raise ValueError("auto_shard with num_procs only")
        if self.replace and (self.reuse == "always" or not self.upload):
            raise ValueError('replace without reuse = "always" and upload = false only')
        ids = [variant.procID for variant in self.variants]
        if len(set(ids)) < len(ids):
            raise ValueError(f"variants with a procID each, not {ids}")
        return self


class Data(Strict):
    """Where the data come from, if not from uploads.

    Attributes
    ----------
    sealed : Path, optional
        The folder of a sealed dataset, relative to the campaign file: then there are neither a
        broker nor producers.
    """

    sealed: ExistingFolder | None = None


def _kind(seen: Any) -> str:
    return "<range>" if isinstance(seen, (dict, Range)) else "<values>"


class Sample(Strict):
    """A seeded random sample of hparams."""

    samples: Positive
    seed: int = 0
    space: Annotated[
        dict[
            str,
            Annotated[
                Annotated[Values, Tag("<values>")] | Annotated[Range, Tag("<range>")],
                Discriminator(_kind),
            ],
        ],
        Field(min_length=1),
    ]


class Trials(Strict):
    """The search: a `grid`, a `list` or a `random` sample of hparams, and how to run it.

    `online` trials begin with the uploads, and read what is there so far. `order` says how epochs
    are shuffled, `cache` where each node's copy of a dataset is kept: as ``deeptool train`` does.
    """

    model_config = ConfigDict(populate_by_name=True)

    grid: dict[str, Values] | None = None
    listed: tuple[Hparams, ...] | None = Field(default=None, alias="list")
    random: Sample | None = None
    max_parallel: Positive = 1
    online: bool = False
    order: Literal["auto", "windowed", "global"] = "auto"
    cache: Annotated[str, Field(min_length=1)] = "auto"
    options: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Trials:
        kinds = ("grid", "listed", "random")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            raise ValueError("exactly one of grid, list and random")
        rows = self.rows()
        repeated = [row for position, row in enumerate(rows) if row in rows[:position]]
        if repeated:
            raise ValueError(f"each trial once; said again: {repeated}")
        return self

    def rows(self) -> tuple[dict[str, Value], ...]:
        """The hparams of each trial, in order."""
        if self.grid is not None:
            return combinations(self.grid)
        if self.random is not None:
            return draw(self.random.space, self.random.samples, self.random.seed)
        return self.listed or ()


class Campaign(Strict):
    """The main job: a broker, the uploads of one settings file, the trials that read them.

    Attributes
    ----------
    name : str
        Names the run folder, unless `run_dir` does.
    settings : Path
        The settings file, relative to the campaign file.
    hparams : dict
        Given to every producer and trial.
    run_dir : Path, optional
        Relative to the working directory; ``runs/<name>`` by default.
    broker, producers, trials
        The three parts; without `trials` the campaign only uploads.
    data : Data
        A sealed dataset in place of the first two.
    backend : str
        Where it runs: a name in `hpc.backends.BACKENDS`.
    images
        The images that its processes run in.
    report : bool
        Whether a report is written at the end.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    settings: ExistingFile
    hparams: Hparams = Field(default_factory=dict)
    run_dir: Path | None = None
    broker: Broker = Broker()
    producers: Producers = Producers()
    data: Data = Data()
    trials: Trials | None = None
    report: bool = True
    backend: BackendName = "local"
    images: ImageFiles = Field(default_factory=ImageFiles)
    # No field: which model it has depends on `backend`, so the file's parser reads it apart.
    _options: Strict | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _something_to_do(self) -> Campaign:
        if not self.uploads:
            why = "producers.upload is false" if self.data.sealed is None else "data.sealed is set"
            if self.trials is None:
                raise ValueError(f"[trials], where {why}: else nothing runs")
            if self.trials.online:
                raise ValueError(f"trials.online with uploads only, not where {why}")
        if self.data.sealed is not None and self.producers.replace:
            raise ValueError("producers.replace with uploads only, not where data.sealed is set")
        return self

    @property
    def uploads(self) -> bool:
        """Whether it has producers."""
        return self.producers.upload and self.data.sealed is None

    @property
    def own_broker(self) -> bool:
        """Whether it starts a broker."""
        return not self.broker.bootstrap_servers and self.data.sealed is None

    @property
    def options(self) -> Strict | None:
        """The table of its backend; None where the backend has none, or the file was not parsed."""
        return self._options

    def with_options(self, options: Strict | None) -> Campaign:
        """The same campaign with another table for its backend."""
        copy = self.model_copy()
        copy._options = options
        return copy

    @property
    def in_images(self) -> bool:
        """Whether its processes run in images."""
        use = self.images.use
        return backend_traits(self.backend).images if use is None else use

    @property
    def secured(self) -> bool:
        """Whether its own broker asks for a password."""
        if not self.own_broker:
            return False
        secrets = self.broker.secrets
        return backend_traits(self.backend).secured if secrets is None else secrets

    @property
    def folder(self) -> Path:
        """The run folder, absolute."""
        return Path(os.path.abspath(self.run_dir or Path("runs", self.name)))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants, one by default; none where the producers are shards of one dataset."""
        if self.producers.variants or self.producers.num_procs is not None:
            return self.producers.variants
        return (Variant(procID=0),)
