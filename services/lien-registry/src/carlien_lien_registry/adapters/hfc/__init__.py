"""Fabric without the Gateway service, for peers older than 2.4: fabric-sdk-py in a process and an environment of its own.

`HfcClient` has the calls of `adapters.fabric.Gateway` that the service makes; `worker` keeps the process.
"""

from carlien_lien_registry.adapters.hfc.client import HfcClient
from carlien_lien_registry.adapters.hfc.worker import HfcNetwork, HfcWorker, Node

__all__ = ["HfcClient", "HfcNetwork", "HfcWorker", "Node"]
