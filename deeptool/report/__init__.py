"""The report of a run: one self-contained HTML page, and the same as CSV and JSON."""

from __future__ import annotations

from deeptool.report.collect import summarize
from deeptool.report.write import write_report

__all__ = ["summarize", "write_report"]
