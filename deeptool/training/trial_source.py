"""Where the data of a trial come from, as its command says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Literal

from deeptool.errors import UserError
from deeptool.reader.read_request import Order
from deeptool.settings import Settings
from deeptool.settings.contract import Padding
from deeptool.training.batching import Batching


@dataclass(frozen=True)
class TrialSource:
    """Where the data come from, as the command says it.

    Attributes
    ----------
    servers : tuple of str
        Kafka's, the settings' own where empty.
    client_properties : mapping, path or None
        librdkafka's settings for a secured broker.
    reader : str
        "librdkafka" or "tfio".
    wait : float
        Seconds to wait for a dataset that is not complete.
    online : bool
        The training set may be one that is still being uploaded.
    drop_remainder, padding_value
        As in the settings, and instead of what these say; None: as they say.
    order, cache
        See `deeptool.reader.read_request.ReadRequest`.
    sealed : str or None
        The folder of a sealed dataset, absolute: read instead of a broker.
    """

    servers: tuple[str, ...] = ()
    client_properties: Mapping[str, str] | str | PathLike[str] | None = field(
        default=None, repr=False
    )
    reader: Literal["librdkafka", "tfio"] = "librdkafka"
    wait: float = 0.0
    online: bool = False
    drop_remainder: bool | None = None
    padding_value: Padding | Mapping[str, Padding] | None = None
    order: Order = "auto"
    cache: str = "auto"
    sealed: str | None = None

    def batching(self, settings: Settings) -> Batching:
        """How the trial's batches are made."""
        drop, padding = self.drop_remainder, self.padding_value
        return Batching(
            settings.batch_size,
            settings.drop_remainder if drop is None else drop,
            settings.padding_value if padding is None else padding,
        )

    def check(self, kafka: bool) -> None:
        """Whether what is asked for goes together.

        Raises
        ------
        UserError
            `online` by tensorflow-io or without Kafka; a sealed dataset and something that only a
            broker has.
        """
        if self.sealed is not None:
            self._check_sealed(kafka)
        if self.online and not kafka:
            raise UserError(
                "--online reads a dataset that is still being uploaded to Kafka",
                seen="the settings' own pipeline was asked for",
                next_step="add --kafka, or leave out --online",
            )
        if self.online and self.reader == "tfio":
            raise UserError(
                "tensorflow-io cannot read a dataset that is still being uploaded",
                seen="--online --reader tfio",
                valid="--reader librdkafka",
            )

    def _check_sealed(self, kafka: bool) -> None:
        asked = {
            "--no-kafka": not kafka,
            "--server": bool(self.servers),
            "--client-properties": self.client_properties is not None,
            "--reader tfio": self.reader == "tfio",
            "--online": self.online,
        }
        if any(asked.values()):
            raise UserError(
                "a sealed dataset is read without a broker",
                seen=", ".join(["--from", *(name for name, given in asked.items() if given)]),
                valid="--from DIR alone",
            )
