"""What a broker's data folder says before a start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpc.broker.broker_options import Metadata
from hpc.broker.data_folder import cluster_id, note_user, read_data_state
from hpc.broker.node import BrokerNode


def make(tmp_path: Path, number: int = 0) -> BrokerNode:
    node = BrokerNode("kraft", "127.0.0.1", 1, 2, tmp_path / "data", number)
    node.log_dir.mkdir(parents=True)
    return node


def test_a_new_folder_gets_a_cluster_id_of_its_own(tmp_path: Path) -> None:
    node = make(tmp_path)
    first, second = (read_data_state(node, None, None) for _ in range(2))
    assert not first.formatted
    assert len(first.new_cluster_id) == 22
    assert first.new_cluster_id != second.new_cluster_id
    joining = read_data_state(node, None, Metadata("h:1", "of-node-0"))
    assert joining.new_cluster_id == "of-node-0"


def test_a_formatted_folder_knows_its_cluster(tmp_path: Path) -> None:
    node = make(tmp_path)
    text = "#Sat Nov 28\nversion=1\ncluster.id=qU8y5X=\nnode.id=1\n"
    (node.log_dir / "meta.properties").write_text(text)
    assert read_data_state(node, None, None).formatted
    assert cluster_id(node) == "qU8y5X="
    assert cluster_id(replace(node, mode="zookeeper")) == ""


def test_the_user_is_missing_until_this_password_was_written(tmp_path: Path) -> None:
    node = make(tmp_path)

    def missing(password: str | None, number: int = 0) -> bool:
        return read_data_state(replace(node, node=number), password, None).user_missing

    assert missing("a-password-of-12")
    assert not missing("a-password-of-12", number=1), "node 0 writes it"
    assert not missing(None)
    note_user(node, "a-password-of-12")
    assert not missing("a-password-of-12")
    assert missing("another-password")
    (written,) = node.data.glob("user.*")
    assert "password" not in written.read_text()
    assert written.stat().st_mode & 0o777 == 0o600
