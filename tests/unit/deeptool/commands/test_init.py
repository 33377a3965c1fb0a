"""The files that `deeptool init` writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from deeptool.commands.init import command
from deeptool.errors import UserError
from deeptool.settings import load_settings
from hpc.campaign.plan import make_plan
from hpc.campaign.toml_file import load


def test_they_load_and_the_campaign_fits_them(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    campaign = tmp_path / "new" / "campaign.toml"
    assert done.output.endswith(f"next: deeptool-hpc launch {campaign}\n")
    settings = load_settings(tmp_path / "new" / "mysettings.py")
    assert settings.warnings == ()
    assert settings.build_model().count_params() > 0
    trials = make_plan(load(campaign), "id").of("trial")
    assert len(trials) == 4
    assert all(trial.hparams.keys() <= settings.hparams.keys() for trial in trials)


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("mine")
    with pytest.raises(UserError, match=r"overwrites no file, and model\.py is there"):
        CliRunner().invoke(command, [str(tmp_path)], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        CliRunner().invoke(command, [str(tmp_path / "file" / "new")], catch_exceptions=False)
