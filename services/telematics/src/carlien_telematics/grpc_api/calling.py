"""What every servicer needs of a call."""

from typing import TypeAlias

import grpc
from google.protobuf.message import Message

from carlien_common.grpc.context import current_caller
from carlien_telematics.service.reading import Reader

Context: TypeAlias = grpc.aio.ServicerContext[Message, Message]


def reader() -> Reader:
    """Who asks."""
    caller = current_caller()
    return Reader(caller.org, caller.role)
