"""How a trial's batches are made of samples: of stored ones, or of a pipeline's single ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deeptool.reader.element_form import Padding, form_of_samples
from deeptool.reader.stored_dataset import StoredDataset


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

    def of_samples(self, dataset: Any) -> Any:
        """Batches of a ``tf.data.Dataset`` of single samples.

        Raises
        ------
        UserError
            It cannot be batched so.
        """
        from deeptool.codec.spec import Spec
        from deeptool.reader.tf_elements import batches_of_samples

        spec = Spec.from_tf(dataset.element_spec, batched=False)
        form = form_of_samples(spec, self.batch_size, bool(self.drop_remainder), self.padding_value)
        return batches_of_samples(dataset, form)


def tell_left_out(data: StoredDataset, how: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Say how many samples no whole batch holds, where these are left out."""
    if not how["drop_remainder"]:
        return
    size = how["batch_size"]
    reason = f"batches have exactly {size} (drop_remainder)"
    if not data.complete:
        say(f"{data.split}: samples that fill no batch are left out of each epoch: {reason}")
        return
    samples = [data.samples(k) for k in range(data.epochs)]
    left_out = [count - (data.elements(k, **how) or 0) * size for k, count in enumerate(samples)]
    if any(left_out):
        where = f"{data.epochs} stored epochs" if len(samples) > 1 else "each epoch"
        say(
            f"{data.split}: {sum(left_out)} of {sum(samples)} samples are left out of {where}: "
            f"{reason}"
        )


def last_batches(data: StoredDataset, how: Mapping[str, Any]) -> frozenset[int]:
    """Sizes of the batches that end a pass and are smaller than the others."""
    passes = range(data.epochs if data.complete and not how["drop_remainder"] else 0)
    return frozenset(data.samples(k) % how["batch_size"] for k in passes) - {0}
