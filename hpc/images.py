"""The images that jobs run in: what goes into each, which have to be built, and their build."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeptool.errors import UserError, WorkError
from deeptool.files import read_json, write_json, write_text
from hpc import jars, kafka

NAMES = ("kafka", "zookeeper", "tensorflow")
BOOTSTRAPS = ("docker", "localimage", "debootstrap")
TENSORFLOWS = ("cuda", "cpu")
ENVIRONMENTS = ("latest", "tfio")
ROOT = Path(__file__).resolve().parents[1]
SUMS = "SHA256SUMS"

# Where the usual systems keep the certificates that they trust.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)
# What a build needs for unpacked files, in GB: estimates, on the safe side.
_SPACE = {"kafka": 1, "zookeeper": 1, "cpu": 4, "cuda": 14}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How images are built.

    Parameters
    ----------
    bootstrap : str
        Where the base comes from: a registry (``docker``), an image file (``localimage``) or
        Debian's packages (``debootstrap``).
    base : str, optional
        The base in that registry, or the image file; the definition's default unless given.
    mirror : str, optional
        The address of Debian's packages, for ``debootstrap``.
    tensorflow : str
        ``cuda``, or ``cpu`` for a third of the size.
    environment : str
        The constraints file: ``latest``, or ``tfio`` for tensorflow-io.
    """

    bootstrap: str = "docker"
    base: str | None = None
    mirror: str | None = None
    tensorflow: str = "cuda"
    environment: str = "latest"

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("BOOTSTRAP", self.bootstrap, BOOTSTRAPS),
            ("TENSORFLOW", self.tensorflow, TENSORFLOWS),
            ("ENVIRONMENT", self.environment, ENVIRONMENTS),
        ):
            if value not in valid:
                raise UserError(f"{name} is unknown", seen=value, valid=", ".join(valid))
        if self.bootstrap == "localimage" and not (self.base and Path(self.base).is_file()):
            raise UserError(
                "BOOTSTRAP=localimage needs an image file as FROM",
                seen=self.base or "nothing",
                next_step="make build-sif BOOTSTRAP=localimage FROM=/path/of/base.sif",
            )
        if self.bootstrap == "debootstrap" and (self.base or not self.mirror):
            raise UserError(
                "BOOTSTRAP=debootstrap needs the address of Debian's packages as MIRROR, and no"
                " FROM",
                seen=f"MIRROR={self.mirror or ''} FROM={self.base or ''}",
                next_step="take the mirror of this machine's own apt sources",
            )


@dataclass(frozen=True)
class Built:
    """An image that is there: its name, file, size in bytes, SHA-256, and if it was built now."""

    name: str
    path: Path
    size: int
    sha256: str
    new: bool


def certificates() -> Path | None:
    """The file with the certificates that this machine trusts, for pip inside a build."""
    named = (os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    for path in (*named, *_CERTIFICATES):
        if path and Path(path).is_file():
            return Path(path)
    return None


def contents(name: str, options: Options, root: Path = ROOT) -> dict[str, Path | str]:
    """What is copied into an image: path in the folder to copy -> a file, or a text.

    Raises
    ------
    UserError, WorkError
        As `jars.java` and `jars.kafka_jars`.
    """
    if name == "tensorflow":
        top = ["pyproject.toml", "README.md", f"constraints/{options.environment}.txt"]
        return {
            f"deeptool-source/{path.relative_to(root)}": path
            for path in [root / file for file in top]
            + [*_files(root / "deeptool"), *_files(root / "hpc")]
        }
    runtime, libraries = jars.java().parent.parent, jars.kafka_jars()
    return {
        **{f"java/{path.relative_to(runtime)}": path for path in _files(runtime)},
        **{f"kafka/libs/{file}": libraries / file for file in jars.sums()},
        "kafka/jars.sha256": root / "hpc" / "kafka-jars.sha256",
        "kafka/classes.txt": root / "hpc" / "kafka-classes.txt",
        "kafka/jvm.options": root / "recipes" / "jvm.options",
        "kafka/log4j.properties": kafka.log4j_properties(),
    }


def arguments(name: str, options: Options, certificates: Path | None = None) -> dict[str, str]:
    """The build arguments of a definition, but for the folder that it copies.

    Parameters
    ----------
    certificates : Path, optional
        The file of trusted certificates, whose folder the build finds under ``/mnt``.
    """
    values = {"bootstrap": options.bootstrap}
    if options.base or options.bootstrap == "debootstrap":
        values["from"] = options.base or ""
    if options.mirror:
        values["mirror"] = options.mirror
    if name != "tensorflow":
        return values | {"version": kafka.VERSION}
    values |= {"tensorflow": options.tensorflow, "environment": options.environment}
    return values | ({"certificates": f"/mnt/{certificates.name}"} if certificates else {})


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


def digest(
    definition: Path,
    arguments: Mapping[str, str],
    contents: Mapping[str, Path | str],
    base: Path | None = None,
) -> str:
    """SHA-256 (hex) of all that an image is made of and that this machine knows."""
    parts = {f"argument {key}": value.encode() for key, value in arguments.items()}
    parts["definition"] = definition.read_bytes()
    parts["base"] = sha256(base).encode() if base else b""
    for name, content in contents.items():
        data = content.encode() if isinstance(content, str) else content.read_bytes()
        parts[f"file {name} {_mode(content):o}"] = data
    whole = hashlib.sha256()
    for name, data in sorted(parts.items()):
        whole.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
    return whole.hexdigest()


def stage(contents: Mapping[str, Path | str], folder: Path) -> None:
    """Make `folder` hold exactly these files, readable by all."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            shutil.copyfile(content, path)
        path.chmod(_mode(content))


def checksums(sums: Mapping[str, str]) -> str:
    """File name -> SHA-256, as ``sha256sum --check`` reads it."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            whole.update(chunk)
    return whole.hexdigest()


def build(
    names: Sequence[str],
    options: Options,
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
    options : Options
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
    with _locked(folder, progress):
        built = [
            _up_to_date(program, name, options, folder, root, force, progress) for name in names
        ]
        found = {path.name: read_json(_record(path)) for path in folder.glob("*.sif")}
        sums = {name: record["sha256"] for name, record in found.items() if record}
        write_text(folder / SUMS, checksums(sums))
    return built


def _requirements(names: Sequence[str], options: Options, root: Path) -> str:
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
            "neither apptainer nor singularity is on the path, and images are built with them",
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
    options: Options,
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


@contextlib.contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another build in {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _files(folder: Path) -> list[Path]:
    """The files below a folder, without what Python compiles beside them."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _mode(content: Path | str) -> int:
    executable = isinstance(content, Path) and content.stat().st_mode & 0o100
    return 0o755 if executable else 0o644


def _record(image: Path) -> Path:
    return image.with_name(f"{image.name}.json")
