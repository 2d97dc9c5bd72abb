"""Errors by the stage they happened in, as the official gateway clients have them, and what may be tried again.

EvaluateError and EndorseError: nothing was sent to the orderer. SubmitError: it may or may not have been ordered.
CommitStatusError: the outcome is unknown. CommitError: the transaction is in a block and was found invalid.
"""

import enum
from dataclasses import dataclass

import grpc
from fabric_protos.gateway.gateway_pb2 import ErrorDetail
from fabric_protos.peer.transaction_pb2 import TxValidationCode
from google.rpc.status_pb2 import Status

_BUSY_TEXT = "exceeding concurrency limit"
_CHAINCODE_PREFIX = "chaincode response "
_NO_ENDORSERS_TEXT = "no combination of peers"
_MISMATCH_TEXT = "ProposalResponsePayloads do not match"


class RetryAction(enum.Enum):
    """What a caller may do about an error without doing its work twice."""

    SAME_TRANSACTION = "send the same signed envelope again, ask for its status"
    NEW_TRANSACTION = "endorse anew: the old transaction can't take effect any more"
    NONE = "trying again gives the same answer"


@dataclass(frozen=True)
class GatewayDetail:
    """What one peer or orderer behind the gateway said."""

    address: str
    msp_id: str
    message: str


class GatewayError(Exception):
    """A call to the gateway failed."""

    def __init__(self, message: str, code: grpc.StatusCode, transaction_id: str = "", details: tuple[GatewayDetail, ...] = ()) -> None:
        """Keep the transport's code and the decoded details."""
        told = "; ".join(f"{detail.msp_id} at {detail.address}: {detail.message}" for detail in details)
        super().__init__(f"{message} ({told})" if told else message)
        self.message = message
        self.code = code
        self.transaction_id = transaction_id
        self.details = details

    @property
    def chaincode_messages(self) -> tuple[str, ...]:
        """What the chaincode itself answered as errors, without the peer's prefix `chaincode response 500, `."""
        texts = (detail.message for detail in self.details) if self.details else (self.message,)
        return tuple(text.split(", ", 1)[1] for text in texts if text.startswith(_CHAINCODE_PREFIX) and ", " in text)

    @property
    def is_unavailable(self) -> bool:
        """True where a peer, the orderer or enough endorsers couldn't be reached for now."""
        if self.chaincode_messages:
            return False
        unreachable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
        return self.code in unreachable or self.lacks_endorsers

    @property
    def lacks_endorsers(self) -> bool:
        """True right after a network start, until gossip has met: the peer knows too few endorsers."""
        return self.code is grpc.StatusCode.FAILED_PRECONDITION and _NO_ENDORSERS_TEXT in self.message

    @property
    def is_busy(self) -> bool:
        """True where the peer refused because too many calls were in flight."""
        return _BUSY_TEXT in self.message

    @property
    def retry(self) -> RetryAction:
        """What may be tried again."""
        return RetryAction.NONE


class GatewayBusy(GatewayError):
    """Too many calls wait for this peer already; nothing was sent."""

    def __init__(self, waiting: int) -> None:
        """Say how many wait."""
        super().__init__(f"{waiting} calls wait for a peer already", grpc.StatusCode.RESOURCE_EXHAUSTED)

    @property
    def is_busy(self) -> bool:
        """Always."""
        return True


class EvaluateError(GatewayError):
    """A query failed."""


class EventsError(GatewayError):
    """A stream of events or blocks broke; resume it from the checkpoint."""


class EndorseError(GatewayError):
    """The proposal was refused or could not be endorsed; nothing was ordered."""

    @property
    def retry(self) -> RetryAction:
        """Anew where endorsers were missing, differed or were busy; not where the chaincode refused."""
        if self.chaincode_messages:
            return RetryAction.NONE
        texts = (self.message, *(detail.message for detail in self.details))
        differed = any(_MISMATCH_TEXT in text for text in texts)
        return RetryAction.NEW_TRANSACTION if differed or self.is_unavailable or self.is_busy else RetryAction.NONE


class SubmitError(GatewayError):
    """The envelope may or may not have reached the orderer."""

    @property
    def retry(self) -> RetryAction:
        """The same envelope: resubmitting a committed one is harmless, a new proposal would not be."""
        return RetryAction.SAME_TRANSACTION


class CommitStatusError(GatewayError):
    """The outcome could not be learnt."""

    @property
    def retry(self) -> RetryAction:
        """Ask again, or send the same envelope again."""
        return RetryAction.SAME_TRANSACTION


# The transaction read what another one changed meanwhile; run anew it may well succeed.
_CONFLICTS = frozenset({"MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT"})


class CommitError(GatewayError):
    """The transaction is in a block but invalid: it changed nothing, and never will."""

    def __init__(self, transaction_id: str, validation_code: int, block_number: int) -> None:
        """Name the validation code."""
        self.validation = validation_name(validation_code)
        self.block_number = block_number
        text = f"transaction {transaction_id} is invalid in block {block_number}: {self.validation}"
        super().__init__(text, grpc.StatusCode.ABORTED, transaction_id)

    @property
    def retry(self) -> RetryAction:
        """Anew for read conflicts only."""
        return RetryAction.NEW_TRANSACTION if self.validation in _CONFLICTS else RetryAction.NONE


def validation_name(code: int) -> str:
    """Fabric's name of a validation code; a code this library doesn't know keeps its number."""
    try:
        return str(TxValidationCode.Name(code))
    except ValueError:
        return f"CODE_{code}"


def from_rpc(kind: type[GatewayError], error: grpc.aio.AioRpcError, transaction_id: str = "") -> GatewayError:
    """Turn a failed call into the error of its stage, with the gateway's details decoded."""
    return kind(error.details() or error.code().name, error.code(), transaction_id, _details(error))


def _details(error: grpc.aio.AioRpcError) -> tuple[GatewayDetail, ...]:
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        status = Status.FromString(value if isinstance(value, bytes) else value.encode("latin1"))
        found = []
        for packed in status.details:
            detail = ErrorDetail()
            if packed.Unpack(detail):
                found.append(GatewayDetail(detail.address, detail.msp_id, detail.message))
        return tuple(found)
    return ()
