"""Every rpc of every service is found through reflection and is really served: what a grpcurl user needs."""

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from loan_scenario.clients import Stack

_INFRASTRUCTURE = ("grpc.health.", "grpc.reflection.")

# An empty request is bad input, or the role may not: either way the rpc is there, and it doesn't break.
_SERVED = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND}


def _serialised(message: Message) -> bytes:
    return message.SerializeToString()


def _channel(stack: Stack, address: str) -> grpc.Channel:
    folder = stack.pki / "org1"
    credentials = grpc.ssl_channel_credentials(
        (stack.pki / "ca.crt").read_bytes(), (folder / "admin.key").read_bytes(), (folder / "admin.crt").read_bytes()
    )
    return grpc.secure_channel(address, credentials)


@pytest.mark.parametrize("service", ["valuation", "lien_registry", "telematics", "pricing"])
def test_every_reflected_rpc_answers(service: str) -> None:
    stack = Stack.from_environment()
    with _channel(stack, getattr(stack, service)) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = [name for name in database.get_services() if not name.startswith(_INFRASTRUCTURE)]
        assert names
        pool = DescriptorPool(database)
        for name in names:
            for method in pool.FindServiceByName(name).methods:
                if method.client_streaming or method.server_streaming:
                    continue
                request = message_factory.GetMessageClass(method.input_type)()
                answer = channel.unary_unary(f"/{name}/{method.name}", request_serializer=_serialised).future(request, timeout=20)
                assert answer.code() in _SERVED, (name, method.name, answer.code(), answer.details())
