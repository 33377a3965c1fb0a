"""Which samples of a stored epoch were read, where they come in any order."""

from __future__ import annotations

from bisect import bisect_right


class SampleCoverage:
    """Ranges of samples, none of which may overlap; those that touch are kept as one.

    Attributes
    ----------
    samples : int
        How many were read.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._starts: list[int] = []
        self._stops: list[int] = []

    @property
    def stop(self) -> int:
        """The number behind that of the last sample that was read."""
        return self._stops[-1] if self._stops else 0

    def add(self, first: int, count: int) -> bool:
        """Take in samples first, ..., first + count - 1; False where one was there already."""
        stop = first + count
        place = bisect_right(self._starts, first)
        if place and self._stops[place - 1] > first:
            return False
        if place < len(self._starts) and self._starts[place] < stop:
            return False
        self.samples += count
        joins_left = place > 0 and self._stops[place - 1] == first
        joins_right = place < len(self._starts) and self._starts[place] == stop
        if joins_left and joins_right:
            self._stops[place - 1] = self._stops.pop(place)
            del self._starts[place]
        elif joins_left:
            self._stops[place - 1] = stop
        elif joins_right:
            self._starts[place] = first
        else:
            self._starts.insert(place, first)
            self._stops.insert(place, stop)
        return True
