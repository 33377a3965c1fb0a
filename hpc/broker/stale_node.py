"""What a broker that was killed leaves in ZooKeeper, and its successor finds there."""

from __future__ import annotations


def node_was_stale(output: str) -> bool:
    """Whether Kafka ended over the node in ZooKeeper that its killed predecessor left.

    The node is there still, or it vanished after Kafka had found it and before it could read whose
    it is: Kafka 3.9 then looks for the owner of nothing.
    """
    vanished = "NullPointerException" in output and "getEphemeralOwner" in output
    return "NodeExistsException" in output or vanished
