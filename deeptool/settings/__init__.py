"""The settings file: run with overrides, checked by its contract, compared with an upload."""

from __future__ import annotations

from deeptool.settings.experiment import Settings
from deeptool.settings.loader import load_settings
from deeptool.settings.upload_comparison import compare

__all__ = ["Settings", "compare", "load_settings"]
