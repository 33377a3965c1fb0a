"""Campaign files: what they may say, and what is said of those that say something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from deeptool.errors import UserError
from hpc.campaign.definition import Campaign
from hpc.campaign.sampling import Range, draw
from hpc.campaign.toml_file import differences, dump, load

SMALL = """
name = "small"
settings = "settings.py"
[trials]
grid = { lr = [0.1, 0.01], units = [4, 8] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "settings.py").write_text("hparams = {}\n")
    return tmp_path


def read(folder: Path, text: str, **options: Any) -> Campaign:
    file = folder / "campaign.toml"
    file.write_text(text)
    return load(file, **options)


def refused(folder: Path, text: str, **options: Any) -> list[str]:
    """The lines of the error, those in the middle stripped."""
    with pytest.raises(UserError) as caught:
        read(folder, text, **options)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    campaign = read(folder, SMALL)
    assert campaign.folder == folder / "runs" / "small"
    assert campaign.settings == folder / "settings.py"
    assert campaign.broker.mode == "zookeeper"
    assert campaign.broker.keep_data
    assert campaign.producers.split == "both"
    assert [variant.procID for variant in campaign.variants] == [0]
    assert campaign.trials is not None
    assert campaign.trials.max_parallel == 1
    assert campaign.trials.rows() == (
        {"lr": 0.1, "units": 4},
        {"lr": 0.1, "units": 8},
        {"lr": 0.01, "units": 4},
        {"lr": 0.01, "units": 8},
    )


def test_all_that_is_wrong_is_said_at_once(folder: Path) -> None:
    lines = refused(
        folder,
        """
        name = "no spaces"
        settings = "nowhere.py"
        colour = 3
        [broker]
        mode = "zk"
        memmory = "3g"
        [producers]
        epochs = 0
        auto_shard = "yes"
        variants = [{procID = "a", hparams = {a = {b = 1}}}]
        [trials]
        max_parallel = 1.5
        random = {samples = 3, space = {lr = {low = 1, hig = 3}, k = []}}
        """,
    )
    assert lines[0] == f"{folder / 'campaign.toml'}: 13 things to correct"
    assert f"settings: seen 'nowhere.py', valid: a file that exists: there is no {folder}" in (
        "\n".join(lines)
    )
    for line in (
        "broker.mode: seen 'zk', valid: 'zookeeper' or 'kraft'",
        "producers.variants[0].procID: seen 'a', valid: a valid integer",
        "producers.epochs: seen 0, valid: greater than or equal to 1",
        "producers.auto_shard: seen 'yes', valid: a valid boolean",
        "trials.max_parallel: seen 1.5, valid: a valid integer",
        "trials.random.space.lr.high: missing",
        "trials.random.space.lr.hig: unknown key (did you mean high?); valid: low, high, log",
        "colour: unknown key; valid: name, settings, hparams, run_dir, broker, producers, data,"
        " trials, report, backend, images, slurm",
    ):
        assert line in lines
    (memory,) = [line for line in lines if line.startswith("broker.memmory")]
    assert "did you mean memory?" in memory
    (hparam,) = [line for line in lines if line.startswith("producers.variants[0].hparams.a")]
    assert "a number, a string, true, false, or a list of these" in hparam


@pytest.mark.parametrize(
    ("addition", "key", "valid"),
    [
        ("[broker]\nbootstrap_servers=['a:1']\nmode='kraft'", "broker", "or mode (its own)"),
        ("[broker]\nclient_properties='settings.py'", "broker", "with bootstrap_servers only"),
        ("[producers]\nauto_shard=true", "producers", "auto_shard with num_procs only"),
        ("[producers]\nvariants=[{procID=0},{procID=0}]", "producers", "not [0, 0]"),
        ("[producers]\nreplace=true\nupload=false", "producers", "upload = false only"),
    ],
)
def test_what_excludes_each_other(folder: Path, addition: str, key: str, valid: str) -> None:
    lines = refused(folder, SMALL + addition)
    assert lines[2].startswith(f"{key}: valid: ")
    assert lines[2].endswith(valid)


def test_a_sealed_dataset_is_beside_the_file_and_needs_neither_broker_nor_producers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "digits").mkdir()
    sealed = "[data]\nsealed = 'digits'\n"
    campaign = read(folder, SMALL + sealed)
    assert campaign.data.sealed == folder / "digits"
    # What a site says of its Kafka does not matter.
    campaign = read(folder, SMALL + sealed + "[broker]\nbootstrap_servers = ['h:1']\n")
    assert not any((campaign.uploads, campaign.own_broker, campaign.secured))
    replaced = SMALL + sealed + "[producers]\nreplace = true"
    assert "producers.replace with uploads only" in "".join(refused(folder, replaced))
    online = SMALL + "online = true\n" + sealed
    assert "trials.online with uploads only, not where data.sealed" in "".join(
        refused(folder, online)
    )
    without = SMALL[: SMALL.index("[trials]")] + sealed
    assert "[trials], where data.sealed is set: else nothing runs" in "".join(
        refused(folder, without)
    )


@pytest.mark.parametrize(
    ("trials", "valid"),
    [
        ("", "else nothing runs"),
        ("[trials]\nlist=[{a=1}]\nonline=true", "producers.upload is false"),
    ],
)
def test_a_campaign_without_producers(folder: Path, trials: str, valid: str) -> None:
    lines = refused(folder, f'name="a"\nsettings="settings.py"\nproducers.upload=false\n{trials}')
    assert lines[2].endswith(valid)


@pytest.mark.parametrize(
    ("trials", "valid"),
    [
        ("max_parallel = 2", "exactly one of grid, list and random"),
        ("list = [{a = 1}]\ngrid = {a = [1]}", "exactly one of grid, list and random"),
        ("list = [{a = 1}, {a = 2}, {a = 1}]", "each trial once; said again: [{'a': 1}]"),
        ("random = {samples = 3, space = {a = [1, 2]}}", "2 found of 3"),
        ("random = {samples = 3, space = {a = {low = 2, high = 1}}}", "not 2 and 1"),
        ("random = {samples = 3, space = {a = {low = 0, high = 1, log = true}}}", "not 0"),
        ("grid = {a = [inf]}", "a finite number"),
    ],
)
def test_trials_that_are_none(folder: Path, trials: str, valid: str) -> None:
    lines = refused(folder, f'name = "a"\nsettings = "settings.py"\n[trials]\n{trials}')
    assert len(lines) == 3
    assert lines[2].endswith(valid)


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    assert "is not TOML" in refused(folder, "name = ")[0]
    with pytest.raises(UserError, match="cannot be read"):
        load(folder / "nowhere.toml")
    with pytest.raises(UserError, match="cannot be read"):
        load(folder)
    (folder / "search.toml").write_text(SMALL)
    with pytest.raises(UserError, match=r"did you mean search\.toml\?"):
        load(folder / "serach.toml")


def test_the_command_line_changes_it(folder: Path) -> None:
    campaign = read(
        folder,
        SMALL,
        sets=["broker.memory=1g", "producers.epochs=3", "hparams.nbEpoch=2"],
        grids=["lr=0.5", "act=relu,tanh"],
        run_dir=folder / "elsewhere",
        max_parallel=3,
    )
    assert campaign.broker.memory == "1g"
    assert campaign.producers.epochs == 3
    assert campaign.hparams == {"nbEpoch": 2}
    assert campaign.folder == folder / "elsewhere"
    assert campaign.trials is not None
    assert campaign.trials.max_parallel == 3
    assert campaign.trials.grid == {"lr": (0.5,), "units": (4, 8), "act": ("relu", "tanh")}


def test_a_grid_takes_the_place_of_a_list(folder: Path) -> None:
    text = 'name = "a"\nsettings = "settings.py"\n[trials]\nlist = [{lr = 1}]\nmax_parallel = 2'
    trials = read(folder, text, grids=["lr=0.1,0.01"]).trials
    assert trials is not None
    assert trials.rows() == ({"lr": 0.1}, {"lr": 0.01})
    assert trials.max_parallel == 2


@pytest.mark.parametrize("options", [{"sets": ["memory"]}, {"grids": ["=1"]}])
def test_half_an_option(folder: Path, options: dict[str, Any]) -> None:
    assert "takes a key and a value" in refused(folder, SMALL, **options)[0]


def test_set_below_a_value(folder: Path) -> None:
    assert refused(folder, SMALL, sets=["name.first=1"])[0] == "name is a table in a campaign"


def test_random_trials_are_the_same_each_time_and_grow_at_the_end() -> None:
    space = {
        "lr": Range(low=1e-4, high=1e-1, log=True),
        "n": Range(low=1, high=9),
        "act": ["a", "b"],
    }
    ten, three = draw(space, 10, seed=5), draw(space, 3, seed=5)
    assert ten[:3] == three
    assert draw(space, 3, seed=6) != three
    assert len({str(row) for row in ten}) == 10
    for row in draw(space, 200, seed=0):
        assert 1e-4 <= row["lr"] <= 1e-1
        assert row["lr"] == float(f"{row['lr']:.4g}")
        assert isinstance(row["n"], int)
        assert 1 <= row["n"] <= 9


def test_a_logarithmic_range_is_even_in_its_logarithm() -> None:
    rows = draw({"lr": Range(low=1e-4, high=1.0, log=True)}, 400, seed=0)
    below = sum(row["lr"] < 1e-2 for row in rows)
    assert 160 < below < 240
    whole = [row["n"] for row in draw({"n": Range(low=1, high=1000, log=True)}, 300, seed=0)]
    assert all(isinstance(n, int) and 1 <= n <= 1000 for n in whole)
    assert min(whole) == 1


def test_what_a_run_folder_keeps_says_what_changed(folder: Path) -> None:
    before = dump(read(folder, SMALL))
    assert before == dump(read(folder, SMALL))
    (folder / "settings.py").write_text("hparams = {'a': 1}\n")
    after = dump(read(folder, SMALL, grids=["lr=0.5"], sets=["broker.memory=1g"]))
    changed = differences(before, after)
    assert set(changed) == {"trials.grid.lr", "broker.memory"}
    assert changed["trials.grid.lr"] == "[0.1, 0.01] -> [0.5]"
    assert changed["broker.memory"] == '"512m" -> "1g"'


@pytest.mark.filterwarnings("error")
def test_what_a_run_folder_keeps_of_a_random_sample(folder: Path) -> None:
    space = "{lr = {low = 1, high = 2, log = true}, units = [4, 8]}"
    text = f'name = "a"\nsettings = "settings.py"\n[trials.random]\nsamples = 2\nspace = {space}'
    assert dump(read(folder, text))["trials"]["random"] == {
        "samples": 2,
        "seed": 0,
        "space": {"lr": {"low": 1, "high": 2, "log": True}, "units": [4, 8]},
    }


def test_the_examples_can_be_read() -> None:
    files = sorted((ROOT / "examples" / "campaigns").glob("*.toml"))
    assert [file.name for file in files] == ["digits.toml", "shards.toml"]
    for file in files:
        campaign = load(file)
        assert campaign.name == file.stem
        assert campaign.trials is not None
        assert campaign.trials.rows()
