"""What the tables of campaign files are made of, those of backends included."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

Positive = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def check_complete(self) -> None:
        """Raise `UserError` where something is lacking that neither file nor defaults have said."""


def beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """`path`, absolute: relative ones start at the campaign file."""
    base = (info.context or {}).get("base", Path())
    return Path(os.path.abspath(base / path.expanduser()))


def existing_file(path: Path, info: ValidationInfo) -> Path:
    """As `beside_the_file`; it must be there."""
    path = beside_the_file(path, info)
    if not path.is_file():
        raise ValueError(f"a file that exists: there is no {path}")
    return path


def existing_folder(path: Path, info: ValidationInfo) -> Path:
    """As `beside_the_file`; it must be there."""
    path = beside_the_file(path, info)
    if not path.is_dir():
        raise ValueError(f"a folder that exists: there is no {path}")
    return path


def _from_here(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))


BesideFile = Annotated[Path, AfterValidator(beside_the_file)]
ExistingFile = Annotated[Path, AfterValidator(existing_file)]
ExistingFolder = Annotated[Path, AfterValidator(existing_folder)]
FromHere = Annotated[Path, AfterValidator(_from_here)]


class ImageFiles(Strict):
    """The images (SIF files) that processes run in, as ``make build-sif`` makes them.

    Attributes
    ----------
    use : bool, optional
        Whether they are used. By default the backend decides: clusters use them.
    tensorflow, kafka, zookeeper : Path
        Relative to the working directory.
    binds : tuple of Path
        Folders that the experiment needs to see besides those of the campaign: its raw data.
    """

    use: bool | None = None
    tensorflow: FromHere = Field(default_factory=partial(_from_here, Path("build/tensorflow.sif")))
    kafka: FromHere = Field(default_factory=partial(_from_here, Path("build/kafka.sif")))
    zookeeper: FromHere = Field(default_factory=partial(_from_here, Path("build/zookeeper.sif")))
    binds: tuple[FromHere, ...] = ()
