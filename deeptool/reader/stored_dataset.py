"""A stored dataset that was found, and is read as it was found: what `deeptool.open` returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deeptool.catalog.stored import Stored
from deeptool.codec.spec import Spec
from deeptool.errors import UserError, WorkError
from deeptool.reader.numpy_batches import NumpyBatches
from deeptool.reader.pass_lengths import elements_of_pass
from deeptool.reader.read_request import (
    MEMORY,
    Reader,
    ReadOptions,
    ReadRequest,
    check_reader,
    prepared,
)
from deeptool.reader.tf_dataset import tf_dataset
from deeptool.rows.element_form import Padding, element_form
from deeptool.rows.pass_copies import PassCopies
from deeptool.rows.pass_rows import check_memory
from deeptool.rows.read_plan import MemoryShares, ReadPlan
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import RecordStore

if TYPE_CHECKING:
    import tensorflow
    from typing_extensions import Unpack

    from deeptool.reader.torch_batches import TorchBatches


@dataclass(frozen=True, repr=False)
class StoredDataset:
    """A stored dataset that was found: what its attributes say is what every pass reads.

    It names its uploads by their ids. When another upload replaces one of them, the records that it
    was found with are still read while they exist; then reading fails. It never reads others.

    ``len(data)`` is the number of samples of the first stored pass.

    Attributes
    ----------
    store : RecordStore
        Delivers its records.
    stored : Stored
        What the catalog said when the dataset was found.
    follow : bool
        Whether it may have been under way then.
    meter : ReadMeter
        Counts all that is read through this handle, and keeps the error that ends it.
    copies : PassCopies
        The local copies that are open.
    """

    store: RecordStore
    stored: Stored
    follow: bool = False
    meter: ReadMeter = field(default_factory=ReadMeter)
    copies: PassCopies = field(default_factory=PassCopies, compare=False)

    def __len__(self) -> int:
        return self.stored.samples(0)

    def __repr__(self) -> str:
        size = f"{len(self)} samples" if self.complete else "under way"
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
        return self.stored.spec

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
        return self.stored.samples(epoch)

    def elements(
        self,
        epoch: int,
        *,
        batch_size: int | None = None,
        drop_remainder: bool | None = None,
        padding_value: Padding | Mapping[str, Padding] | None = None,
    ) -> int | None:
        """The elements of pass `epoch`, read by `tf` with these parameters; None: not known."""
        if not self.complete:
            return None
        plan = self._plan()
        form = element_form(plan, batch_size, drop_remainder, padding_value)
        return elements_of_pass(plan, form, epoch)

    def drops_remainder(
        self,
        *,
        batch_size: int | None = None,
        drop_remainder: bool | None = None,
        padding_value: Padding | Mapping[str, Padding] | None = None,
    ) -> bool:
        """Whether `tf` with these parameters leaves out what is no whole batch.

        Raises
        ------
        UserError
            It cannot be read as asked.
        """
        form = element_form(self._plan(), batch_size, drop_remainder, padding_value)
        return form.drop_remainder

    def _plan(self) -> ReadPlan:
        """For what depends on neither memory, part nor seed."""
        return ReadPlan(self.store, self.stored, MemoryShares(MEMORY))

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
        """SHA-256 over the checksums of all records, as the producers computed them.

        Raises
        ------
        WorkError
            It is not complete.
        """
        digests = []
        for shard in self.stored.shards:
            if shard.upload.completed is None:
                raise WorkError(f"topic {shard.topic} is still being uploaded: it has no digest")
            digests.append([epoch.digests for epoch in shard.upload.completed.epochs])
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    def tf(
        self, *, reader: Reader = "librdkafka", **options: Unpack[ReadOptions]
    ) -> tensorflow.data.Dataset:
        """Read it with TensorFlow, each sample exactly once per pass.

        Parameters
        ----------
        reader : str
            "librdkafka", or "tfio" for tensorflow-io, which fetches in TensorFlow's graph; its
            order without `shuffle` is a fixed one, but not the pipeline's.
        options
            batch_size, shuffle, seed, first_epoch, start, repeat, drop_remainder, num_shards,
            index, padding_value, memory_bytes: see `deeptool.reader.read_request.ReadRequest`.

        Returns
        -------
        tf.data.Dataset
            Of the producer's element_spec, apart from axis 0. Its cardinality is known, except with
            ``follow``, for a `start` within a pass, for batches that come as they were uploaded
            (unknown dimensions and no `padding_value`), and where stored passes differ in their
            number of samples.

        Raises
        ------
        UserError
            It cannot be read as asked.

        Notes
        -----
        What fails during iteration comes out of TensorFlow as a ``tf.errors.OpError`` with the
        message in it; ``with data.meter.raising():`` around the loop makes it the `WorkError` that
        it was.
        """
        check_reader(reader, self.follow, self.store)
        request = ReadRequest(**options)
        plan, form = prepared(self.store, self.stored, self.follow, request, self.copies)
        if reader == "librdkafka":
            check_memory(plan, form)
        return tf_dataset(plan, form, self.meter, request, reader=reader, known=not self.follow)

    def numpy(self, **options: Unpack[ReadOptions]) -> NumpyBatches:
        """Read it as NumPy arrays, without TensorFlow, each sample exactly once per pass.

        Parameters
        ----------
        options
            As for `tf`; the same ones give the same elements.

        Returns
        -------
        NumpyBatches
            Iterable, of elements nested as those of `tf`: arrays of `spec`'s dtypes and shapes
            (strings: dtype object, of bytes), and `deeptool.Ragged` for ragged tensors. Arrays may
            be views of what was read, and read-only.

        Raises
        ------
        UserError
            It cannot be read as asked.

        Notes
        -----
        Codec ``example`` needs TensorFlow to decode its records.
        """
        request = ReadRequest(**options)
        plan, form = prepared(self.store, self.stored, self.follow, request, self.copies)
        check_memory(plan, form)
        return NumpyBatches(plan, form, self.meter, request.positions(), request)

    def torch(self, **options: Unpack[ReadOptions]) -> TorchBatches:
        """Read it with PyTorch, without TensorFlow, each sample exactly once per pass.

        Parameters
        ----------
        options
            As for `tf`. Without `num_shards` and `index`, each process of ``torch.distributed``
            reads a part of its own.

        Returns
        -------
        TorchBatches
            A ``torch.utils.data.IterableDataset`` of batches, for ``DataLoader(...,
            batch_size=None)`` with any number of workers. Its docstring says how dtypes become
            tensors, and what positions it keeps.

        Raises
        ------
        UserError
            It cannot be read as asked, or PyTorch is not installed.
        """
        try:
            from deeptool.reader.torch_batches import TorchBatches
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise UserError(
                "data.torch(...) needs PyTorch, which is not installed",
                next_step="python -m pip install torch; or read with data.numpy(...)",
            ) from error
        return TorchBatches(self.store, self.stored, self.follow, self.meter, self.copies, options)
