"""What a broker's data folder says of itself: its format, its cluster, the password it opens to."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

from deeptool.files import write_text
from hpc.broker import passwords
from hpc.broker.broker_options import Metadata
from hpc.broker.node import BrokerNode
from hpc.broker.servers import DataState


def read_data_state(node: BrokerNode, password: str | None, metadata: Metadata | None) -> DataState:
    """What a start finds.

    Parameters
    ----------
    node : BrokerNode
    password : str or None
        The one that clients are to be asked for.
    metadata : Metadata or None
        What node 0 has announced, for another node.
    """
    new = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return DataState(
        formatted=_properties(node).exists(),
        user_missing=_user_missing(node, password),
        new_cluster_id=metadata.cluster_id if metadata else new,
    )


def cluster_id(node: BrokerNode) -> str:
    """Kafka's id of the cluster; empty in ZooKeeper mode, where ZooKeeper keeps it."""
    if node.mode == "zookeeper":
        return ""
    lines = _properties(node).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]


def note_user(node: BrokerNode, password: str | None) -> None:
    """Remember that the data opens to this password."""
    if password is not None:
        write_text(_user(node), passwords.digest(password), 0o600)


def _user_missing(node: BrokerNode, password: str | None) -> bool:
    if password is None or node.node > 0:
        return False
    try:
        return _user(node).read_text(encoding="utf-8") != passwords.digest(password)
    except FileNotFoundError:
        return True


def _properties(node: BrokerNode) -> Path:
    """Kafka's own file, there once the folder is formatted."""
    return node.log_dir / "meta.properties"


def _user(node: BrokerNode) -> Path:
    return node.data / "user.sha256"
