"""The build of the images that jobs run in: those that have changed, one after the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deeptool.errors import UserError, WorkError
from deeptool.files import lock, read_json, sha256, write_json, write_text
from hpc.images.class_names import note_class_names
from hpc.images.parts import ROOT, ImageOptions, arguments, contents, digest, stage
from hpc.processes.certificates import certificates

NAMES = ("kafka", "zookeeper", "tensorflow")
SUMS = "SHA256SUMS"

# What a build needs for unpacked files, in GB: estimates, on the safe side.
_SPACE = {"kafka": 1, "zookeeper": 1, "cpu": 4, "cuda": 14}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """An image that is there: its name, file, size in bytes, SHA-256, and if it was built now."""

    name: str
    path: Path
    size: int
    sha256: str
    new: bool


def build_argv(
    program: str,
    image: Path,
    definition: Path,
    arguments: Mapping[str, str],
    certificates: Path | None = None,
) -> list[str]:
    """The command line of one build, for an ordinary user."""
    # The destination of a bind has to be in the base: /mnt always is.
    bind = ["--bind", f"{certificates.parent}:/mnt"] if certificates else []
    given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    return [program, "build", "--force", "--fakeroot", *bind, *given, str(image), str(definition)]


def checksums(sums: Mapping[str, str]) -> str:
    """File name -> SHA-256, as ``sha256sum --check`` reads it."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def build(
    names: Sequence[str],
    options: ImageOptions,
    *,
    folder: Path = ROOT / "build",
    root: Path = ROOT,
    force: bool = False,
    progress: Progress = lambda line: None,
) -> list[Built]:
    """Build those of the images whose definition, arguments or files have changed.

    Parameters
    ----------
    names : sequence of str
        Of `NAMES`.
    options : ImageOptions
    folder : Path
        Where ``<name>.sif``, its log and ``SHA256SUMS`` go.
    root : Path
        The checkout with the definitions.
    force : bool
        Build them all: a base in a registry may have moved on, which is not seen from here.
    progress : callable
        Called with a line for each step.

    Raises
    ------
    UserError
        For an unknown name, and where a program, the checkout or space is missing.
    WorkError
        When a build fails.
    """
    program = _requirements(names, options, root)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder, progress):
        if set(names) & {"kafka", "zookeeper"}:
            note_class_names(progress)
        built = [
            _up_to_date(program, name, options, folder, root, force, progress) for name in names
        ]
        found = {path.name: read_json(_record(path)) for path in folder.glob("*.sif")}
        sums = {name: record["sha256"] for name, record in found.items() if record}
        write_text(folder / SUMS, checksums(sums))
    return built


def _requirements(names: Sequence[str], options: ImageOptions, root: Path) -> str:
    """What is to be there before anything is built; returns the program that builds."""
    if unknown := [name for name in names if name not in NAMES]:
        raise UserError("there is no such image", seen=", ".join(unknown), valid=", ".join(NAMES))
    if not (root / "recipes" / "kafka.def").is_file():
        raise UserError(
            "images are built from a checkout of the repository", seen=f"{root} has no recipes"
        )
    program = shutil.which("apptainer") or shutil.which("singularity")
    if program is None:
        raise UserError(
            "neither apptainer nor singularity is on PATH, and images are built with one of them",
            next_step="load your site's module, or build on another machine and copy build/*.sif",
        )
    if options.bootstrap == "debootstrap" and not shutil.which(
        "debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    ):
        raise UserError("BOOTSTRAP=debootstrap needs the program debootstrap, which is missing")
    return program


def _up_to_date(
    program: str,
    name: str,
    options: ImageOptions,
    folder: Path,
    root: Path,
    force: bool,
    progress: Progress,
) -> Built:
    """The image, built where it is not what its parts say."""
    image, definition = folder / f"{name}.sif", root / "recipes" / f"{name}.def"
    trusted = certificates() if name == "tensorflow" else None
    given, parts = arguments(name, options, trusted), contents(name, options, root)
    base = Path(options.base) if options.bootstrap == "localimage" and options.base else None
    wanted, record = digest(definition, given, parts, base), read_json(_record(image))
    if record and record["parts"] == wanted and image.is_file() and not force:
        if (found := sha256(image)) == record["sha256"]:
            progress(f"{name}: nothing has changed")
            return Built(name, image, image.stat().st_size, found, new=False)
        progress(f"{name}: {image} is not the file that was built")
    _check_space(options.tensorflow if name == "tensorflow" else name)
    staged = folder / "stage" / ("tensorflow" if name == "tensorflow" else "kafka")
    stage(parts, staged)
    temporary = folder / f".{name}.sif"
    argv = build_argv(program, temporary, definition, {**given, "files": str(staged)}, trusted)
    try:
        _run(name, argv, folder / f"{name}.log", progress)
        found, size = sha256(temporary), temporary.stat().st_size
        temporary.rename(image)
    finally:
        temporary.unlink(missing_ok=True)
    write_json(_record(image), {"parts": wanted, "sha256": found, "arguments": given})
    return Built(name, image, size, found, new=True)


def _run(name: str, argv: Sequence[str], log: Path, progress: Progress) -> None:
    started = time.monotonic()
    progress(f"{name}: building; the whole output goes to {log}")
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                if line.startswith("INFO:") and "mksquashfs" not in line:
                    seconds = time.monotonic() - started
                    progress(f"{name}: {line.removeprefix('INFO:').strip()} ({seconds:.0f} s)")
            code = process.wait()
        except BaseException:
            _interrupt(process)
            raise
    if code:
        last = log.read_text(encoding="utf-8").splitlines()[-10:]
        raise WorkError(
            f"the image {name} could not be built (exit code {code})",
            seen="\n    ".join(["", *last]),
            next_step=f"see {log}; APPTAINER_TMPDIR names the folder where builds unpack",
        )


def _interrupt(process: subprocess.Popen[str]) -> None:
    # As Ctrl-C in a terminal does: of SIGTERM, or alone, apptainer leaves what it has unpacked.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _check_space(kind: str) -> None:
    where = os.environ.get("APPTAINER_TMPDIR") or tempfile.gettempdir()
    if not Path(where).is_dir():
        raise UserError("the folder of APPTAINER_TMPDIR is missing", seen=where)
    free = shutil.disk_usage(where).free / 1e9
    if free < _SPACE[kind]:
        raise UserError(
            f"too little space to unpack a build in {where}",
            seen=f"{free:.1f} GB free",
            valid=f"{_SPACE[kind]} GB",
            next_step="set APPTAINER_TMPDIR to a folder with more, on a local disk",
        )


def _lock(folder: Path, progress: Progress) -> IO[str]:
    try:
        return lock(folder / ".lock", wait=False)
    except BlockingIOError:
        progress(f"waiting for another build in {folder}")
        return lock(folder / ".lock")


def _record(image: Path) -> Path:
    return image.with_name(f"{image.name}.json")
