"""Where a settings file says that an upload ends, and what makes a stored one the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from catalog_builders import begun, completed

from deeptool.catalog.fold import Upload
from deeptool.pipelines.pipeline_probe import ProbeReport
from deeptool.pipelines.reuse import AskedUpload, differences
from deeptool.pipelines.settings_pipeline import sample_limit
from deeptool.settings import Settings
from deeptool.settings.pipeline_facts import PipelineFacts


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


FACTS = PipelineFacts(
    checkpoints=((1, "a"), (2, "b"), (5, "c")),
    end=5,
    element_spec="float32[?]",
    code={"get_input_pipeline": "1", "file:scaling.py": "2"},
)
LISTING = {"digest": "d", "names_digest": "n", "files": 1, "bytes": 10, "newest": 1.0}


def stored(facts: PipelineFacts | None = FACTS) -> Upload:
    kept = None if facts is None else facts.to_json()
    done = completed("u", data_hparams={"size": 3, "rate": float("nan")})
    return Upload(begun("u", raw_data=LISTING), completed=replace(done, pipeline=kept))


def now(facts: PipelineFacts = FACTS, **values: Any) -> ProbeReport:
    report = ProbeReport(
        facts=facts,
        session_name="s",
        proc_id=0,
        num_procs=1,
        hparams={"size": 3, "rate": float("nan"), "lr": 0.1},
        data_hparams={"size": 3},
        declared=None,
        limits=(None, None),
        raw_data=LISTING,
        settings_sha256="6" * 64,
    )
    return replace(report, **values)


@pytest.mark.parametrize(
    ("report", "asked", "difference"),
    [
        # Another settings file altogether, another learning rate: nothing of the samples.
        (now(), {}, None),
        (now(hparams={"size": 3, "rate": float("nan"), "lr": 9}), {}, None),
        (now(hparams={"size": 4, "rate": float("nan")}), {}, "size = 3 stored, 4 now"),
        (now(raw_data={**LISTING, "digest": "touched"}), {}, None),
        # All samples were read: what else the folder holds does not matter.
        (now(raw_data={**LISTING, "digest": "e", "names_digest": "m"}), {}, None),
        (
            now(replace(FACTS, end=None), raw_data={**LISTING, "digest": "e", "names_digest": "m"}),
            {},
            "raw data: 1 files",
        ),
        (now(replace(FACTS, end=None), raw_data=None), {}, "raw data: True stored, False now"),
        (now(num_procs=2), {}, "num_procs: 1 stored, 2 now"),
        (now(), {"epochs": 2}, "epochs: 1 stored, 2 now"),
        (now(), {"codec": "example"}, "codec: arrow stored, example now"),
        (now(), {"limit": 5}, "limit: None stored, 5 now"),
        (now(limits=(5, 5)), {}, "limit: None stored, 5 now"),
        (now(), {"auto_shard": True}, "auto_shard: False stored, True now"),
    ],
)
def test_what_makes_a_stored_dataset_another(
    report: ProbeReport, asked: dict[str, Any], difference: str | None
) -> None:
    found = differences(stored(), report, AskedUpload(**asked))
    assert (found == []) if difference is None else (difference in "; ".join(found))


def test_an_upload_without_facts_is_compared_by_its_settings_file() -> None:
    report = now(raw_data=LISTING)
    assert "the settings file has changed" in differences(stored(None), report, AskedUpload())[0]
    same = replace(report, settings_sha256="5" * 64)
    assert differences(stored(None), same, AskedUpload()) == []
