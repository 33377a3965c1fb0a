"""Which of what is stored is a campaign's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpc.campaign.toml_file import parse
from hpc.run.stored_data import own_uploads

VARIANTS = [{"procID": 0, "hparams": {"size": 8}}, {"procID": 5, "hparams": {"size": 16}}]


def row(session: str, proc_id: int, size: int) -> dict[str, Any]:
    facts = {"state": "complete", "data_hparams": {"size": size, "procID": proc_id}}
    return {"session": session, "proc_id": proc_id, "topic": f"{session}.{proc_id}", **facts}


STORED = [
    *(row("s", 0, 8), row("s", 1, 8), row("s", 5, 16), row("s", 5, 32)),
    *(row("s-v0", 0, 8), row("s-v0", 1, 8), row("s-v0", 2, 8), row("s-v5", 1, 16)),
    row("other", 0, 8),
]


@pytest.mark.parametrize(
    ("producers", "topics"),
    [
        ({"variants": VARIANTS}, ["s.0", "s.5"]),
        ({"num_procs": 2}, ["s.0", "s.1"]),
        ({"variants": VARIANTS, "num_procs": 2}, ["s-v0.0", "s-v0.1", "s-v5.1"]),
    ],
)
def test_by_name_place_and_hparams(
    tmp_path: Path, producers: dict[str, Any], topics: list[str]
) -> None:
    (tmp_path / "settings.py").write_text("")
    raw = {"name": "c", "settings": "settings.py", "producers": producers}
    found = own_uploads(parse(raw, tmp_path / "c.toml"), "s", STORED)
    assert [each["topic"] for each in found] == topics
