"""One process of a campaign: its command, what it waits for, and what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hpc.campaign.sampling import Value

Role = Literal["broker", "producer", "view", "trial"]

# Stands in a plan for the address that is known once the broker is up.
SERVER = "{broker}"
# The order in which a launch's processes are stopped: who reads, who writes, what they talk to.
STOP_ORDER: tuple[tuple[Role, ...], ...] = (("trial", "view"), ("producer",), ("broker",))
# Seconds that a process has to end by itself once it was asked to; the broker ends two servers.
GRACE: Mapping[Role, float] = {"broker": 45.0, "producer": 15.0, "view": 2.0, "trial": 15.0}


@dataclass(frozen=True)
class Task:
    """One process of a campaign.

    Attributes
    ----------
    name : str
        Unique in the campaign: ``broker``, ``producer-<index>``, ``trial-<index>``.
    role, index
        What it is, and which one.
    argv : tuple of str
        The command. Its first word is one of this project's, for the backend to find (or to put
        into a container); `SERVER` stands for the broker's address.
    after : tuple of str
        The tasks that must be complete first, or ready, where they are a broker.
    env : mapping
        Added to the environment.
    again : tuple of str
        The command instead of `argv` where an earlier run of the task has left something: a trial
        that can be resumed, a dataset that need not be replaced once more. Empty: `argv`.
    proc_id, hparams
        The dataset that a producer writes, or a trial reads: a variant's procID, None for the
        shards of one dataset. And a trial's hparams.
    version : str
        What it is made from: a version of `hpc.campaign.versions.Versions`.
    """

    name: str
    role: Role
    index: int
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    again: tuple[str, ...] = ()
    proc_id: int | None = None
    hparams: Mapping[str, Value] = field(default_factory=dict)
    version: str = ""

    @property
    def grace(self) -> float:
        """Seconds to end in, once asked to."""
        return GRACE[self.role]

    def command(self, server: str, *, again: bool = False) -> tuple[str, ...]:
        """`argv`, or `again`, for a broker's address."""
        return with_server((again and self.again) or self.argv, server)


def with_server(argv: Sequence[str], server: str) -> tuple[str, ...]:
    """A command for a broker's address."""
    return tuple(server if word == SERVER else word for word in argv)
