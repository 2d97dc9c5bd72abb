"""A block of the ledger, as far as a reader of one chaincode needs it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import chaincode_event_pb2, proposal_pb2, proposal_response_pb2, transaction_pb2

from carlien_lien_registry.adapters.fabric.errors import validation_name
from carlien_lien_registry.adapters.fabric.events import ChaincodeEvent


@dataclass(frozen=True)
class BlockTransaction:
    """One transaction of a block. Only where `valid` did it change anything."""

    transaction_id: str
    index: int
    validation: str
    timestamp: datetime
    event: ChaincodeEvent | None
    results: bytes

    @property
    def valid(self) -> bool:
        """True where the committing peers accepted it."""
        return self.validation == "VALID"

    def writes(self, namespace: str) -> Iterator[tuple[str, bytes | None]]:
        """Public writes to a chaincode's namespace, (key, value), None for a deletion. For audits."""
        for namespace_set in rwset_pb2.TxReadWriteSet.FromString(self.results).ns_rwset:
            if namespace_set.namespace == namespace:
                for write in kv_rwset_pb2.KVRWSet.FromString(namespace_set.rwset).writes:
                    yield write.key, None if write.is_delete else bytes(write.value)


@dataclass(frozen=True)
class LedgerBlock:
    """A block: its number and its endorser transactions in order (configuration transactions are left out).

    `header_hash` is what the next block names as `previous_hash`; `data_intact` says that the transactions are those the
    header names.
    """

    number: int
    previous_hash: bytes
    header_hash: bytes
    data_intact: bool
    transactions: tuple[BlockTransaction, ...]


def decode_block(block: common_pb2.Block, chaincode: str) -> LedgerBlock:
    """Decode a block; events of other chaincodes are left out, invalid transactions carry no event."""
    number = block.header.number
    codes = block.metadata.metadata[common_pb2.TRANSACTIONS_FILTER]
    transactions = (_decode(number, index, data, codes[index], chaincode) for index, data in enumerate(block.data.data))
    header = block.header
    return LedgerBlock(
        number=number,
        previous_hash=bytes(header.previous_hash),
        header_hash=header_hash(number, header.previous_hash, header.data_hash),
        data_intact=hashlib.sha256(b"".join(block.data.data)).digest() == header.data_hash,
        transactions=tuple(transaction for transaction in transactions if transaction is not None),
    )


def header_hash(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """SHA-256 over the DER of SEQUENCE {INTEGER number, OCTET STRING previous, OCTET STRING data}, Fabric's block hash."""
    encoded = number.to_bytes(number.bit_length() // 8 + 1, "big")
    body = b"".join((_der(0x02, encoded), _der(0x04, previous_hash), _der(0x04, data_hash)))
    return hashlib.sha256(_der(0x30, body)).digest()


def _der(tag: int, content: bytes) -> bytes:
    # Hashes of 32 bytes and a number: never longer than the short form's 127 bytes.
    return bytes((tag, len(content))) + content


def _decode(number: int, index: int, data: bytes, code: int, chaincode: str) -> BlockTransaction | None:
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(data).payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    if header.type != common_pb2.ENDORSER_TRANSACTION:
        return None
    valid = code == transaction_pb2.VALID
    event, results = _effects(number, header.tx_id, payload.data, chaincode) if valid else (None, b"")
    # To the microsecond, as everything of ours; Fabric's nanoseconds don't order anything.
    timestamp = datetime.fromtimestamp(header.timestamp.seconds, UTC).replace(microsecond=header.timestamp.nanos // 1000)
    return BlockTransaction(header.tx_id, index, validation_name(code), timestamp, event, results)


def _effects(number: int, tx_id: str, data: bytes, chaincode: str) -> tuple[ChaincodeEvent | None, bytes]:
    transaction = transaction_pb2.Transaction.FromString(data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload).action
    response = proposal_response_pb2.ProposalResponsePayload.FromString(action.proposal_response_payload)
    effect = proposal_pb2.ChaincodeAction.FromString(response.extension)
    if not effect.events:
        return None, effect.results
    event = chaincode_event_pb2.ChaincodeEvent.FromString(effect.events)
    if event.chaincode_id != chaincode:
        return None, effect.results
    return ChaincodeEvent(number, tx_id, event.chaincode_id, event.event_name, event.payload), effect.results
