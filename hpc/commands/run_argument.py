"""The argument RUN_DIR, which several commands take."""

from __future__ import annotations

from pathlib import Path

import click

# Passes `run_dir`, a path, or None for the newest run below runs/.
run_argument = click.argument(
    "run_dir", required=False, type=click.Path(file_okay=False, path_type=Path)
)
