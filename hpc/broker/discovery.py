"""Discovery: what brokers say of themselves in the run folder, and how jobs find one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deeptool.errors import WorkError
from deeptool.files import read_json, write_json

VERSION = 1
HEARTBEAT_SECONDS = 3.0
# A broker that has not been heard of for so long is dead: its node may have gone with it.
DEAD_SECONDS = 30.0
_STEP = 0.5
_ENDED = ("stopped", "failed")


@dataclass(frozen=True)
class Descriptor:
    """One broker, as ``services/broker-<node>.json`` has it.

    Attributes
    ----------
    run : str
        The campaign's run id.
    job, restarts
        The batch system's job that runs it, and how often that was started before.
    node, nodes : int
        Its number, and how many brokers there are.
    state : str
        ``starting``, ``ready``, ``draining``, ``stopped``, ``failed``.
    bootstrap : str
        ``host:port``, empty while it is not known.
    metadata, cluster_id : str
        What the other nodes need to join (node 0).
    secret : str or None
        The path of the file with the clients' settings; never its contents.
    started, heartbeat, expires_at : float
        Unix times: of this start, when it last said something, and when its job's walltime ends.
    resumes : bool
        Whether another one on the same data follows should it end before the campaign does.
    cpu_seconds : float
        What it has cost, its predecessors of this run included.
    mode, version, host, log, note : str
        For people.
    """

    run: str
    job: str
    restarts: int
    node: int
    nodes: int
    state: str = "starting"
    bootstrap: str = ""
    metadata: str = ""
    cluster_id: str = ""
    secret: str | None = None
    started: float = 0.0
    heartbeat: float = 0.0
    expires_at: float = 0.0
    resumes: bool = False
    cpu_seconds: float = 0.0
    mode: str = ""
    version: str = ""
    host: str = ""
    log: str = ""
    note: str = ""
    format: int = VERSION

    @property
    def generation(self) -> tuple[str, int]:
        """What tells a broker from the one that follows it."""
        return self.job, self.restarts

    def dead(self, now: float) -> bool:
        """Whether it has not been heard of for too long."""
        return self.state not in _ENDED and now - self.heartbeat > DEAD_SECONDS

    def lost(self, now: float) -> bool:
        """Whether it has ended, and no broker with its data will follow."""
        return not self.resumes and (self.state in _ENDED or self.dead(now))


class Discovery:
    """The descriptors of one run.

    Parameters
    ----------
    folder : Path
        ``<run_dir>/services``.
    run : str
        The run id: what other runs left there does not count.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self.run = folder, run

    def write(self, descriptor: Descriptor) -> Descriptor:
        """Replace a node's descriptor, with a heartbeat of now; returns it."""
        descriptor = replace(descriptor, heartbeat=time.time())
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file(descriptor.node), asdict(descriptor))
        return descriptor

    def read(self, node: int = 0) -> Descriptor | None:
        """A node's descriptor, None where there is none of this run."""
        # NFS keeps what a look-up found, also that there was nothing; a listing is fresh.
        if not self.folder.is_dir() or self._file(node).name not in os.listdir(self.folder):
            return None
        raw: Mapping[str, Any] | None = read_json(self._file(node))
        if raw is None or raw.get("run") != self.run or raw.get("format") != VERSION:
            return None
        return Descriptor(**raw)

    def all(self) -> tuple[Descriptor, ...]:
        """The descriptors of all nodes of the newest broker job."""
        first = self.read()
        if first is None:
            return ()
        others = (self.read(node) for node in range(1, first.nodes))
        return (first, *(each for each in others if each and each.generation == first.generation))

    def reopen(self) -> None:
        """Before a new broker job: what earlier ones left is no news to those who wait for it."""
        for old in self.all():
            fresh = Descriptor(self.run, "", 0, old.node, old.nodes, resumes=True)
            self.write(replace(fresh, cpu_seconds=old.cpu_seconds))

    def servers(self) -> str:
        """The addresses of the brokers that are ready, comma separated."""
        return ",".join(each.bootstrap for each in self.all() if each.state == "ready")

    def wait_ready(
        self,
        seconds: float,
        check: Callable[[], None],
        *,
        after: tuple[str, int] | None = None,
        log: str = "",
    ) -> Descriptor:
        """Wait for node 0, and so for all, to be ready.

        Parameters
        ----------
        seconds : float
            How long at most.
        check : callable
            Called often: what it raises ends the waiting.
        after : tuple, optional
            The generation that does not count: it is gone, or will be.
        log : str
            Where to look when there is none in time.

        Raises
        ------
        WorkError
            When the broker has failed or ended for good, or is not ready in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            check()
            seen = self.read()
            fresh = seen is not None and seen.generation != after
            if seen is not None and fresh and seen.state == "ready" and not seen.dead(time.time()):
                return seen
            if seen is not None and seen.lost(time.time()):
                raise loss(seen, log)
            if time.monotonic() > deadline:
                state = "no heartbeat received" if seen is None else _describe(seen)
                raise WorkError(
                    f"the campaign's broker was not ready within {seconds:.0f} s",
                    seen=state,
                    next_step=f"see {(seen.log if seen else '') or log}",
                )
            time.sleep(_STEP)

    def _file(self, node: int) -> Path:
        return self.folder / f"broker-{node}.json"


def loss(seen: Descriptor, log: str = "") -> WorkError:
    """The error for a broker that is `lost`."""
    died = seen.state not in _ENDED
    return WorkError(
        f"the campaign's broker has {'died' if died else seen.state}",
        seen=seen.note or _describe(seen),
        next_step=f"see {seen.log or log}, then launch again; to keep data longer than the"
        " broker's job, set broker.folder",
    )


def _describe(seen: Descriptor) -> str:
    age = time.time() - seen.heartbeat
    return f"{seen.state}, job {seen.job} on {seen.host}, last heartbeat {age:.0f} s ago"
