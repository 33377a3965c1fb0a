"""What a campaign asks of Slurm: the resources of its jobs, as ``[slurm]`` says them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deeptool.errors import UserError
from hpc.campaign.definition import Campaign
from hpc.campaign.fields import Positive, Strict
from hpc.slurm.extra_options import Option, asks_for_gpus, extra_options

ROLES = ("broker", "producers", "train")

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


def minutes(text: str) -> int:
    """Slurm's way to write a time (``90``, ``1:30:00``, ``2-12``, ``2-12:30``) in minutes.

    Raises
    ------
    ValueError
        When it is not one, or less than a second.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError("a time as Slurm writes it: minutes, H:M:S, D-H, D-H:M or D-H:M:S")
    parts = [int(part) for part in found["rest"].split(":")]
    # What a lone number means depends on what comes before it: hours after days, else minutes.
    if found["days"] is not None:
        hours, mins, secs = (parts + [0, 0])[:3]
    elif len(parts) == 3:
        hours, mins, secs = parts
    else:
        hours, mins, secs = 0, parts[0], parts[1] if len(parts) > 1 else 0
    total = int(found["days"] or 0) * 1440 + hours * 60 + mins + (secs + 59) // 60
    if total < 1:
        raise ValueError("a time of a minute or more")
    return total


def _time(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("a time as Slurm writes it, such as 90 (minutes) or 1:30:00")
    minutes(str(value))
    return str(value)


def _gpus(value: int | str) -> int | str:
    if isinstance(value, int) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*:[1-9]\d*", value):
        return value
    raise ValueError("how many GPUs a node, such as 2, or of which type and how many: a100:2")


Time = Annotated[str, BeforeValidator(_time)]


class Resources(Strict):
    """What one job asks for.

    Attributes
    ----------
    partition, account : str, optional
    time : str, optional
        The walltime, as Slurm writes it.
    cpus : int, optional
        Of each node of the job.
    gpus : int or str, optional
        Of each node: how many, or of which type and how many, ``a100:2``.
    memory : str, optional
        Of each node, as Slurm writes it.
    setup : tuple of str
        Shell lines that come before the work, such as ``module load apptainer``.
    extra : dict
        Further parameters of sbatch, without their dashes: ``{qos = "long", gres = "gpu:a100:1"}``.
        A dependency comes to those that the jobs have on each other.
    """

    partition: str | None = None
    account: str | None = None
    time: Time | None = None
    cpus: Positive | None = None
    gpus: Annotated[int | str, AfterValidator(_gpus)] | None = None
    memory: Annotated[str, Field(pattern=r"^[1-9]\d*[KMGT]?$")] | None = None
    setup: tuple[str, ...] = ()
    extra: Annotated[dict[str, Option], AfterValidator(extra_options)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _gpus_once(self) -> Resources:
        named = [key for key, value in self.extra.items() if asks_for_gpus(key, value)]
        if self.gpus and named:
            raise ValueError(f"gpus or extra.{named[0]}, not both")
        return self

    @property
    def has_gpus(self) -> bool:
        """Whether the job gets GPUs, whichever option asks for them."""
        return bool(self.gpus) or self.extra != self.extra_but_gpus

    @property
    def extra_but_gpus(self) -> dict[str, Option]:
        """`extra` without the options that ask for GPUs."""
        return {key: value for key, value in self.extra.items() if not asks_for_gpus(key, value)}


_DEFAULTS = {
    "broker": Resources(cpus=2),
    "producers": Resources(cpus=2),
    "train": Resources(cpus=2, gpus=1),
}


class SlurmOptions(Resources):
    """The resources of all jobs, and what is different for those of a role.

    Attributes
    ----------
    poll_seconds : int
        How often the queue is asked for while a launch is watched.
    """

    poll_seconds: Positive = 30
    broker: Resources = Resources()
    producers: Resources = Resources()
    train: Resources = Resources()

    def role(self, name: str) -> Resources:
        """What the jobs of a role ask for: its own, else those of all, else the defaults."""
        merged: dict[str, Any] = {"setup": (), "extra": {}}
        for layer in (_DEFAULTS[name], self, getattr(self, name)):
            values = {key: getattr(layer, key) for key in Resources.model_fields}
            before, extra = merged["extra"], values.pop("extra")
            if layer.gpus is not None:
                before = Resources(extra=before).extra_but_gpus
            elif layer.has_gpus:
                merged["gpus"] = None
                before = Resources(extra=before).extra_but_gpus
            extra = {**before, **extra}
            merged |= {key: value for key, value in values.items() if value not in (None, ())}
            merged["extra"] = extra
        return Resources(**merged)

    def check_complete(self) -> None:
        """Raise `UserError` unless every role has a walltime."""
        without = [name for name in ROLES if self.role(name).time is None]
        if without:
            raise UserError(
                "jobs on Slurm need a walltime",
                seen=f"none for {', '.join(without)}",
                valid='[slurm] time = "1:00:00" for all, or in [slurm.broker], [slurm.producers],'
                " [slurm.train]",
                next_step="set it in the campaign or the site file, or --set slurm.time=1:00:00",
            )


def slurm_options(campaign: Campaign) -> SlurmOptions:
    """What `campaign` says in ``[slurm]``."""
    options = campaign.options
    return options if isinstance(options, SlurmOptions) else SlurmOptions()
