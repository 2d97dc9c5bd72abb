"""An asyncio client of the Fabric Gateway service (Fabric 2.4 and newer), on the published protos.

Nothing here knows of liens: an identity and a signer, a pool of own-organisation peers, and a `Gateway` that evaluates,
endorses, submits, tells commit status and streams chaincode events and blocks. Errors are by stage, see `errors`.
"""

from carlien_lien_registry.adapters.fabric.blocks import BlockTransaction, LedgerBlock
from carlien_lien_registry.adapters.fabric.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    GatewayBusy,
    GatewayDetail,
    GatewayError,
    RetryAction,
    SubmitError,
)
from carlien_lien_registry.adapters.fabric.events import ChaincodeEvent, Checkpoint
from carlien_lien_registry.adapters.fabric.gateway import Commit, Gateway, LedgerClient, PreparedTransaction
from carlien_lien_registry.adapters.fabric.identity import Identity, LocalSigner, Signer
from carlien_lien_registry.adapters.fabric.peers import Peer, PeerPool, TlsOptions

__all__ = [
    "BlockTransaction",
    "ChaincodeEvent",
    "Checkpoint",
    "Commit",
    "CommitError",
    "CommitStatusError",
    "EndorseError",
    "EvaluateError",
    "EventsError",
    "Gateway",
    "GatewayBusy",
    "GatewayDetail",
    "GatewayError",
    "Identity",
    "LedgerBlock",
    "LedgerClient",
    "LocalSigner",
    "Peer",
    "PeerPool",
    "PreparedTransaction",
    "RetryAction",
    "Signer",
    "SubmitError",
    "TlsOptions",
]
