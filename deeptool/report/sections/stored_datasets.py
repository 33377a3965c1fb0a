"""The stored datasets, and pictures of their samples."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from pathlib import Path

from deeptool.report.page_parts import ReportPage, ReportSection, page_section
from deeptool.report.tables import table, upload_columns


def _uploads(page: ReportPage) -> str:
    if not page.summary["uploads"]:
        return ""

    body = table(upload_columns(), page.summary["uploads"])
    pictures = "".join(_picture(page.run_dir / name) for name in page.summary["pictures"])
    if pictures:
        body += f'<div class="pictures">{pictures}</div>'
    return page_section("Stored datasets", body)


def _picture(path: Path) -> str:
    data = b64encode(path.read_bytes()).decode()
    topic = escape(path.stem.removeprefix("samples_"))
    return (
        f'<figure><img alt="samples of {topic}" src="data:image/png;base64,{data}">'
        f"<figcaption>Samples of {topic}, as stored</figcaption></figure>"
    )


SECTION = ReportSection(place=60, draw=_uploads)
