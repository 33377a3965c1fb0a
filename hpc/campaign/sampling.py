"""The hparams of a search: combinations of a grid, and seeded random samples."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Union

from pydantic import BaseModel, ConfigDict, model_validator

# What an hparam can be in a campaign file; lists hold such values.
Value = Union[bool, int, float, str, "list[Any]"]
_TRIES = 1000


def check_value(value: Any) -> Value:
    """`value`, if it can be an hparam; ValueError with what is valid, if not."""
    if isinstance(value, list):
        return [check_value(each) for each in value]
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError("a number, a string, true, false, or a list of these")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number")
    return value


class Range(BaseModel):
    """Numbers from `low` to `high`: whole ones if both are, evenly in their logarithm if `log`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low below high, not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a low above 0 where log = true, not {self.low}")
        return self

    def draw(self, generator: random.Random) -> int | float:
        """One number; a fraction has four significant digits, as people write them."""
        low, high = self.low, self.high
        if isinstance(low, int) and isinstance(high, int):
            if not self.log:
                return generator.randint(low, high)
            # Each whole number stands for the interval of half a unit around it.
            drawn = math.exp(generator.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(drawn), low), high)
        if self.log:
            drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
        else:
            drawn = generator.uniform(low, high)
        return min(max(float(f"{drawn:.4g}"), low), high)


def combinations(grid: Mapping[str, Sequence[Value]]) -> tuple[dict[str, Value], ...]:
    """Every combination of the values of a grid, the last key varying fastest."""
    return tuple(dict(zip(grid, row, strict=True)) for row in itertools.product(*grid.values()))


def draw(
    space: Mapping[str, Range | Sequence[Value]], samples: int, seed: int
) -> tuple[dict[str, Value], ...]:
    """`samples` distinct draws from `space`; a longer sample begins with the shorter one's.

    Raises
    ------
    ValueError
        When the space does not hold that many.
    """
    generator = random.Random(seed)
    rows: list[dict[str, Value]] = []
    for _ in range(samples):
        for _ in range(_TRIES):
            row = {
                key: values.draw(generator)
                if isinstance(values, Range)
                else generator.choice(values)
                for key, values in space.items()
            }
            if row not in rows:
                break
        else:
            raise ValueError(f"as many samples as its space holds: {len(rows)} found of {samples}")
        rows.append(row)
    return tuple(rows)
