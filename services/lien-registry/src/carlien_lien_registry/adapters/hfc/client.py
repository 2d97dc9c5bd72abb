"""The ledger client on hfc: the same calls, errors and guarantees as the Gateway's."""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from carlien_lien_registry.adapters.fabric.blocks import LedgerBlock, decode_block
from carlien_lien_registry.adapters.fabric.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    SubmitError,
)
from carlien_lien_registry.adapters.fabric.gateway import (
    COMMIT_STATUS_SECONDS,
    ENDORSE_SECONDS,
    EVALUATE_SECONDS,
    SUBMIT_SECONDS,
    Commit,
    PreparedTransaction,
)
from carlien_lien_registry.adapters.hfc.worker import HfcWorker


class HfcClient:
    """One identity's view of one chaincode on one channel, through a worker process."""

    def __init__(self, worker: HfcWorker, msp_id: str, channel: str, chaincode: str) -> None:
        """Take the parts; the process starts with the first call."""
        self._worker = worker
        self.msp_id = msp_id
        self.channel = channel
        self.chaincode = chaincode

    async def evaluate(
        self,
        function: str,
        *arguments: bytes,
        chaincode: str | None = None,
        transient: Mapping[str, bytes] | None = None,
        own_org_only: bool = True,  # noqa: ARG002 - always so
        timeout: float = EVALUATE_SECONDS,
    ) -> bytes:
        """Query the ledger through an own peer (never another organisation's here); EvaluateError."""
        answer = await self._worker.call(
            "evaluate",
            EvaluateError,
            chaincode=chaincode or self.chaincode,
            function=function,
            arguments=[_text(one) for one in arguments],
            transient=_texts(transient),
            timeout=timeout,
        )
        return base64.b64decode(answer["payload"])

    async def endorse(
        self,
        function: str,
        arguments: Sequence[bytes],
        *,
        transient: Mapping[str, bytes] | None = None,
        endorsing_organizations: Sequence[str] = (),
        timeout: float = ENDORSE_SECONDS,
    ) -> PreparedTransaction:
        """Have a new transaction endorsed by every configured organisation (or those named) and sign it; EndorseError.

        `transient` goes to every endorser, so it must not be sent without naming `endorsing_organizations`: ValueError.
        """
        if transient and not endorsing_organizations:
            raise ValueError("transient data needs the organisations that may see it")
        answer = await self._worker.call(
            "endorse",
            EndorseError,
            chaincode=self.chaincode,
            function=function,
            arguments=[_text(one) for one in arguments],
            transient=_texts(transient),
            organizations=list(endorsing_organizations),
            timeout=timeout,
        )
        return PreparedTransaction(answer["transaction_id"], base64.b64decode(answer["envelope"]), base64.b64decode(answer["result"]))

    async def submit(self, transaction_id: str, envelope: bytes, timeout: float = SUBMIT_SECONDS) -> None:
        """Send an envelope to an orderer; SubmitError. An acknowledgement isn't durable: ask for the commit status."""
        await self._worker.call("submit", SubmitError, transaction_id, envelope=_text(envelope), timeout=timeout)

    async def commit_status(self, transaction_id: str, timeout: float = COMMIT_STATUS_SECONDS) -> Commit:
        """Wait until the transaction is in a block; CommitError where invalid, CommitStatusError where that isn't known."""
        answer = await self._worker.call("status", CommitStatusError, transaction_id, of_transaction=transaction_id, timeout=timeout)
        if answer["validation_code"] != transaction_pb2.VALID:
            raise CommitError(transaction_id, answer["validation_code"], answer["block_number"])
        return Commit(transaction_id, answer["block_number"])

    async def blocks(self, start_block: int, stop_block: int | None = None) -> AsyncIterator[LedgerBlock]:
        """Stream decoded blocks from `start_block` on, up to and with `stop_block` where given; EventsError."""
        async for told in self._worker.stream("blocks", EventsError, start=start_block, stop=stop_block):
            yield decode_block(common_pb2.Block.FromString(base64.b64decode(told["block"])), self.chaincode)

    async def newest_block_number(self) -> int:
        """Number of the ledger's last block at the peer, EventsError."""
        async for told in self._worker.stream("blocks", EventsError):
            return int(common_pb2.Block.FromString(base64.b64decode(told["block"])).header.number)
        raise EventsError("the peer delivered no block", grpc.StatusCode.UNAVAILABLE)

    async def channel_config(self) -> common_pb2.Block:
        """The channel's newest configuration block, EvaluateError."""
        return common_pb2.Block.FromString(await self.evaluate("GetConfigBlock", self.channel.encode(), chaincode="cscc"))

    async def close(self) -> None:
        """End the worker."""
        await self._worker.close()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _texts(values: Mapping[str, bytes] | None) -> dict[str, str]:
    return {name: _text(value) for name, value in (values or {}).items()}
