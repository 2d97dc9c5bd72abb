"""JT/T 808-2011, -2013 and -2019: what positioning terminals in China speak."""

from carlien_telematics.codecs.jt808.bodies import (
    decode_body,
    decode_position,
    decode_position_batch,
    encode_bcd_time,
    encode_position,
    encode_position_batch,
    platform_ack,
    query_parameters,
    register_ack,
    set_parameters,
    split_position_batch,
)
from carlien_telematics.codecs.jt808.frame import MAX_FRAME, Message, build, escape, parse, unescape
from carlien_telematics.codecs.jt808.stream import Reassembly, StreamParser

__all__ = [
    "MAX_FRAME",
    "Message",
    "Reassembly",
    "StreamParser",
    "build",
    "decode_body",
    "decode_position",
    "decode_position_batch",
    "encode_bcd_time",
    "encode_position",
    "encode_position_batch",
    "escape",
    "parse",
    "platform_ack",
    "query_parameters",
    "register_ack",
    "set_parameters",
    "split_position_batch",
    "unescape",
]
