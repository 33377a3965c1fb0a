"""What a stored dataset is: as the catalog said when it was found, and what was selected of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from deeptool.catalog.stored import Stored
from deeptool.codec.spec import Spec
from deeptool.rows.selection import Selection


class DatasetFacts:
    """The attributes of a `deeptool.reader.stored_dataset.StoredDataset`.

    Attributes
    ----------
    stored : Stored
    selection : Selection
    """

    stored: Stored
    selection: Selection

    def __len__(self) -> int:
        return self.samples(0)

    def __repr__(self) -> str:
        size = f"{len(self)} samples" if self.complete else "under way"
        if self.selection.rows is not None:
            size = f"{len(self)} of {self.stored.samples(0)} samples"
        uploads = ", ".join(self.upload_ids)
        return f"<StoredDataset {self.name!r}, split {self.split!r}: {size}, upload {uploads}>"

    @property
    def name(self) -> str:
        return self.stored.session

    @property
    def split(self) -> str:
        return self.stored.split

    @property
    def spec(self) -> Spec:
        """Structure, dtypes and shapes of the elements; ``spec.to_tf()`` is TensorFlow's form."""
        columns = self.selection.columns
        return self.stored.spec if columns is None else columns.spec

    @property
    def hparams(self) -> Mapping[str, Any]:
        """The hparams that the samples depend on, with the values they were made under."""
        return self.stored.data_hparams

    @property
    def batch_size(self) -> int:
        """The batch size of the pipeline that was uploaded."""
        return self.stored.batch_size

    @property
    def complete(self) -> bool:
        """Whether all of it was stored when it was found; always, without ``follow``."""
        return self.stored.complete

    @property
    def epochs(self) -> int:
        """How many passes are stored."""
        return self.stored.epochs

    def samples(self, epoch: int) -> int:
        """The samples of pass `epoch`, which reads stored pass ``epoch % epochs``."""
        rows = self.selection.rows
        return self.stored.samples(epoch) if rows is None else len(rows)

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(shard.topic for shard in self.stored.shards)

    @property
    def proc_ids(self) -> tuple[int, ...]:
        """The procIDs of its shards; one for a variant."""
        return tuple(shard.upload.begun.proc_id for shard in self.stored.shards)

    @property
    def upload_ids(self) -> tuple[str, ...]:
        """One for each shard."""
        return tuple(shard.upload.id for shard in self.stored.shards)

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of all records as the producers computed them, and selection.

        Raises
        ------
        WorkError
            It is not complete.
        """
        whole, chosen = self.stored.digest, self.selection.digest
        return whole if chosen is None else hashlib.sha256(f"{whole} {chosen}".encode()).hexdigest()
