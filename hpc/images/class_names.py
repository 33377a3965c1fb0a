"""The names of the classes that servers start with, for the archives in their images."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from deeptool.errors import DeeptoolError
from hpc.broker import jars
from hpc.broker.broker_options import BrokerOptions
from hpc.broker.class_archive import class_names_file
from hpc.broker.embedded import EmbeddedBroker
from hpc.broker.node import MODES


def known_class_names() -> str:
    """What the starts of brokers on this machine have noted, of either mode."""
    java, libraries = jars.java(), jars.kafka_jars()
    files = [class_names_file(java, libraries, mode) for mode in MODES]
    lines = "".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    return "".join(f"{name}\n" for name in dict.fromkeys(lines.splitlines()))


def note_class_names(progress: Callable[[str], None]) -> None:
    """Start and stop a broker of each mode of which nothing is noted yet.

    Images are built without the names where that fails: their servers then start more slowly.
    """
    java, libraries = jars.java(), jars.kafka_jars(progress=progress)
    for mode in MODES:
        if class_names_file(java, libraries, mode).exists():
            continue
        progress(f"starting a {mode} broker once, for the faster start of those in images")
        try:
            with tempfile.TemporaryDirectory(prefix="deeptool-classes-") as folder:
                broker = EmbeddedBroker(BrokerOptions(Path(folder, "broker"), mode))
                broker.start()
                broker.stop()
        except DeeptoolError as error:
            progress(f"servers in these images will start more slowly: {error}")
