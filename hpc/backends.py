"""The backends that a campaign can run on: another one is a folder beside them and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from deeptool.errors import UserError

# Name in campaign files -> module whose BACKEND implements `hpc.run.backend.Backend`. As strings:
# nothing of a backend is imported before it is asked for, and no room below imports it.
BACKENDS = {
    "local": "hpc.local.backend",
    "slurm": "hpc.slurm.backend",
}


def load_backend(name: str) -> Any:
    """The backend of a name.

    Raises
    ------
    UserError
        When there is none.
    """
    if name not in BACKENDS:
        raise UserError("there is no such backend", seen=name, valid=", ".join(BACKENDS))
    return import_module(BACKENDS[name]).BACKEND
