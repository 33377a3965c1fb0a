"""One node of a cluster, as a process to be killed: up until its standard input is closed.

Arguments: the node, how many there are, mode, folder, the metadata's address and cluster id, and
the password's file; empty for none. Prints what node 0 announces, then the bootstrap address when
it is ready.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from hpc.broker.embedded import BrokerOptions, EmbeddedBroker, Metadata
from hpc.broker.node import Mode


def main() -> None:
    node, nodes, mode, folder, address, cluster_id, secret = sys.argv[1:]
    broker = EmbeddedBroker(
        BrokerOptions(
            Path(folder),
            cast(Mode, mode),
            node=int(node),
            nodes=int(nodes),
            replication=int(nodes),
            metadata=Metadata(address, cluster_id) if address else None,
            secret=Path(secret) if secret else None,
            port_fixed=False,
        )
    )
    broker.start(announce=lambda metadata: print(metadata.address, metadata.cluster_id, flush=True))
    print(broker.bootstrap, flush=True)
    sys.stdin.read()
    broker.stop()


if __name__ == "__main__":
    main()
