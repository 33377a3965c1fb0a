"""What jobs ask for: times, the layers of [slurm], the site file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deeptool.errors import UserError
from hpc.campaign import site_file
from hpc.campaign.definition import Campaign
from hpc.campaign.toml_file import load
from hpc.slurm.resources import SlurmOptions, minutes, slurm_options

CAMPAIGN = 'name = "c"\nsettings = "settings.py"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("90", 90), ("1:30:00", 90), ("10:30", 11), ("2-12", 3600), ("1-0:30", 1470)),
        *(("0:00:01", 1), ("1-00:00:00", 1440)),
    ],
)
def test_times_as_slurm_writes_them(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "1h", "0", "0:00:00", "-5", "1-2-3"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="a time"):
        minutes(text)


def test_a_role_comes_over_all_jobs_and_these_over_the_defaults() -> None:
    slurm = SlurmOptions.model_validate_json(
        '{"time": 60, "cpus": 4, "setup": ["module load apptainer"], "extra": {"qos": "long"},'
        ' "train": {"time": "2:00:00", "gpus": 2, "extra": {"nice": 10}}}'
    )
    train, broker = slurm.role("train"), slurm.role("broker")
    assert (train.time, train.cpus, train.gpus) == ("2:00:00", 4, 2)
    assert train.extra == {"qos": "long", "nice": 10}
    assert (broker.time, broker.gpus, broker.setup) == ("60", None, ("module load apptainer",))
    assert SlurmOptions().role("train").gpus == 1
    none = SlurmOptions.model_validate_json('{"train": {"gpus": 0}}').role("train")
    assert none.gpus == 0


def test_a_walltime_must_be_said() -> None:
    with pytest.raises(UserError, match="need a walltime") as caught:
        SlurmOptions.model_validate_json('{"broker": {"time": 5}}').check_complete()
    assert caught.value.seen == "none for producers, train"
    SlurmOptions.model_validate_json('{"time": 5}').check_complete()


def test_a_walltime_is_missed_when_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("")
    (tmp_path / "c.toml").write_text('name = "c"\nsettings = "settings.py"\nbackend = "slurm"\n')
    with pytest.raises(UserError, match="need a walltime"):
        load(tmp_path / "c.toml")
    assert load(tmp_path / "c.toml", backend="local").backend == "local"
    assert load(tmp_path / "c.toml", sets=("slurm.time=5",)).backend == "slurm"


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "settings.py").write_text("")

    def make(campaign: str, defaults: str | None = None, **how: Any) -> Campaign:
        (tmp_path / "c.toml").write_text(CAMPAIGN + campaign)
        if defaults is not None:
            (tmp_path / "site.toml").write_text(defaults)
            monkeypatch.setenv(site_file.ENV, str(tmp_path / "site.toml"))
        return load(tmp_path / "c.toml", **how)

    return make


def test_a_campaign_comes_over_the_site_file(read: Any) -> None:
    campaign = read(
        "[slurm]\ntime = 60\n",
        'backend = "slurm"\n[slurm]\ntime = 5\npartition = "main"\n[broker]\ninterface = "ib0"\n',
    )
    assert (campaign.backend, slurm_options(campaign).time) == ("slurm", "60")
    assert (slurm_options(campaign).partition, campaign.broker.interface) == ("main", "ib0")
    # What the backend brings with it.
    assert campaign.in_images
    assert campaign.secured
    local = read("", backend="local")
    assert not (local.in_images)
    assert not (local.secured)
    assert read("", backend="local", images=True).in_images


def test_a_users_site_file_comes_over_that_of_the_machine(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(site_file.ENV, raising=False)
    for name, text in {
        "DIRS": 'backend = "slurm"\n[slurm]\ntime = 5\npartition = "all"\n',
        "HOME": '[slurm]\npartition = "mine"\n',
    }.items():
        folder = tmp_path / name / "deeptool"
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(text)
        monkeypatch.setenv(f"XDG_CONFIG_{name}", str(tmp_path / name))
    campaign = read("")
    options = slurm_options(campaign)
    assert (campaign.backend, options.time, options.partition) == ("slurm", "5", "mine")


def test_a_site_file_that_will_not_do(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="not allowed in the site file") as caught:
        read("", "[trials]\nmax_parallel = 3\n")
    assert str(caught.value.seen).startswith("trials in ")
    with pytest.raises(UserError, match="cannot be read"):
        read("", "backend = ")
    monkeypatch.setenv(site_file.ENV, "/no/such/site.toml")
    with pytest.raises(UserError, match="there is no such site file"):
        read("")


def test_more_copies_than_brokers(read: Any) -> None:
    with pytest.raises(UserError) as caught:
        read("[broker]\ncount = 2\nreplication = 3\n")
    assert "a replication of at most count, 2" in str(caught.value)
