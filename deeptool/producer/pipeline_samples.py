"""The samples of a pipeline, as far as the upload goes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from deeptool.codec.spec import Spec
from deeptool.codec.tensors import leaves_from_tf
from deeptool.codec.values import Leaves, rows, slice_rows
from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.pipelines.deterministic_order import check_deterministic
from deeptool.pipelines.way_costs import FirstElements, WayCosts
from deeptool.producer.pipeline_cpu import PipelineCpuMeter
from deeptool.termination import signals_held

_log = logging.getLogger(__name__)
_END = object()


class PipelineSamples:
    """The batches of each epoch: cut at the limit, and only this process's share.

    Parameters
    ----------
    dataset : tf.data.Dataset, or callable of an epoch's number that returns one
    batched : bool
        Whether axis 0 of the elements counts samples.
    limit : int or None
        Samples of an epoch, over all shards; None: all that the pipeline yields.
    shard : tuple of (int, int), optional
        (index, number): take the elements index, index + number, ... only.
    meter : PipelineCpuMeter

    Raises
    ------
    UserError
        The pipeline is infinite and there is no limit; the spec cannot be stored; `shard` is given
        and the order is not deterministic.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batched: bool,
        limit: int | None,
        shard: tuple[int, int] | None,
        meter: PipelineCpuMeter,
    ) -> None:
        import tensorflow as tf

        self._maker: Callable[[int], Any] = (
            (lambda epoch: dataset) if isinstance(dataset, tf.data.Dataset) else dataset
        )
        self._first = self._make(0)
        self.spec = Spec.from_tf(self._first.element_spec, batched)
        self._limit, self._meter = limit, meter
        self._kept = FirstElements()
        self._index, self._number = shard or (0, 1)
        # Of the epoch under way, and its element that comes next.
        self._iterator: Any = None
        self._element: Any = None
        cardinality = int(self._first.cardinality())
        if cardinality == tf.data.INFINITE_CARDINALITY and limit is None:
            raise UserError(
                "the input pipeline is infinite and no limit is given",
                next_step="give --limit, set nb_train_samples and nb_val_samples (or "
                "steps_per_epoch and validation_steps) in the settings file, or do not repeat",
            )
        if shard:
            check_deterministic(self._first)
        self._elements = cardinality if cardinality >= 0 else None

    def batch_size(self) -> int:
        """Samples per element: as the spec says, else those of the first element.

        Raises
        ------
        WorkError
            The pipeline fails at its first element.
        """
        if not self.spec.batched:
            return 1
        sizes = {leaf.shape[0] for leaf in self.spec.leaves} - {None}
        for size in sizes:
            if size is not None:
                return size
        with self._meter.measure():
            self._begin(self._first)
        return 1 if self._element is _END else rows(leaves_from_tf(self._element, self.spec))

    def expected(self, batch_size: int) -> int | None:
        """About how many samples of an epoch are this process's; None where it is not known."""
        known = [] if self._elements is None else [self._elements * batch_size]
        total = min(known + ([] if self._limit is None else [self._limit]), default=None)
        return None if total is None else -(-total // self._number)

    def other_ways(self) -> WayCosts:
        """What the first samples cost without a store, when they have been read."""
        with signals_held():
            return self._kept.costs(self._first.element_spec)

    def close(self) -> None:
        """Delete the iterator.

        It must be gone before the interpreter ends; otherwise TensorFlow's threads that run Python
        wait for the interpreter, and it for them. A traceback could keep it that long.
        """
        self._iterator = self._element = None

    def batches(self, epoch: int) -> Iterator[Leaves]:
        """All batches of one epoch that are this process's.

        Raises
        ------
        WorkError
            The pipeline fails, naming how far it came; it is empty, or holds nothing for this
            shard; its element_spec is not that of the first epoch.
        """
        dataset = self._first
        if epoch > 0:
            dataset = self._make(epoch)
            self._check_spec(dataset, epoch)
        try:
            with self._meter.measure():
                yield from self._batches(dataset, epoch)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            self.close()

    def _make(self, epoch: int) -> Any:
        import tensorflow as tf

        try:
            dataset = self._maker(epoch)
        except DeeptoolError:
            raise
        except Exception as error:
            raise WorkError(
                f"the input pipeline of epoch {epoch} could not be built",
                seen=f"{type(error).__name__}: {_first_line(error)}",
                next_step="run it again with --debug to see where",
            ) from error
        if not isinstance(dataset, tf.data.Dataset):
            raise UserError(
                "the input pipeline is not a tf.data.Dataset", seen=type(dataset).__name__
            )
        return dataset

    def _batches(self, dataset: Any, epoch: int) -> Iterator[Leaves]:
        if self._iterator is None:
            self._begin(dataset)
        seen = taken = index = 0
        while self._element is not _END:
            leaves = leaves_from_tf(self._element, self.spec)
            if epoch == 0:
                self._kept.add(self._element, leaves)
            if self._limit is not None:
                leaves = slice_rows(leaves, 0, min(rows(leaves), self._limit - seen))
            if index % self._number == self._index and rows(leaves):
                taken += rows(leaves)
                yield leaves
            seen += rows(leaves)
            index += 1
            if seen == self._limit:
                break
            self._advance(seen)
        if not taken:
            raise WorkError(
                "the input pipeline is empty"
                if not seen
                else f"the input pipeline has no element for shard {self._index}",
                seen=f"{index} elements, {seen} samples, in epoch {epoch}",
                next_step="check raw_data_dir_train, raw_data_dir_val and get_input_pipeline",
            )
        if self._limit is not None and seen < self._limit:
            _log.warning(
                "the input pipeline ended after %d samples, before the limit of %d",
                seen,
                self._limit,
            )

    def _begin(self, dataset: Any) -> None:
        with signals_held(), self._meter.pipeline():
            self._iterator = iter(dataset)
        self._advance(0)

    def _advance(self, seen: int) -> None:
        """The next element, or `_END`."""
        try:
            with signals_held(), self._meter.pipeline():
                self._element = next(self._iterator, _END)
        except DeeptoolError:
            raise
        except Exception as error:
            traceback.clear_frames(error.__traceback__)
            raise WorkError(
                f"the input pipeline failed after {seen} samples",
                seen=f"{type(error).__name__}: {_first_line(error)}",
                next_step="run it again with --debug to see where",
            ) from error

    def _check_spec(self, dataset: Any, epoch: int) -> None:
        spec = Spec.from_tf(dataset.element_spec, self.spec.batched)
        if spec != self.spec:
            raise WorkError(
                f"the input pipeline of epoch {epoch} has another element_spec than the first",
                seen=str(spec),
                valid=str(self.spec),
            )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
