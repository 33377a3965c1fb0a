"""One trial: build, compile, fit, checkpoint, resume, export."""

from __future__ import annotations

from deeptool.training.result import TrialResult, Usage
from deeptool.training.trial import train

__all__ = ["TrialResult", "Usage", "train"]
