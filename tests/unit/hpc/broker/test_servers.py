"""The processes of a broker's start: which, in what order, with which command lines.

After a wanted change: UPDATE_GOLDEN=1 pytest tests/unit/hpc/broker, and read the diff.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpc.broker.node import MODES, BrokerNode, Mode
from hpc.broker.servers import (
    BrokerSetup,
    DataState,
    Runtime,
    ServerProcess,
    common_files,
    renews_user,
    start_order,
)
from hpc.processes.apptainer import Images

GOLDEN = Path(__file__).with_name("golden")
HOME = Path("/run/b")
JAAS = HOME / "private" / "jaas.conf"
NEW = DataState(formatted=False, user_missing=False, new_cluster_id="id")
PASSWORD = "correct-horse-battery"


def make(mode: Mode, secured: bool = False) -> BrokerSetup:
    node = BrokerNode(
        mode, "127.0.0.1", 20001, 20002, HOME / "data", jaas=JAAS if secured else None
    )
    runtime = Runtime(Path("/jre/bin/java"), Path("/cache/kafka"))
    return BrokerSetup(node, HOME, runtime, "512m", password=PASSWORD if secured else None)


def names(setup: BrokerSetup, data: DataState) -> list[str]:
    return [process.name for process in start_order(setup, data)]


def broker(setup: BrokerSetup) -> ServerProcess:
    return start_order(setup, NEW)[-1]


@pytest.mark.parametrize(
    ("mode", "node", "formatted", "user_missing", "expected"),
    [
        ("zookeeper", 0, False, False, ["zookeeper", "broker"]),
        ("zookeeper", 0, False, True, ["zookeeper", "user", "broker"]),
        ("zookeeper", 0, True, True, ["zookeeper", "user", "broker"]),
        ("zookeeper", 1, False, False, ["broker"]),
        ("kraft", 0, False, True, ["format", "broker"]),
        ("kraft", 0, True, True, ["broker"]),
        ("kraft", 1, False, False, ["format", "broker"]),
    ],
)
def test_the_order_of_a_start(
    mode: Mode, node: int, formatted: bool, user_missing: bool, expected: list[str]
) -> None:
    setup = make(mode, secured=user_missing)
    setup = replace(setup, node=replace(setup.node, node=node))
    data = DataState(formatted, user_missing, "id")
    assert names(setup, data) == expected
    # A user that an earlier start has put into a KRaft broker's data is changed when it is up.
    assert renews_user(setup, data) == (mode == "kraft" and formatted and user_missing)


def test_the_brokers_command_line() -> None:
    text = "\n".join(broker(make("zookeeper")).argv) + "\n"
    path = GOLDEN / "broker.argv"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_the_class_archive_is_named_where_there_is_one_else_the_classes_are_noted() -> None:
    plain = make("kraft")
    quick = replace(plain, runtime=replace(plain.runtime, archive=Path("/cache/kafka/c.jsa")))
    first = replace(plain, runtime=replace(plain.runtime, class_names=Path("/cache/kafka/c.txt")))
    argv = set(broker(plain).argv)
    assert set(broker(quick).argv) - argv == {"-XX:SharedArchiveFile=/cache/kafka/c.jsa"}
    noted = "-XX:DumpLoadedClassList=/run/b/tmp/broker.classes"
    assert set(broker(first).argv) - argv == {noted}


@pytest.mark.parametrize("mode", MODES)
def test_the_password_is_in_private_files_only(mode: Mode) -> None:
    setup = make(mode, secured=True)
    data = DataState(formatted=False, user_missing=True, new_cluster_id="id")
    processes = start_order(setup, data)
    for process in processes:
        assert PASSWORD not in " ".join(process.argv)
        assert f"-Djava.security.auth.login.config={JAAS}" in process.argv
    files = [*common_files(setup), *(file for process in processes for file in process.files)]
    holders = {file.path.name: file for file in files if PASSWORD in file.text}
    tool = {"zookeeper": "user.properties", "kraft": "format.args"}[mode]
    assert holders.keys() == {"jaas.conf", tool}
    assert all(file.private and "private" in file.path.parts for file in holders.values())
    assert (holders["jaas.conf"].passing, holders[tool].passing) == (False, True)


def test_in_images_each_server_has_its_own_and_a_guard() -> None:
    images = Images(Path("/i/kafka.sif"), Path("/i/zookeeper.sif"), "apptainer")
    zookeeper, server = start_order(replace(make("zookeeper"), images=images), NEW)
    assert zookeeper.guard
    assert server.guard
    assert "/i/zookeeper.sif" in zookeeper.argv
    assert "/i/kafka.sif" in server.argv
    assert server.argv[:2] == ("apptainer", "exec")
    assert not broker(make("zookeeper")).guard
