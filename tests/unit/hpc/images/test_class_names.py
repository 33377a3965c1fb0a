"""The class names that images are built with, noted by brokers of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deeptool.errors import WorkError
from hpc.broker import jars
from hpc.images import class_names


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    monkeypatch.setattr(jars, "java", lambda: tmp_path / "jre" / "bin" / "java")
    monkeypatch.setattr(jars, "kafka_jars", lambda **_: folder)
    return folder


class Broker:
    """Notes its mode's name as a class, or fails."""

    started: list[str]
    fails: bool

    def __init__(self, options: Any) -> None:
        self.mode = options.mode

    def start(self) -> None:
        Broker.started.append(self.mode)
        if Broker.fails:
            raise WorkError("the broker was not ready in time")
        path = jars.kafka_jars() / f"classes-java-unknown-{self.mode}.txt"
        path.write_text(f"kafka/Kafka\nkafka/{self.mode}\n")

    def stop(self) -> None:
        pass


@pytest.fixture(params=[False, True])
def fails(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(class_names, "EmbeddedBroker", Broker)
    Broker.started, Broker.fails = [], request.param
    return Broker.fails


def test_each_mode_is_started_once(cache: Path, fails: bool) -> None:
    lines: list[str] = []
    class_names.note_class_names(lines.append)
    assert Broker.started == ["zookeeper", "kraft"]
    if fails:
        assert "more slowly: the broker was not ready" in lines[-1]
        assert class_names.known_class_names() == ""
        return
    assert class_names.known_class_names() == "kafka/Kafka\nkafka/zookeeper\nkafka/kraft\n"
    class_names.note_class_names(lines.append)
    assert len(Broker.started) == 2
