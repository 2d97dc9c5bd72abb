"""Proposals, transactions and seek requests as bytes. Pure functions; the only secret they need is handed in as a nonce."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, proposal_response_pb2, transaction_pb2
from google.protobuf.timestamp_pb2 import Timestamp

_NONCE_BYTES = 24
# SeekSpecified at the highest number means "no end": the stream stays open.
_NO_END = 2**64 - 1


@dataclass(frozen=True)
class Proposal:
    """An unsigned proposal and the transaction id that follows from its nonce and creator."""

    transaction_id: str
    proposal_bytes: bytes


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """Fabric's rule: lower-case hex of SHA-256(nonce || creator). So nobody can take another's id."""
    return hashlib.sha256(nonce + creator).hexdigest()


def proposal(
    channel: str,
    chaincode: str,
    function: str,
    arguments: Sequence[bytes],
    creator: bytes,
    transient: Mapping[str, bytes] | None = None,
    nonce: bytes | None = None,
) -> Proposal:
    """Build the proposal of one chaincode call; `transient` goes to the endorsers only, never into the transaction."""
    nonce = nonce or secrets.token_bytes(_NONCE_BYTES)
    tx_id = transaction_id(nonce, creator)
    chaincode_id = chaincode_pb2.ChaincodeID(name=chaincode)
    extension = proposal_pb2.ChaincodeHeaderExtension(chaincode_id=chaincode_id).SerializeToString()
    header = _header(common_pb2.ENDORSER_TRANSACTION, channel, creator, nonce, tx_id, extension)
    spec = chaincode_pb2.ChaincodeInvocationSpec(
        chaincode_spec=chaincode_pb2.ChaincodeSpec(
            type=chaincode_pb2.ChaincodeSpec.GOLANG,
            chaincode_id=chaincode_id,
            input=chaincode_pb2.ChaincodeInput(args=[function.encode(), *arguments]),
        )
    )
    payload = proposal_pb2.ChaincodeProposalPayload(input=spec.SerializeToString(), TransientMap=dict(transient or {}))
    whole = proposal_pb2.Proposal(header=header.SerializeToString(), payload=payload.SerializeToString())
    return Proposal(tx_id, whole.SerializeToString())


def seek(channel: str, creator: bytes, start_block: int, stop_block: int | None = None) -> bytes:
    """Payload of a request for the blocks from `start_block` on; without `stop_block` the stream stays open."""
    header = _header(common_pb2.DELIVER_SEEK_INFO, channel, creator, secrets.token_bytes(_NONCE_BYTES), "", b"")
    stop = _NO_END if stop_block is None else stop_block
    info = ab_pb2.SeekInfo(
        start=ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=start_block)),
        stop=ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=stop)),
        behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY,
    )
    return bytes(common_pb2.Payload(header=header, data=info.SerializeToString()).SerializeToString())


def seek_newest(channel: str, creator: bytes) -> bytes:
    """Payload of a request for the newest block alone."""
    header = _header(common_pb2.DELIVER_SEEK_INFO, channel, creator, secrets.token_bytes(_NONCE_BYTES), "", b"")
    newest = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    info = ab_pb2.SeekInfo(start=newest, stop=newest, behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY)
    return bytes(common_pb2.Payload(header=header, data=info.SerializeToString()).SerializeToString())


def endorsed_result(envelope_payload: bytes) -> bytes:
    """What the chaincode returned, read from an endorsed transaction's payload."""
    payload = common_pb2.Payload.FromString(envelope_payload)
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload).action
    response = proposal_response_pb2.ProposalResponsePayload.FromString(action.proposal_response_payload)
    return bytes(proposal_pb2.ChaincodeAction.FromString(response.extension).response.payload)


def _header(kind: int, channel: str, creator: bytes, nonce: bytes, tx_id: str, extension: bytes) -> common_pb2.Header:
    now = Timestamp()
    now.GetCurrentTime()
    channel_header = common_pb2.ChannelHeader(type=kind, channel_id=channel, tx_id=tx_id, timestamp=now, extension=extension)
    signature_header = common_pb2.SignatureHeader(creator=creator, nonce=nonce)
    return common_pb2.Header(channel_header=channel_header.SerializeToString(), signature_header=signature_header.SerializeToString())
