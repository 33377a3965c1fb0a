"""A dataset to read, and what is stored under one procID: values that `datasets` finds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deeptool.catalog.events import Begun, Completed
from deeptool.catalog.fold import TopicState, Upload
from deeptool.codec.spec import Spec
from deeptool.errors import UserError, WorkError

# What tells the producers of one session apart: never a difference of the data by itself.
PLACE_HPARAMS = ("procID", "num_procs")


class NotStored(UserError):
    """There is no such dataset: not yet, perhaps."""


class NotComplete(NotStored):
    """A part of the dataset is still being uploaded."""


@dataclass(frozen=True)
class Shard:
    """One topic to read, and the upload in it; ``upload.completed`` is set unless following."""

    topic: str
    upload: Upload


@dataclass(frozen=True)
class Stored:
    """A dataset to read.

    Attributes
    ----------
    session, split : str
        Its name.
    shards : tuple of Shard
        By ascending procID; one for a variant.
    """

    session: str
    split: str
    shards: tuple[Shard, ...]

    @property
    def begun(self) -> Begun:
        """How its (first) upload began: settings, hparams, raw data."""
        return self.shards[0].upload.begun

    @property
    def spec(self) -> Spec:
        """The producers' element_spec; axis 0 is unknown where shards differ in it."""
        specs = {json.dumps(shard.upload.begun.element_spec.to_json()) for shard in self.shards}
        spec = self.begun.element_spec
        return spec if len(specs) == 1 else spec.with_rows(None)

    @property
    def batch_size(self) -> int:
        return self.begun.batch_size

    @property
    def exact_batches(self) -> bool:
        """Whether the pipelines made whole batches only, as ``batch(drop_remainder=True)`` does.

        Where an element_spec has another size than was asked for, its pipeline made no batches of
        that: it yields everything at once, perhaps.
        """
        uploads = [shard.upload.begun for shard in self.shards]
        return all(
            leaf.shape[0] == begun.batch_size
            for begun in uploads
            for leaf in begun.element_spec.leaves
        )

    @property
    def uniform(self) -> bool:
        """Whether all samples have one shape, though their spec leaves dimensions open."""
        if not self.complete:
            return False
        epochs = [epoch for shard in self.shards for epoch in self._completed(shard).epochs]
        shapes = {epoch.open_shapes for epoch in epochs}
        return len(shapes) == 1 and None not in shapes

    @property
    def even_batches(self) -> bool:
        """Whether a pass has as many batches as one size makes of its samples."""
        return self.complete and all(
            epoch.batches == -(-epoch.samples // shard.upload.begun.batch_size)
            for shard in self.shards
            for epoch in self._completed(shard).epochs
        )

    @property
    def codec(self) -> str:
        return self.begun.codec

    @property
    def data_hparams(self) -> Mapping[str, Any]:
        """The hparams that the pipeline read; without those of the place, for several shards."""
        hparams = self.shards[0].upload.data_hparams
        return dict(hparams) if len(self.shards) == 1 else data_hparams(self.shards[0].upload)

    @property
    def pipeline(self) -> Mapping[str, Any] | None:
        """What its (first) upload knows of its pipeline; see `Completed`."""
        completed = self.shards[0].upload.completed
        return None if completed is None else completed.pipeline

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of all records, as the producers computed them.

        Raises
        ------
        WorkError
            It is not complete.
        """
        uploads = []
        for shard in self.shards:
            if shard.upload.completed is None:
                raise WorkError(f"topic {shard.topic} is still being uploaded: it has no digest")
            uploads.append(shard.upload.completed)
        return digest_of(uploads)

    @property
    def complete(self) -> bool:
        """Whether all of it is stored; it may not be where it is followed."""
        return all(shard.upload.completed is not None for shard in self.shards)

    @property
    def epochs(self) -> int:
        """How many passes are stored.

        Raises
        ------
        WorkError
            It is not complete.
        """
        return min(len(self._completed(shard).epochs) for shard in self.shards)

    def samples(self, epoch: int) -> int:
        """How many samples there are in one epoch of a trial: in stored pass ``epoch % epochs``.

        Raises
        ------
        WorkError
            It is not complete.
        """
        index = epoch % self.epochs
        return sum(self._completed(shard).epochs[index].samples for shard in self.shards)

    def _completed(self, shard: Shard) -> Completed:
        if shard.upload.completed is None:
            raise WorkError(f"topic {shard.topic} is still being uploaded: its size is not known")
        return shard.upload.completed


@dataclass(frozen=True)
class Entry:
    """What is stored under one procID, and the upload that a reader would take."""

    proc_id: int
    topic: str
    state: TopicState
    readable: Upload | None

    @property
    def facts(self) -> Upload:
        """The upload that says what is or was to be there."""
        upload = self.readable or self.state.pending or self.state.gave_up
        if upload is None:
            raise WorkError(f"topic {self.topic} holds nothing")
        return upload

    @property
    def num_procs(self) -> int:
        return self.facts.begun.num_procs

    def __str__(self) -> str:
        of = f" (shard {self.proc_id} of {self.num_procs})" if self.num_procs > 1 else ""
        hparams = ", ".join(f"{k}={v}" for k, v in data_hparams(self.facts).items())
        return f"procID {self.proc_id}{of}: {self._condition}" + (f"; {hparams}" if hparams else "")

    @property
    def _condition(self) -> str:
        pending, failed = self.state.pending, self.state.failed
        if self.readable is not None and self.readable is not pending:
            return f"complete, {self.readable.samples} samples"
        if pending is not None:
            return f"uploading, {pending.samples} samples so far by {pending.begun.owner}"
        return f"failed: {failed.reason}" if failed else "nothing"


def same_value(one: Any, other: Any) -> bool:
    """Whether two values of an hparam are the same once they went through the catalog's JSON.

    NaN is itself, also within lists and dicts.
    """
    return bool(one == other) or json.dumps(one, default=repr) == json.dumps(other, default=repr)


def data_hparams(upload: Upload) -> dict[str, Any]:
    """The hparams that an upload's pipeline read, without those that tell producers apart."""
    return {k: v for k, v in upload.data_hparams.items() if k not in PLACE_HPARAMS}


def digest_of(uploads: Iterable[Completed]) -> str:
    """SHA-256 over the checksums of all records of complete uploads, in their order."""
    digests = [[epoch.digests for epoch in upload.epochs] for upload in uploads]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()
