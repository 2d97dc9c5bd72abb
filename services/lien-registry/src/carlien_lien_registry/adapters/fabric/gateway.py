"""The client: evaluate, endorse, submit, commit status, chaincode events, blocks."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import proposal_pb2, transaction_pb2

from carlien_lien_registry.adapters.fabric import envelopes
from carlien_lien_registry.adapters.fabric.blocks import LedgerBlock, decode_block
from carlien_lien_registry.adapters.fabric.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    GatewayError,
    SubmitError,
    from_rpc,
)
from carlien_lien_registry.adapters.fabric.events import ChaincodeEvent, Checkpoint
from carlien_lien_registry.adapters.fabric.identity import Identity, Signer, low_s
from carlien_lien_registry.adapters.fabric.peers import Peer, PeerPool

T = TypeVar("T")

EVALUATE_SECONDS = 10.0
ENDORSE_SECONDS = 15.0
SUBMIT_SECONDS = 10.0
COMMIT_STATUS_SECONDS = 30.0


@dataclass(frozen=True)
class PreparedTransaction:
    """An endorsed and signed transaction. Keep `envelope` before submitting it: it may be sent again, as often as needed."""

    transaction_id: str
    envelope: bytes
    result: bytes


@dataclass(frozen=True)
class Commit:
    """A valid transaction and the block it is in."""

    transaction_id: str
    block_number: int


class LedgerClient(Protocol):
    """What the service needs of a client, whichever way it reaches the ledger."""

    msp_id: str

    async def evaluate(self, function: str, *arguments: bytes, chaincode: str | None = None, own_org_only: bool = False) -> bytes:
        """Query the ledger; EvaluateError."""
        ...

    async def endorse(
        self,
        function: str,
        arguments: Sequence[bytes],
        *,
        transient: Mapping[str, bytes] | None = None,
        endorsing_organizations: Sequence[str] = (),
    ) -> PreparedTransaction:
        """Have a new transaction endorsed and sign it; EndorseError."""
        ...

    async def submit(self, transaction_id: str, envelope: bytes) -> None:
        """Send an envelope to the orderer; SubmitError."""
        ...

    async def commit_status(self, transaction_id: str, timeout: float = COMMIT_STATUS_SECONDS) -> Commit:
        """Wait for the outcome; CommitError, CommitStatusError."""
        ...

    def blocks(self, start_block: int, stop_block: int | None = None) -> AsyncIterator[LedgerBlock]:
        """Stream decoded blocks; EventsError."""
        ...

    async def newest_block_number(self) -> int:
        """Number of the last block; EventsError."""
        ...

    async def channel_config(self) -> common_pb2.Block:
        """The channel's newest configuration block, EvaluateError."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class Gateway:
    """One identity's view of one chaincode on one channel. Safe for concurrent use within one event loop."""

    def __init__(self, peers: PeerPool, identity: Identity, signer: Signer, channel: str, chaincode: str) -> None:
        """Take the parts; nothing is sent yet."""
        self._peers = peers
        self._signer = signer
        self._creator = identity.creator
        self.msp_id = identity.msp_id
        self.channel = channel
        self.chaincode = chaincode

    async def evaluate(
        self,
        function: str,
        *arguments: bytes,
        chaincode: str | None = None,
        transient: Mapping[str, bytes] | None = None,
        own_org_only: bool = False,
        timeout: float = EVALUATE_SECONDS,
    ) -> bytes:
        """Query the ledger through one peer; EvaluateError. Other chaincodes (qscc, cscc) by name."""
        proposed = envelopes.proposal(self.channel, chaincode or self.chaincode, function, arguments, self._creator, transient)
        request = gateway_pb2.EvaluateRequest(
            transaction_id=proposed.transaction_id,
            channel_id=self.channel,
            proposed_transaction=await self._signed_proposal(proposed),
            target_organizations=[self.msp_id] if own_org_only or transient else [],
        )
        response = await self._call(EvaluateError, lambda peer: peer.gateway.Evaluate(request, timeout=timeout), proposed.transaction_id)
        return bytes(response.result.payload)

    async def endorse(
        self,
        function: str,
        arguments: Sequence[bytes],
        *,
        transient: Mapping[str, bytes] | None = None,
        endorsing_organizations: Sequence[str] = (),
        timeout: float = ENDORSE_SECONDS,
    ) -> PreparedTransaction:
        """Have a new transaction endorsed and sign it; EndorseError. A retry is a new transaction.

        `transient` goes to every endorser, so it must not be sent without naming `endorsing_organizations`: ValueError.
        """
        if transient and not endorsing_organizations:
            raise ValueError("transient data needs the organisations that may see it")
        proposed = envelopes.proposal(self.channel, self.chaincode, function, arguments, self._creator, transient)
        request = gateway_pb2.EndorseRequest(
            transaction_id=proposed.transaction_id,
            channel_id=self.channel,
            proposed_transaction=await self._signed_proposal(proposed),
            endorsing_organizations=list(endorsing_organizations),
        )
        response = await self._call(EndorseError, lambda peer: peer.gateway.Endorse(request, timeout=timeout), proposed.transaction_id)
        payload = response.prepared_transaction.payload
        envelope = common_pb2.Envelope(payload=payload, signature=await self._sign(payload))
        return PreparedTransaction(proposed.transaction_id, envelope.SerializeToString(), envelopes.endorsed_result(payload))

    async def submit(self, transaction_id: str, envelope: bytes, timeout: float = SUBMIT_SECONDS) -> None:
        """Send an envelope to the orderer; SubmitError. An acknowledgement isn't durable: ask for the commit status."""
        request = gateway_pb2.SubmitRequest(
            transaction_id=transaction_id,
            channel_id=self.channel,
            prepared_transaction=common_pb2.Envelope.FromString(envelope),
        )
        await self._call(SubmitError, lambda peer: peer.gateway.Submit(request, timeout=timeout), transaction_id)

    async def commit_status(self, transaction_id: str, timeout: float = COMMIT_STATUS_SECONDS) -> Commit:
        """Wait until the transaction is in a block; CommitError where invalid, CommitStatusError where that isn't known."""
        inner = gateway_pb2.CommitStatusRequest(
            transaction_id=transaction_id, channel_id=self.channel, identity=self._creator
        ).SerializeToString()
        request = gateway_pb2.SignedCommitStatusRequest(request=inner, signature=await self._sign(inner))
        response = await self._call(CommitStatusError, lambda peer: peer.gateway.CommitStatus(request, timeout=timeout), transaction_id)
        if response.result != transaction_pb2.VALID:
            raise CommitError(transaction_id, response.result, response.block_number)
        return Commit(transaction_id, response.block_number)

    async def chaincode_events(self, checkpoint: Checkpoint) -> AsyncIterator[ChaincodeEvent]:
        """Stream events of valid transactions from the checkpoint on, at least once; EventsError when the stream breaks."""
        inner = gateway_pb2.ChaincodeEventsRequest(
            channel_id=self.channel,
            chaincode_id=self.chaincode,
            identity=self._creator,
            start_position=ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=checkpoint.block_number)),
            after_transaction_id=checkpoint.transaction_id,
        ).SerializeToString()
        request = gateway_pb2.SignedChaincodeEventsRequest(request=inner, signature=await self._sign(inner))
        peer = self._peers.in_order()[0]
        try:
            async for response in peer.gateway.ChaincodeEvents(request):
                for event in response.events:
                    yield ChaincodeEvent(response.block_number, event.tx_id, event.chaincode_id, event.event_name, bytes(event.payload))
        except grpc.aio.AioRpcError as error:
            peer.failed()
            raise from_rpc(EventsError, error) from error

    async def blocks(self, start_block: int, stop_block: int | None = None) -> AsyncIterator[LedgerBlock]:
        """Stream decoded blocks from `start_block` on, up to and with `stop_block` where given; EventsError."""
        async for block in self._deliver(envelopes.seek(self.channel, self._creator, start_block, stop_block)):
            yield decode_block(block, self.chaincode)

    async def newest_block_number(self) -> int:
        """Number of the ledger's last block at the peer, EventsError."""
        async for block in self._deliver(envelopes.seek_newest(self.channel, self._creator)):
            return int(block.header.number)
        raise EventsError("the peer delivered no block", grpc.StatusCode.UNAVAILABLE)

    async def channel_config(self) -> common_pb2.Block:
        """The channel's newest configuration block, EvaluateError."""
        return common_pb2.Block.FromString(await self.evaluate("GetConfigBlock", self.channel.encode(), chaincode="cscc"))

    async def close(self) -> None:
        """Close the peers' channels."""
        await self._peers.close()

    async def _deliver(self, payload: bytes) -> AsyncIterator[common_pb2.Block]:
        request = common_pb2.Envelope(payload=payload, signature=await self._sign(payload))
        peer = self._peers.in_order()[0]
        call = peer.deliver.Deliver()
        try:
            await call.write(request)
            async for response in call:
                if response.WhichOneof("Type") != "block":
                    if response.status == common_pb2.SUCCESS:
                        return
                    name = common_pb2.Status.Name(response.status)
                    raise EventsError(f"the peer ended the stream with {name}", grpc.StatusCode.UNAVAILABLE)
                yield response.block
            raise EventsError("the peer closed the stream", grpc.StatusCode.UNAVAILABLE)
        except grpc.aio.AioRpcError as error:
            peer.failed()
            raise from_rpc(EventsError, error) from error
        finally:
            call.cancel()

    async def _call(self, kind: type[GatewayError], send: Callable[[Peer], Awaitable[T]], transaction_id: str) -> T:
        """Call the first peer that can be reached. An unreached peer hasn't acted, so trying the next one repeats nothing.

        (For Submit it may have acted; but the same envelope twice commits once.)
        """
        failure: GatewayError | None = None
        for peer in self._peers.in_order():
            try:
                async with peer.slot():
                    return await send(peer)
            except grpc.aio.AioRpcError as error:
                failure = from_rpc(kind, error, transaction_id)
                # A peer that answers with details is up: what's unavailable lies behind it, another peer may reach it.
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    break
                if not failure.details:
                    peer.failed()
        if failure is None:
            raise AssertionError("a peer pool is never empty")
        raise failure from None

    async def _signed_proposal(self, proposed: envelopes.Proposal) -> proposal_pb2.SignedProposal:
        return proposal_pb2.SignedProposal(proposal_bytes=proposed.proposal_bytes, signature=await self._sign(proposed.proposal_bytes))

    async def _sign(self, message: bytes) -> bytes:
        return low_s(await self._signer.sign(hashlib.sha256(message).digest()))
