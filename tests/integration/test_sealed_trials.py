"""Trials of a sealed dataset: the same as those of the broker, without it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from paths import HELPERS

import deeptool
from deeptool import TrialResult
from deeptool.cli import cli
from deeptool.errors import DeeptoolError, UserError

pytestmark = pytest.mark.broker

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def settings(tmp_path: Path, session_name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that reads from a broker which is not there."""
    monkeypatch.chdir(tmp_path)
    for name in ("trial_settings.py", "trial_model.py"):
        text = (HELPERS / name).read_text().replace('"trial"', repr(session_name))
        kafka = f"consume_data_from_kafka = True\nkafka_bootstrap_servers = ['{NOWHERE}']\n"
        (tmp_path / name).write_text(kafka + text if name == "trial_settings.py" else text)
    return tmp_path / "trial_settings.py"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    if isinstance(result.exception, DeeptoolError):
        assert result.exception.exit_code == code, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def history(result: TrialResult) -> list[dict[str, str]]:
    with open(result.session_dir / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_trial_reads_a_sealed_dataset_as_the_broker(
    settings: Path, broker: str, session_name: str, tmp_path: Path
) -> None:
    run("produce", "-u", settings, "-s", broker, "--split", "both")
    run("seal", session_name, "--to", "digits", "--server", broker)
    stored = deeptool.train(settings, servers=broker, session_dir="stored")
    sealed = deeptool.train(settings, sealed="digits", session_dir="sealed")
    assert (stored.data_from, sealed.data_from) == ("kafka", "sealed")
    assert history(sealed) == history(stored)
    config = json.loads(Path("sealed/config.json").read_text())["data"]
    assert config["sealed"] == str(tmp_path / "digits")
    handles = [deeptool.open("digits", split=split) for split in ("train", "val")]
    assert config["uploads"] == [upload for data in handles for upload in data.upload_ids]
    # A trial with another data hparam would train on the wrong data.
    message = run(*("train", "-u", settings, "--from", "digits", "--hparam", "samples=80"), code=2)
    assert "samples" in message
    printed = run("train", "-u", settings, "--from", "digits", "--hparam", "epochs=1", "--json")
    assert json.loads(printed[printed.index("{\n") :])["data_from"] == "sealed"


def test_what_does_not_go_with_a_sealed_dataset(
    settings: Path, broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("produce", "-u", settings, "-s", broker, "--split", "train")
    run("seal", session_name, "--to", "digits", "--server", broker)
    train = ("train", "-u", settings, "--from", "digits")
    for more in (["--server", broker], ["--no-kafka"], ["--online"], ["--reader", "tfio"]):
        message = run(*train, *more, code=2)
        assert "a sealed dataset is read without a broker" in message
        assert more[0] in message
    # Of the environment, an address is for those that need one.
    monkeypatch.setenv("DEEPTOOL_SERVER", NOWHERE)
    message = run(*train, code=2)
    assert f"dataset {session_name}, split val, is not stored" in message
    assert "deeptool inspect" in message
    text = settings.read_text().replace(session_name, "other")
    settings.write_text(text)
    assert "not the one of the settings file" in run(*train, code=2)
    assert "there is no such sealed dataset" in run(*train[:-1], "nowhere", code=2)


def test_a_trial_is_resumed_from_a_folder_that_was_moved(
    settings: Path, broker: str, session_name: str
) -> None:
    run("produce", "-u", settings, "-s", broker, "--split", "both")
    run("seal", session_name, "--to", "digits", "--server", broker)
    whole = deeptool.train(settings, sealed="digits", session_dir="whole")
    stop = "import os, signal\n" + settings.read_text().replace(
        "    return {}",
        "    def stop(epoch, logs):\n"
        "        if epoch == 1:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return [tf.keras.callbacks.LambdaCallback(on_epoch_end=stop)]",
    )
    plain = settings.read_text()
    settings.write_text(stop)
    with pytest.raises(BaseException) as ended:  # noqa: PT011
        deeptool.train(settings, sealed="digits", session_dir="cut")
    assert not isinstance(ended.value, UserError)
    settings.write_text(plain)
    (Path("cut") / settings.name).write_text(plain)
    shutil.move("digits", "moved")
    with pytest.raises(UserError, match="no such sealed dataset"):
        deeptool.train(restart_from="cut")
    again = deeptool.train(restart_from="cut", sealed="moved")
    assert again.status == "complete"
    assert [row["loss"] for row in history(again)] == [row["loss"] for row in history(whole)]


def test_commands_take_a_folder(
    settings: Path, broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("produce", "-u", settings, "-s", broker, "--split", "both")
    run("seal", session_name, "--to", "digits", "--server", broker)
    monkeypatch.setenv("DEEPTOOL_SERVER", NOWHERE)
    for name in ("./digits", Path("digits").absolute()):
        assert "40" in run("inspect", name)
    monkeypatch.delenv("DEEPTOOL_SERVER")
    # In the working directory, without a server, the name is enough.
    rows = json.loads(run("inspect", "digits", "--json"))
    assert [(row["split"], row["samples"], row["state"]) for row in rows] == [
        ("train", 40, "complete"),
        ("val", 16, "complete"),
    ]
    there = json.loads(run("inspect", session_name, "--server", broker, "--json"))
    for here, row in zip(rows, there, strict=True):
        assert {k: v for k, v in here.items() if k not in ("age_seconds", "partitions")} == {
            k: v for k, v in row.items() if k not in ("age_seconds", "partitions")
        }
    run("view", "digits", "--output", "samples.png")
    assert Path("samples.png").read_bytes()[1:4] == b"PNG"
    assert run("check", "digits").count("as uploaded") == 2
    printed = run("check", "digits", "--split", "val", "--json")
    assert len(json.loads(printed[printed.index("[\n") :])) == 1
    assert "does not hold that" in run("check", "digits", "--procID", 3, code=2)
    (path,) = Path("digits").glob("*.train/*/rows.arrow")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    message = run("check", "digits", code=1)
    assert "stored samples are damaged" in message
    assert "copy the folder again" in message
