"""The settings file: executed under overrides, held against its contract, and fingerprinted."""

from __future__ import annotations

from deeptool.settings.experiment import Settings
from deeptool.settings.fingerprint import compare
from deeptool.settings.hparams import parse_overrides
from deeptool.settings.loader import load_settings

__all__ = ["Settings", "compare", "load_settings", "parse_overrides"]
