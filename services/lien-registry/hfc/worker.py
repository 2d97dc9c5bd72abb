"""Fabric through fabric-sdk-py (hfc 1.0.0), for peers that are too old for the Gateway service.

A process of its own: hfc needs pure-Python protobuf 4. It talks JSON lines with lien-registry over standard input and output, bytes
in base64. The first line is the configuration, then `{"id", "op", …}` in, `{"id", "result" | "error" | "block" | "end"}` out.

What hfc leaves to its caller is done here (hazards seen on a real network, see the README of lien-registry):
- a failed endorsement comes as an ordinary answer: the status of every answer is looked at;
- an endorser that doesn't answer is dropped in silence: every organisation named must have endorsed, or nothing is sent;
- success is told before (or without) commit: `submit` promises nothing, `status` reads the validation code from the ledger;
- `hfc.fabric.Client` keeps the state of waiting calls: it isn't used, each call has a transaction context of its own;
- text is encoded as Latin-1: only bytes are handed over;
- events come of invalid transactions, too: whole blocks are passed on, with their validation codes.
"""

import asyncio
import base64
import json
import os
import sys

# Before protobuf is imported: its C++ runtime doesn't take hfc's generated code.
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"

import grpc
from hfc.fabric.channel.channel import Channel
from hfc.fabric.orderer import Orderer
from hfc.fabric.peer import Peer
from hfc.fabric.transaction.tx_context import TXContext
from hfc.fabric.transaction.tx_proposal_request import TXProposalRequest
from hfc.fabric.user import create_user
from hfc.protos.common import common_pb2
from hfc.protos.peer import transaction_pb2
from hfc.protos.utils import create_envelope, create_seek_info, create_seek_payload
from hfc.util.crypto.crypto import ecies
from hfc.util.keyvaluestore import FileKeyValueStore
from hfc.util.utils import build_channel_header, build_header, create_tx_payload, current_timestamp, sign_tran_payload

# The one way to send a proposal and get every answer as it is; `Client` sorts them out of sight.
_send = Channel._send_tx_proposal  # noqa: SLF001
OK = 200
POLL_SECONDS = 0.2
MAX_MESSAGE = 100 * 1024 * 1024


class Refused(Exception):
    """An answer that isn't what was asked for: gRPC status name, text, and who said what."""

    def __init__(self, code, message, details=()):
        super().__init__(message)
        self.told = {"code": code, "message": message, "details": list(details)}


class _Request:
    def __init__(self, responses, proposal, header):
        self.responses, self.proposal, self.header = responses, proposal, header


class Worker:
    """One identity on one channel."""

    def __init__(self, config):
        self.channel = config["channel"]
        self.msp_id = config["msp_id"]
        store = FileKeyValueStore(config["scratch_folder"])
        self.user = create_user("client", self.msp_id, store, self.msp_id, config["key_file"], config["cert_file"])
        self.own = [self._node(Peer, node) for node in config["peers"]]
        self.endorsers = {}
        for node in config["endorsers"]:
            self.endorsers.setdefault(node["msp_id"], []).append(self._node(Peer, node))
        self.orderers = [self._node(Orderer, node) for node in config["orderers"]]

    @staticmethod
    def _node(kind, node):
        opts = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_reconnect_backoff_ms", 1000)]
        if node.get("name_override"):
            opts.append(("grpc.ssl_target_name_override", node["name_override"]))
        return kind(node["address"], endpoint=node["address"], tls_ca_cert_file=node["tls_ca_file"], opts=tuple(opts))

    def _context(self, chaincode="", function="", arguments=(), transient=None):
        request = TXProposalRequest()
        request.cc_name, request.fcn, request.args, request.transient_map = chaincode, function, list(arguments), transient
        request.prop_type = "invoke"
        return TXContext(self.user, ecies(), request)

    async def _first(self, nodes, call):
        """The first node that can be reached; trying the next one repeats nothing where one wasn't reached."""
        failure = None
        for node in nodes:
            try:
                return await call(node)
            except (TimeoutError, grpc.RpcError) as error:
                failure = error
        raise Refused(*_rpc(failure))

    async def evaluate(self, asked):
        """What the chaincode answers at an own peer."""
        context = self._proposed(asked)

        async def ask(peer):
            responses, _, _ = _send(self.channel, context, [peer])
            return _good(await asyncio.wait_for(responses[0], asked["timeout"]), peer, self.msp_id)

        return {"payload": _text((await self._first(self.own, ask)).response.payload)}

    async def endorse(self, asked):
        """A signed envelope that one peer of every organisation has endorsed."""
        wanted = asked["organizations"] or list(self.endorsers)
        missing = [msp_id for msp_id in wanted if msp_id not in self.endorsers]
        if missing:
            raise Refused("FAILED_PRECONDITION", f"no combination of peers: no endorser of {', '.join(missing)} is configured")
        candidates = {msp_id: list(self.endorsers[msp_id]) for msp_id in wanted}
        while True:
            # A peer that wasn't reached is replaced by the next of its organisation, in a new proposal to all.
            context = self._proposed(asked)
            peers = [candidates[msp_id][0] for msp_id in wanted]
            sent, proposal, header = _send(self.channel, context, peers)
            answers = await asyncio.gather(*(asyncio.wait_for(one, asked["timeout"]) for one in sent), return_exceptions=True)
            unreached = [(msp_id, answer) for msp_id, answer in zip(wanted, answers, strict=True) if isinstance(answer, BaseException)]
            if not unreached:
                break
            for msp_id, error in unreached:
                if len(candidates[msp_id]) == 1:
                    code, text = _rpc(error)
                    raise Refused(code, f"{msp_id} didn't endorse: {text}")
                del candidates[msp_id][0]
        for answer, peer, msp_id in zip(answers, peers, wanted, strict=True):
            _good(answer, peer, msp_id)
        if any(answer.payload != answers[0].payload for answer in answers):
            raise Refused("ABORTED", "ProposalResponsePayloads do not match")
        request = _Request(answers, proposal, header)
        envelope = sign_tran_payload(context, create_tx_payload([answer.endorsement for answer in answers], request))
        result = answers[0].response.payload
        return {"transaction_id": context.tx_id, "envelope": _text(envelope.SerializeToString()), "result": _text(result)}

    async def submit(self, asked):
        """Hand an envelope to an orderer."""
        envelope = common_pb2.Envelope.FromString(base64.b64decode(asked["envelope"]))

        async def send(orderer):
            async for answer in orderer.broadcast(envelope):
                return answer
            raise Refused("UNAVAILABLE", "the orderer closed the stream")

        answer = await asyncio.wait_for(self._first(self.orderers, send), asked["timeout"])
        if answer.status != common_pb2.SUCCESS:
            raise Refused("UNAVAILABLE", f"the orderer answered {common_pb2.Status.Name(answer.status)}: {answer.info}")
        return {}

    async def status(self, asked):
        """Validation code and block of a transaction, read from an own peer's ledger; waits for it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + asked["timeout"]
        while True:
            try:
                code, block = await self._validated(asked["of_transaction"])
                return {"validation_code": code, "block_number": block}
            except Refused as refused:
                if not refused.told["details"] or loop.time() + POLL_SECONDS > deadline:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _validated(self, transaction_id):
        arguments = [_text(self.channel.encode()), _text(transaction_id.encode())]

        def query(function):
            return self.evaluate({"chaincode": "qscc", "function": function, "arguments": arguments, "timeout": 10})

        found, block = await asyncio.gather(query("GetTransactionByID"), query("GetBlockByTxID"))
        processed = transaction_pb2.ProcessedTransaction.FromString(base64.b64decode(found["payload"]))
        header = common_pb2.Block.FromString(base64.b64decode(block["payload"])).header
        return processed.validationCode, header.number

    async def blocks(self, asked, tell):
        """Whole blocks from a number on; without one the newest alone."""
        start, stop = asked.get("start"), asked.get("stop")
        if start is not None and stop is None:
            stop = sys.maxsize
        context = self._context()
        channel_header = build_channel_header(common_pb2.DELIVER_SEEK_INFO, context.tx_id, self.channel, current_timestamp(), 0)
        header = build_header(context.identity, channel_header, context.nonce)
        payload = create_seek_payload(header, create_seek_info(start, stop))
        # One peer's stream can't go on at another in the middle: whoever reads resumes from its checkpoint.
        failure = None
        for peer in self.own:
            told = False
            try:
                async for answer in peer.delivery(create_envelope(context.sign(payload), payload), filtered=False):
                    if answer.WhichOneof("Type") != "block":
                        if answer.status == common_pb2.SUCCESS:
                            return
                        raise Refused("UNAVAILABLE", f"the peer ended the stream with {common_pb2.Status.Name(answer.status)}")
                    told = True
                    await tell({"block": _text(answer.block.SerializeToString())})
                raise Refused("UNAVAILABLE", "the peer closed the stream")
            except grpc.RpcError as error:
                failure = error
                if told:
                    break
        raise Refused(*_rpc(failure))

    def _proposed(self, asked):
        transient = {name: base64.b64decode(value) for name, value in (asked.get("transient") or {}).items()}
        arguments = [base64.b64decode(one) for one in asked["arguments"]]
        return self._context(asked["chaincode"], asked["function"], arguments, transient)


def _good(answer, peer, msp_id):
    """An answer, unless it is a refusal: hfc hands those over like any other."""
    if answer.response.status != OK:
        message = f"chaincode response {answer.response.status}, {answer.response.message}"
        raise Refused("ABORTED", "the call was refused", [{"address": peer.endpoint, "msp_id": msp_id, "message": message}])
    return answer


def _rpc(error):
    if isinstance(error, grpc.RpcError):
        return error.code().name, error.details() or error.code().name
    return ("DEADLINE_EXCEEDED", "no answer in time") if isinstance(error, asyncio.TimeoutError) else ("UNKNOWN", type(error).__name__)


def _text(data):
    return base64.b64encode(data).decode()


async def serve():
    """Read calls until standard input ends; each runs in a task of its own."""
    reader = asyncio.StreamReader(limit=2 * MAX_MESSAGE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(os.dup(1), "wb"))
    # Whatever a library prints goes to the log, not between the answers.
    os.dup2(2, 1)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    one_at_a_time = asyncio.Lock()

    async def put(message):
        async with one_at_a_time:
            writer.write(json.dumps(message).encode() + b"\n")
            await writer.drain()

    worker = Worker(json.loads(await reader.readline()))
    await put({"ready": True})
    running = {}

    async def call(asked):
        number, op = asked["id"], asked["op"]
        try:
            if op == "blocks":
                await worker.blocks(asked, lambda told: put({"id": number, **told}))
                await put({"id": number, "end": True})
            elif op in ("evaluate", "endorse", "submit", "status"):
                await put({"id": number, "result": await getattr(worker, op)(asked)})
            else:
                raise Refused("UNIMPLEMENTED", f"no operation {op}")
        except Refused as refused:
            await put({"id": number, "error": refused.told})
        except (TimeoutError, grpc.RpcError) as error:
            code, text = _rpc(error)
            await put({"id": number, "error": {"code": code, "message": text, "details": []}})
        finally:
            running.pop(number, None)

    while line := await reader.readline():
        asked = json.loads(line)
        if asked["op"] == "cancel":
            if task := running.get(asked["of"]):
                task.cancel()
            continue
        running[asked["id"]] = asyncio.create_task(call(asked))


if __name__ == "__main__":
    asyncio.run(serve())
