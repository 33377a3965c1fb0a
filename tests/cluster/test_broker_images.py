"""A broker and its ZooKeeper in images: ready, asked to end, and their supervisor killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from image_builds import Images
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from hpc.broker import passwords
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker
from hpc.broker.node import MODES, Mode
from hpc.processes import apptainer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
CASES = [("zookeeper", False), ("kraft", True)]


def command(name: str, directory: Path, *arguments: str | Path) -> list[str]:
    argv = ["broker", name, "--dir", directory, *arguments]
    return [sys.executable, "-m", "hpc.cli", *map(str, argv)]


def up(images: Images, directory: Path, mode: Mode, secret: Path | None) -> subprocess.Popen[str]:
    argv = command("up", directory, "--mode", mode)
    argv += ["--kafka-image", str(images.kafka), "--zookeeper-image", str(images.zookeeper)]
    argv += ["--secret", str(secret)] if secret else []
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def ready(supervisor: subprocess.Popen[str]) -> tuple[str, list[psutil.Process]]:
    """The broker's address, and all processes below its supervisor."""
    assert supervisor.stdout is not None
    bootstrap = supervisor.stdout.readline().strip()
    assert bootstrap, "it has ended"
    family = psutil.Process(supervisor.pid).children(recursive=True)
    assert "java" in {process.name() for process in family}
    return bootstrap, family


def login(secret: Path | None) -> dict[str, str]:
    if secret is None:
        return {}
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": passwords.MECHANISM,
        "sasl_plain_username": passwords.USER,
        "sasl_plain_password": passwords.read(secret),
    }


@pytest.mark.timed
@pytest.mark.parametrize(("mode", "secured"), CASES)
def test_a_broker_in_images_is_asked_to_end_and_comes_back(
    images: Images, tmp_path: Path, mode: Mode, secured: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "b"
    secret = passwords.create(tmp_path / "secret") if secured else None
    for count in (1, 2):
        began = time.monotonic()
        supervisor = up(images, directory, mode, secret)
        bootstrap, family = ready(supervisor)
        with capsys.disabled():
            print(f"\n{mode} in images: ready in {time.monotonic() - began:.1f} s")
        if count == 1:
            admin = KafkaAdminClient(bootstrap_servers=bootstrap, **login(secret))
            admin.create_topics([NewTopic("kept", 1, 1)])
            admin.close()
        producer = KafkaProducer(bootstrap_servers=bootstrap, **login(secret))
        producer.send("kept", b"%d" % count).get(timeout=30)
        producer.close()
        began = time.monotonic()
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 10
        _, alive = psutil.wait_procs(family, 5)
        assert not alive
    log = (directory / "logs" / "broker.log").read_text()
    assert log.lower().count("shut down completed") + log.count("shutdown completed") > 1
    with EmbeddedBroker(BrokerOptions(directory, secret=secret)) as outside:
        consumer = KafkaConsumer(
            bootstrap_servers=outside.bootstrap, consumer_timeout_ms=20_000, **login(secret)
        )
        consumer.assign([TopicPartition("kept", 0)])
        consumer.seek_to_beginning()
        assert [next(consumer).value, next(consumer).value] == [b"1", b"2"]
        consumer.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_supervisor_killed_leaves_no_process(images: Images, tmp_path: Path, mode: Mode) -> None:
    supervisor = up(images, tmp_path / "b", mode, None)
    _, family = ready(supervisor)
    supervisor.kill()
    supervisor.wait()
    _, alive = psutil.wait_procs(family, 10)
    assert not alive, "neither JVM, Apptainer nor what serves its image's file system"


def test_a_broker_in_an_image_killed_and_started_again(images: Images, tmp_path: Path) -> None:
    inside = apptainer.Images(images.kafka, images.zookeeper, apptainer.find())
    with EmbeddedBroker(BrokerOptions(tmp_path / "b", "kraft", images=inside)) as server:
        family = psutil.Process().children(recursive=True)
        server.kill()
        _, alive = psutil.wait_procs(family, 10)
        assert not alive
        server.restart()
        assert server.cpu_seconds() > 1
        argv = psutil.Process(server.pids["broker"]).cmdline()
        assert str(images.kafka) in argv
        assert "--cleanenv" in argv


def test_an_image_that_is_not_there(images: Images, tmp_path: Path) -> None:
    argv = command("up", tmp_path / "b", "--kafka-image", tmp_path / "none.sif")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "make build-sif" in done.stderr
    assert json.dumps(str(tmp_path / "none.sif"))[1:-1] in done.stderr
    assert os.listdir(tmp_path) == []
