"""An archive of the classes that Kafka starts with: Java maps them instead of reading 57 jars.

The first start of a broker notes the names of the classes that it loads, for this version of Java
and of Kafka; the next one makes the archive before it starts. A start never fails because of it:
without an archive, or with one that does not fit, Java reads the jars.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from deeptool.files import lock, sha256, write_text

_DUMP_SECONDS = 120


def class_names_file(java: Path, jars: Path, label: str) -> Path:
    """The file with the names, one a line.

    Parameters
    ----------
    java : Path
        The ``java`` that is run.
    jars : Path
        The folder of Kafka's jars, named by Kafka's version.
    label : str
        What is started: a broker's mode.
    """
    return jars / f"classes-java-{_java_version(java)}-{label}.txt"


def keep_class_names(file: Path, noted: Iterable[Path]) -> None:
    """Write what the processes of a start have noted into one list.

    Parameters
    ----------
    file : Path
        `class_names_file`. It is left as it is where it cannot be written.
    noted : iterable of Path
        What ``java -XX:DumpLoadedClassList`` wrote, a file a process.
    """
    try:
        text = "".join(path.read_text(encoding="utf-8") for path in noted)
        names = dict.fromkeys(filter(None, map(_archivable, text.splitlines())))
        if names:
            write_text(file, "".join(f"{name}\n" for name in names))
    except OSError:
        return


def class_archive(
    java: Path, jars: Path, label: str, progress: Callable[[str], None] = lambda line: None
) -> Path | None:
    """The archive, made once for a JRE and its jars; None where there is none yet.

    Safe when several processes ask at once: one makes it, and it gets its name when it is complete;
    the others do without meanwhile.
    """
    names = class_names_file(java, jars, label)
    # Java takes no archive made with other files than its own, which it knows by their times.
    files = [java.parent.parent / "lib" / "modules", *sorted(jars.glob("*.jar"))]
    stamp = "".join(f"{path} {path.stat().st_mtime_ns}\n" for path in files)
    archive = names.with_name(f"{names.stem}-{sha256(stamp.encode())[:12]}.jsa")
    if archive.exists():
        return archive
    if not names.exists():
        return None
    try:
        with lock(names.with_suffix(".lock"), wait=False):
            if not archive.exists():
                progress("preparing a faster start of Kafka (once)")
                _dump(java, jars, names, archive)
    except BlockingIOError:
        # Another process is making it: no reason to wait for that.
        return None
    except (OSError, subprocess.SubprocessError) as error:
        progress(f"Kafka starts without its class archive, more slowly: {error}")
        _forget(names)
        return None
    return archive


def _dump(java: Path, jars: Path, names: Path, archive: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".classes-", dir=jars) as temporary:
        both, dumped = Path(temporary, "names"), Path(temporary, "archive")
        own = (java.parent.parent / "lib" / "classlist").read_text(encoding="utf-8")
        both.write_text(own + names.read_text(encoding="utf-8"), encoding="utf-8")
        subprocess.run(
            [str(java), "-XX:+UseSerialGC", "-Xshare:dump", f"-XX:SharedClassListFile={both}"]
            + [f"-XX:SharedArchiveFile={dumped}", "-cp", f"{jars}/*"],
            check=True,
            capture_output=True,
            timeout=_DUMP_SECONDS,
        )
        dumped.rename(archive)


def _archivable(line: str) -> str | None:
    """A line for the list of several processes, None for one that means nothing there."""
    # Numbers tell the classes of one process apart; classes of other loaders need them.
    if line.startswith("#") or " source: " in line:
        return None
    return line.partition(" id: ")[0]


def _forget(names: Path) -> None:
    """Let the next start note the names again: these were of no use."""
    try:
        names.unlink()
    except OSError:
        return


def _java_version(java: Path) -> str:
    release = java.parent.parent / "release"
    text = release.read_text(encoding="utf-8") if release.exists() else ""
    found = re.search(r'^JAVA_VERSION="([^"/]+)"', text, re.MULTILINE)
    return found[1] if found else "unknown"
