"""How a trial's batches are made of samples: of stored ones, or of a pipeline's single ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deeptool.reader.stored_dataset import StoredDataset
from deeptool.rows.element_form import Padding, form_of_samples, no_whole_batch

Say = Callable[[str], None]


@dataclass(frozen=True)
class Batching:
    """How samples become batches.

    Attributes
    ----------
    batch_size : int
    drop_remainder : bool or None
        None: as the pipeline did, where its element_spec shows it.
    padding_value : scalar, mapping or None
    """

    batch_size: int
    drop_remainder: bool | None
    padding_value: Padding | Mapping[str, Padding] | None

    def of_stored(self, data: StoredDataset) -> dict[str, Any]:
        """The options of `StoredDataset.tf` that make its batches.

        Raises
        ------
        UserError
            It cannot be batched so.
        """
        asked = {**vars(self)}
        return {**asked, "drop_remainder": data.drops_remainder(**asked)}

    def of_samples(self, dataset: Any, split: str, say: Say) -> Any:
        """Batches of a ``tf.data.Dataset`` of single samples.

        Parameters
        ----------
        say : callable
            Called with how many samples no whole batch holds, where these are left out.

        Raises
        ------
        UserError
            It cannot be batched so.
        """
        from deeptool.codec.spec import Spec
        from deeptool.reader.tf_elements import batches_of_samples

        spec = Spec.from_tf(dataset.element_spec, batched=False)
        drop, samples = bool(self.drop_remainder), int(dataset.cardinality())
        form = form_of_samples(spec, self.batch_size, drop, self.padding_value)
        if drop and samples > 0:
            if samples < self.batch_size:
                raise no_whole_batch(f"{samples} samples, split {split!r}", self.batch_size)
            _tell(split, samples % self.batch_size, samples, "each epoch", self.batch_size, say)
        return batches_of_samples(dataset, form)


def tell_left_out(data: StoredDataset, how: Mapping[str, Any], say: Say) -> None:
    """Say how many samples no whole batch holds, where these are left out."""
    if not how["drop_remainder"]:
        return
    size = how["batch_size"]
    if not data.complete:
        say(f"{data.split}: samples that fill no batch are left out of each epoch: {_reason(size)}")
        return
    samples = [data.samples(k) for k in range(data.epochs)]
    kept = [(data.elements(k, **how) or 0) * size for k in range(data.epochs)]
    where = f"{data.epochs} stored epochs" if data.epochs > 1 else "each epoch"
    _tell(data.split, sum(samples) - sum(kept), sum(samples), where, size, say)


def _tell(split: str, left_out: int, samples: int, where: str, size: int, say: Say) -> None:
    if left_out:
        say(f"{split}: {left_out} of {samples} samples are left out of {where}: {_reason(size)}")


def _reason(size: int) -> str:
    return f"batches have exactly {size} (drop_remainder)"


def last_batches(data: StoredDataset, how: Mapping[str, Any]) -> frozenset[int]:
    """Sizes of the batches that end a pass and are smaller than the others."""
    passes = range(data.epochs if data.complete and not how["drop_remainder"] else 0)
    return frozenset(data.samples(k) % how["batch_size"] for k in passes) - {0}
