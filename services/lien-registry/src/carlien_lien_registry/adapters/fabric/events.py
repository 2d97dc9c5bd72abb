"""Chaincode events and the place in the ledger up to which they were handled."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """Where to resume: `block_number` is the next block to read, after transaction `transaction_id` in it (if any)."""

    block_number: int = 0
    transaction_id: str = ""

    def after_event(self, event: "ChaincodeEvent") -> "Checkpoint":
        """The checkpoint once `event` is handled."""
        return Checkpoint(event.block_number, event.transaction_id)

    def after_block(self, block_number: int) -> "Checkpoint":
        """The checkpoint once the whole block is handled."""
        return Checkpoint(block_number + 1)


@dataclass(frozen=True)
class ChaincodeEvent:
    """The one event of a valid transaction, as the chaincode set it."""

    block_number: int
    transaction_id: str
    chaincode: str
    name: str
    payload: bytes
