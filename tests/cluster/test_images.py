"""The images, really built and run as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_builds import ROOT, Images, build_image
from kafka import KafkaConsumer, KafkaProducer

from deeptool.files import sha256
from hpc.broker import ports
from hpc.images.builder import NAMES
from hpc.processes.service import Service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

SETTINGS = "examples/regression/mysettings_curve_fitting.py"


@pytest.fixture(scope="module")
def address(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker and its ZooKeeper, run from the images by their runscripts."""
    home = tmp_path_factory.mktemp("servers")
    port, metadata_port = ports.free_ports("127.0.0.1", 2)
    for name in ("kafka", "zookeeper"):
        (home / name).mkdir()
    (home / "zookeeper.properties").write_text(
        f"dataDir=/servers/zookeeper\nclientPort={metadata_port}\n"
        "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
    )
    (home / "broker.properties").write_text(
        f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs=/servers/kafka\n"
        f"zookeeper.connect=127.0.0.1:{metadata_port}\nzookeeper.connection.timeout.ms=60000\n"
        "offsets.topic.replication.factor=1\nmessage.max.bytes=68157440\n"
    )

    def server(name: str, image: Path, properties: str) -> Service:
        options = ["--cleanenv", "--no-home", "--bind", f"{home}:/servers"]
        argv = ["apptainer", "run", *options, str(image), f"/servers/{properties}"]
        return Service(name, argv, home / f"{name}.log")

    servers = [
        server("zookeeper", images.zookeeper, "zookeeper.properties"),
        server("broker", images.kafka, "broker.properties"),
    ]
    try:
        for service in servers:
            service.start()
        deadline = time.monotonic() + 60
        while "started (kafka.server.KafkaServer)" not in servers[1].output():
            for service in servers:
                service.check()
            assert time.monotonic() < deadline, servers[1].output()
            time.sleep(0.1)
        yield f"localhost:{port}"
    finally:
        for service in reversed(servers):
            service.stop(20)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, without the packages: those are the image's."""
    folder = tmp_path_factory.mktemp("experiment")
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in ("start_kafka_producer.py", "experiments_manager.py"):
        shutil.copy(ROOT / name, folder)
    return folder


def run(folder: Path, *command: str) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_its_own_test_passes(images: Images, tmp_path: Path, name: str) -> None:
    output = run(tmp_path, "apptainer", "test", str(getattr(images, name)))
    assert ("codecs arrow, example give back" if name == "tensorflow" else "Kafka 3.9.2") in output


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(images: Images, tmp_path: Path, name: str) -> None:
    image = str(getattr(images, name))
    assert "apptainer run" in run(tmp_path, "apptainer", "run-help", image)
    labels = json.loads(run(tmp_path, "apptainer", "inspect", "--json", image))
    found = labels["data"]["attributes"]["labels"]
    assert found["org.opencontainers.image.title"] == name
    version = "0.1.0" if name == "tensorflow" else "3.9.2"
    assert found["org.opencontainers.image.version"] == version


@pytest.mark.skipif("DEEPTOOL_TEST_IMAGES" in os.environ, reason="the images are ready ones")
@pytest.mark.parametrize("name", NAMES)
def test_what_has_not_changed_is_not_built_again(images: Images, name: str) -> None:
    image = getattr(images, name)
    before = image.stat()
    output = build_image(name)
    assert "built 0 of 1" in output
    assert f"sha256 {sha256(image)}" in output
    assert (image.stat().st_mtime_ns, image.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    sums = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=image.parent, capture_output=True, text=True
    )
    assert sums.returncode == 0, sums.stdout + sums.stderr
    assert f"{name}.sif: OK" in sums.stdout


def test_a_record_makes_its_way_through_the_servers_of_the_images(address: str) -> None:
    # 2 MiB: the file that the runscript was given is the one that the broker reads.
    record = os.urandom(2 << 20)
    producer = KafkaProducer(bootstrap_servers=address, max_request_size=4 << 20)
    assert producer.send("round-trip", record).get(30).offset == 0
    producer.close()
    consumer = KafkaConsumer(
        "round-trip",
        bootstrap_servers=address,
        auto_offset_reset="earliest",
        consumer_timeout_ms=30_000,
        fetch_max_bytes=8 << 20,
        max_partition_fetch_bytes=8 << 20,
    )
    assert next(consumer).value == record
    consumer.close()


def test_upload_and_training_by_the_commands_as_they_are_written(
    images: Images, address: str, experiment: Path
) -> None:
    singularity = ("singularity", "run", "--nv", str(images.tensorflow))
    upload = ("start_kafka_producer.py", "--server", address, "--procID", "0")
    for split in ((), ("--isvalidationdata",)):
        run(experiment, *singularity, *upload, "--usersettings", SETTINGS, *split)
    stored = json.loads(
        subprocess.run(
            ["apptainer", "exec", str(images.tensorflow), "deeptool", "inspect"]
            + ["--server", address, "--json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    )
    assert "curve_fitting" in json.dumps(stored)
    settings = experiment / SETTINGS
    text = settings.read_text()
    text = text.replace("consume_data_from_kafka = False", "consume_data_from_kafka = True")
    settings.write_text(text.replace("localhost:9092", address))
    trial = ("experiments_manager.py", "--usersettings", SETTINGS, "--hparam", "nbEpoch=2")
    run(experiment, *singularity, *trial)
    (result,) = (experiment / "experiments").rglob("result.json")
    trained = json.loads(result.read_text())
    assert trained["status"] == "complete"
    assert trained["data_from"] == "kafka"
    assert trained["epochs_run"] == 2
