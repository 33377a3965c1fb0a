"""Numbers as people read them."""

from __future__ import annotations

MISSING = "-"


def number(value: float | None) -> str:
    """Four significant digits, without an exponent where that stays short."""
    if value is None:
        return MISSING
    if isinstance(value, int):
        return f"{value:,}"
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 4
    return f"{value:,.{digits}f}"


def seconds(value: float | None) -> str:
    """Seconds in a table, where they stand below each other."""
    return MISSING if value is None else f"{value:,.1f}"


def amount(value: int | None) -> str:
    """A count."""
    return MISSING if value is None else f"{value:,}"


def bytes_text(value: int) -> str:
    """Bytes in decimal units."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value} B"


def duration(value: float) -> str:
    """Seconds as seconds, minutes or hours, three digits of it."""
    if abs(value) < 100:
        return f"{value:.3g} s"
    if abs(value) < 100 * 60:
        return f"{value / 60:.3g} min"
    return f"{value / 3600:,.1f} h"
