"""What a broker is asked for, and what that comes to on a folder that was used before."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from deeptool.errors import UserError
from hpc.broker.broker_state import BrokerState
from hpc.broker.embedded import BrokerOptions, Metadata, settle
from hpc.broker.ports import free_ports


def test_settle_makes_a_new_broker(tmp_path: Path) -> None:
    settled = settle(BrokerOptions(tmp_path))
    assert (settled.mode, settled.host) == ("zookeeper", "127.0.0.1")
    assert settled.port != settled.metadata_port
    assert settled.data == tmp_path / "data"


def test_settle_comes_back_with_the_same_ports(tmp_path: Path) -> None:
    port, metadata_port = free_ports("127.0.0.1", 2)
    before = BrokerState(mode="kraft", host="127.0.0.1", port=port, metadata_port=metadata_port)
    settled = settle(BrokerOptions(tmp_path), before)
    assert (settled.mode, settled.port, settled.metadata_port) == ("kraft", port, metadata_port)
    (other,) = free_ports("127.0.0.1", 1)
    assert settle(BrokerOptions(tmp_path, port=other), before).port == other


def test_settle_refuses_another_mode(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another mode") as caught:
        settle(BrokerOptions(tmp_path, mode="kraft"), BrokerState(mode="zookeeper"))
    assert "--mode zookeeper" in str(caught.value)


def test_settle_refuses_a_folder_that_kafka_would_misread(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="comma"):
        settle(BrokerOptions(tmp_path / "a,b"))


@pytest.mark.parametrize("asked", [True, False])
def test_settle_refuses_a_port_that_is_taken(tmp_path: Path, asked: bool) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(UserError, match="something else listens") as caught:
            settle(
                BrokerOptions(tmp_path, port=port if asked else None),
                None if asked else BrokerState(port=port),
            )
        assert f"127.0.0.1:{port}" in str(caught.value)
        # Clients know nothing of ZooKeeper's port: that one may change.
        assert (
            settle(BrokerOptions(tmp_path), BrokerState(metadata_port=port)).metadata_port != port
        )


def test_settle_takes_another_port_where_none_was_insisted_on(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        settled = settle(BrokerOptions(tmp_path, port_fixed=False), BrokerState(port=port))
        assert settled.port != port
    assert settle(BrokerOptions(tmp_path, port_fixed=False), BrokerState(port=port)).port == port


def test_settle_joins_a_cluster(tmp_path: Path) -> None:
    joining = BrokerOptions(tmp_path, node=1, nodes=2, metadata=Metadata("10.0.0.1:2181"))
    settled = settle(joining)
    assert (settled.node_id, settled.metadata) == (2, "10.0.0.1:2181")
    assert settle(BrokerOptions(tmp_path, nodes=2, replication=2)).metadata.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "state", "seen"),
    [
        ({"node": 2, "nodes": 2}, {}, "node 2 of 2"),
        ({"replication": 2}, {}, "replication 2, 1 brokers"),
        ({"replication": 0}, {}, "replication 0"),
        ({"node": 1, "nodes": 2}, {}, "metadata None"),
        ({"metadata": Metadata("h:1")}, {}, "node 0, metadata"),
        ({"node": 1, "nodes": 2, "metadata": Metadata("h:1")}, {"node": 0}, "node 1 on"),
        ({"node": 1, "nodes": 2, "metadata": Metadata("h:1", "id")}, {}, "cluster id 'id'"),
        ({"node": 1, "nodes": 2, "metadata": Metadata("h:1"), "mode": "kraft"}, {}, "id ''"),
    ],
)
def test_settle_refuses_what_is_no_node_of_a_cluster(
    tmp_path: Path, options: dict[str, Any], state: dict[str, Any], seen: str
) -> None:
    with pytest.raises(UserError) as caught:
        settle(BrokerOptions(tmp_path, **options), BrokerState(**state))
    assert seen in str(caught.value.seen)
