"""The server of a launch that forks its trials: ``deeptool trial_server``."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deeptool.errors import WorkError
from hpc.processes.container import Programs
from hpc.processes.service import Service

_END_SECONDS = 5.0


@contextmanager
def fork_server(programs: Programs, log: Path) -> Iterator[Path | None]:
    """Run the server while the block lasts.

    One for all trials, as they differ in nothing that it does: it imports TensorFlow once. That
    takes seconds, in which producers upload; who asks meanwhile waits.

    Parameters
    ----------
    programs : callable
        What runs ``deeptool``.
    log : Path
        The server's own.

    Yields
    ------
    Path or None
        The socket, which nobody else can reach; None where there can be none.
    """
    try:
        # A socket's path may have 107 characters, which a run folder's often has.
        folder = tempfile.mkdtemp(prefix="deeptool-trials-")
    except OSError:
        yield None
        return
    address = Path(folder, "socket")
    service: Service | None = None
    try:
        service = _started(programs, log, address)
        yield address if service is not None else None
    finally:
        if service is not None:
            service.stop(_END_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _started(programs: Programs, log: Path, address: Path) -> Service | None:
    """The server; None where it cannot be started, which is no reason to fail."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(str(address))
            # Made here, so that who asks early waits for the server, instead of not finding it.
            listener.listen()
            argv = (*programs("deeptool"), "trial_server", "--listener", str(listener.fileno()))
            service = Service(
                "the server of the trials",
                argv,
                log,
                # As the trials have it: what differs is not forked.
                env={"PYTHONUNBUFFERED": "1"},
                inherited=(listener.fileno(),),
            )
            service.start()
        except (OSError, WorkError):
            return None
    return service
