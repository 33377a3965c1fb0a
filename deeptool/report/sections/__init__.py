"""The sections of a report. One module each: a module that is added here is on the page.

A module defines ``SECTION``, a `deeptool.report.page_parts.ReportSection`.
"""

from __future__ import annotations

import importlib
import pkgutil

from deeptool.report.page_parts import ReportSection


def sections() -> list[ReportSection]:
    """All sections, in the order of the page."""
    modules = (
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    )
    return sorted((module.SECTION for module in modules), key=lambda section: section.place)
