"""Which rows and which components of a stored dataset are read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from deeptool.codec.chosen_columns import ChosenColumns
from deeptool.orders.row_groups import Rows


@dataclass(frozen=True, eq=False)
class Selection:
    """By default all of it. Two are equal if the same rows and components are selected.

    Attributes
    ----------
    rows : ndarray of int64, optional
        Numbers of rows within a pass (shard after shard, by sample), ascending, each once.
    columns : ChosenColumns, optional
    """

    rows: Rows | None = None
    columns: ChosenColumns | None = None

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of what is selected; None for all of it."""
        if self.rows is None and self.columns is None:
            return None
        rows = None if self.rows is None else hashlib.sha256(self.rows.tobytes()).hexdigest()
        columns = self.columns and [self.columns.places, self.columns.spec.to_json()]
        return hashlib.sha256(json.dumps([rows, columns]).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


ALL = Selection()
