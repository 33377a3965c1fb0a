"""What a campaign and the commands ask of a backend before anything runs on it."""

from __future__ import annotations

from dataclasses import dataclass

from hpc.backends import BACKENDS, load_backend
from hpc.campaign.fields import Strict


@dataclass(frozen=True)
class BackendTraits:
    """A backend's defaults and abilities.

    Attributes
    ----------
    images : bool
        Whether processes run in images, unless the campaign says.
    secured : bool
        Whether the campaign's own broker asks for a password, unless the campaign says.
    detaches : bool
        Whether a launch may end before its processes do.
    options : type or None
        The model of the backend's own table in campaign and site files, which is named as the
        backend is. None: it has no table.
    watch_keys : tuple of str
        Keys of that table that do not concern the processes, only whoever watches them.
    file_seconds : float
        How often the run folder's files may be looked at: shared file systems bear less.
    job_logs : str or None
        The folder in the run folder that has what the backend itself logs of its jobs, where that
        tells why a process has said nothing.
    """

    images: bool = False
    secured: bool = False
    detaches: bool = False
    options: type[Strict] | None = None
    watch_keys: tuple[str, ...] = ()
    file_seconds: float = 0.2
    job_logs: str | None = None


def backend_traits(name: str) -> BackendTraits:
    """The traits of a backend.

    Raises
    ------
    UserError
        When there is no such backend.
    """
    traits: BackendTraits = load_backend(name).traits
    return traits


def option_tables() -> dict[str, type[Strict]]:
    """The tables of all backends that have one: name -> model."""
    found = {name: backend_traits(name).options for name in BACKENDS}
    return {name: model for name, model in found.items() if model is not None}
