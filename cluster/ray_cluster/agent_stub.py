"""Stands in for the two helper processes that a Ray node insists on: it does nothing, and ends with the node.

Ray's own agents serve its web dashboard and per-task environments, and an embedded run uses neither. They cost seconds
of start-up and 170 MB, and outlast a node that was killed. `cluster.ray_cluster.private_node` has the
node run this file in their place.
"""

import os
import time


def main() -> None:
    """Sleep until the node is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    main()
