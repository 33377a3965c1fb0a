"""Pipeline -> records -> broker."""

from __future__ import annotations

from deeptool.producer.api import upload as upload

__all__ = ["upload"]
