"""Where a settings file says that an upload ends, and what makes a stored one the same."""

from __future__ import annotations

from typing import Any, cast

import pytest
from catalog_builders import begun, completed

from deeptool.catalog.fold import Upload
from deeptool.errors import UserError
from deeptool.producer.reuse import check_reusable
from deeptool.producer.settings_pipeline import sample_limit
from deeptool.settings import Settings


class Fake:
    """What of a settings file counts here."""

    def __init__(self, **values: Any) -> None:
        self.nb_train_samples = self.nb_val_samples = 0
        self.steps_per_epoch = self.validation_steps = 0
        self.batch_size, self.num_procs, self.proc_id = 4, 1, 0
        self.hparams: dict[str, Any] = {}
        self.declared_data_hparams = None
        self.sha256 = "5" * 64
        self.listing: Any = {"digest": "d" * 64, "files": 1, "bytes": 10, "newest": 1.0}
        vars(self).update(values)

    def raw_data(self, split: str) -> Any:
        return self.listing


def settings(**values: Any) -> Settings:
    return cast(Settings, Fake(**values))


@pytest.mark.parametrize(
    ("values", "train", "val"),
    [
        ({}, None, None),
        ({"nb_train_samples": 10, "steps_per_epoch": 7}, 10, None),
        ({"steps_per_epoch": 7, "validation_steps": 2}, 28, 8),
        ({"nb_val_samples": 3, "validation_steps": 2}, None, 3),
    ],
)
def test_numbers_of_samples_come_before_steps(
    values: dict[str, int], train: int | None, val: int | None
) -> None:
    for infinite in (False, True):
        assert sample_limit(settings(**values), "train", False, infinite) == train
        assert sample_limit(settings(**values), "val", False, infinite) == val


def test_shards() -> None:
    def limits(**options: bool) -> list[int | None]:
        return [
            sample_limit(settings(nb_train_samples=10, num_procs=3, proc_id=i), "train", **options)
            for i in range(3)
        ]

    # Shares that the pipeline takes by itself may differ: only its own end is right.
    assert limits(auto_shard=False, infinite=False) == [None, None, None]
    assert limits(auto_shard=False, infinite=True) == [4, 3, 3]
    assert limits(auto_shard=True, infinite=True) == [10, 10, 10]


def stored(**values: Any) -> Upload:
    return Upload(begun("u", **values), completed=completed("u", data_hparams={"size": 3}))


@pytest.mark.parametrize(
    ("now", "options", "difference"),
    [
        ({}, {}, None),
        ({"hparams": {"size": 3, "lr": 9}}, {}, None),
        ({"hparams": {"size": 4}}, {}, "size = 4"),
        ({"sha256": "6" * 64}, {}, "the settings file has changed"),
        ({"listing": {"digest": "e", "files": 1, "bytes": 1}}, {}, "the raw data has changed"),
        ({"listing": None}, {}, "raw data: True stored, False now"),
        ({"num_procs": 2}, {}, "num_procs: 1 stored, 2 now"),
        ({"batch_size": 8}, {}, "batch_size: 4 stored, 8 now"),
        ({}, {"epochs": 2}, "epochs: 1 stored, 2 now"),
        ({}, {"codec": "example"}, "codec: arrow stored, example now"),
        ({}, {"limit": 5}, "limit: None stored, 5 now"),
        ({"nb_train_samples": 5}, {}, "limit: None stored, 5 now"),
        ({}, {"auto": True}, "auto_shard: False stored, True now"),
    ],
)
def test_what_makes_a_stored_dataset_another(
    now: dict[str, Any], options: dict[str, Any], difference: str | None
) -> None:
    asked: dict[str, Any] = {"epochs": 1, "codec": "arrow", "limit": None, "auto": False, **options}
    mine = settings(**{"hparams": {"size": 3}, **now})
    if difference is None:
        check_reusable(mine, stored(), **asked)
        return
    with pytest.raises(UserError, match="but a different one") as caught:
        check_reusable(mine, stored(), **asked)
    assert difference in str(caught.value)
    assert "--replace" in str(caught.value)
