"""What goes into an image: its options, build arguments and files, and the digest of them all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deeptool.errors import UserError
from deeptool.files import sha256
from hpc.broker import jars
from hpc.broker.node import VERSION
from hpc.broker.properties import log4j_properties
from hpc.images.class_names import known_class_names

BOOTSTRAPS = ("docker", "localimage", "debootstrap")
TENSORFLOWS = ("cuda", "cpu")
ENVIRONMENTS = ("latest", "tfio")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ImageOptions:
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


def contents(name: str, options: ImageOptions, root: Path = ROOT) -> dict[str, Path | str]:
    """What is copied into an image: path in the folder to copy -> a file, or a text.

    Raises
    ------
    UserError, WorkError
        As `jars.java` and `jars.kafka_jars`.
    """
    if name == "tensorflow":
        top = ["pyproject.toml", "LICENSE", "README.md", f"constraints/{options.environment}.txt"]
        # By their first names, which the image has on its path.
        top += ["start_kafka_producer.py", "experiments_manager.py"]
        return {
            f"deeptool-source/{path.relative_to(root)}": path
            for path in [root / file for file in top]
            + [*_files(root / "deeptool"), *_files(root / "hpc")]
        }
    runtime, libraries = jars.java().parent.parent, jars.kafka_jars()
    return {
        **{f"java/{path.relative_to(runtime)}": path for path in _files(runtime)},
        **{f"kafka/libs/{file}": libraries / file for file in jars.sums()},
        "kafka/jars.sha256": root / "hpc" / "broker" / "kafka-jars.sha256",
        "kafka/classes.txt": known_class_names(),
        "kafka/jvm.options": root / "recipes" / "jvm.options",
        "kafka/log4j.properties": log4j_properties(),
    }


def arguments(name: str, options: ImageOptions, certificates: Path | None = None) -> dict[str, str]:
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
        return values | {"version": VERSION}
    values |= {"tensorflow": options.tensorflow, "environment": options.environment}
    return values | ({"certificates": f"/mnt/{certificates.name}"} if certificates else {})


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
    lines = []
    for name, data in sorted(parts.items()):
        lines.append(f"{name} {sha256(data)}\n")
    return sha256("".join(lines).encode())


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


def _files(folder: Path) -> list[Path]:
    """The files below a folder, without what Python compiles beside them."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _mode(content: Path | str) -> int:
    executable = isinstance(content, Path) and content.stat().st_mode & 0o100
    return 0o755 if executable else 0o644
