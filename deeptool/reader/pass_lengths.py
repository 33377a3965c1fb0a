"""How many elements passes have, as far as the catalog says."""

from __future__ import annotations

from deeptool.rows.element_form import ElementForm
from deeptool.rows.read_plan import ReadPlan


def elements_of_pass(plan: ReadPlan, form: ElementForm, k: int) -> int | None:
    """The elements of pass k; None where the catalog does not say.

    Batches that come back as they were made are counted since their ends are kept.
    """
    samples = plan.samples(k)
    if form.batch_size is None:
        return samples
    if form.whole_batches:
        if form.drop_remainder:
            return plan.whole_batches(k, form.batch_size)
        return plan.batches(k)
    return samples // form.batch_size if form.drop_remainder else -(-samples // form.batch_size)


def elements_of_passes(plan: ReadPlan, form: ElementForm) -> list[int] | None:
    """The elements of each stored pass; None where the catalog does not say it of all."""
    counts = [elements_of_pass(plan, form, k) for k in range(plan.stored.epochs)]
    known = [count for count in counts if count is not None]
    return known if len(known) == len(counts) else None


def elements_of_iterator(
    counts: list[int] | None, first_epoch: int | None, repeat: int
) -> int | None:
    """The elements of `repeat` passes; None where that is not known.

    Parameters
    ----------
    counts : list of int or None
        Of each stored pass.
    first_epoch : int or None
        None: any.
    """
    if counts is None:
        return None
    epochs = len(counts)
    if first_epoch is None and len(set(counts)) > 1 and repeat % epochs:
        return None
    return sum(counts[k % epochs] for k in range(first_epoch or 0, (first_epoch or 0) + repeat))
