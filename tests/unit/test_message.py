# SPDX-License-Identifier: Apache-2.0
"""Message: the envelope, its fields, and its bytes."""

import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref

import msgpack
import numpy as np
import pytest

import ipcsys
from blocks import kept_by
from ipcsys import Message, MessageType


class Noted(Message):
    pass


FULL = {
    "id": 7, "sender": "me", "correlation_id": 2**64 - 1, "reply_to": "inbox",
    "timestamp": 12.5, "headers": {"trace": b"\1", "hops": [1, (2,)]},
}  # fmt: skip
FIELDS = ("type", "data", *FULL)


def fields(message):
    return {name: getattr(message, name) for name in FIELDS}


def test_fields_left_out_get_their_defaults():
    before = time.time()
    message = Message()
    assert message.type is MessageType.NOTIFICATION and message.data is None
    assert message.sender == "" and message.correlation_id is None and message.reply_to is None
    assert message.headers == {} and before <= message.timestamp <= time.time()
    assert isinstance(message.id, int)


def test_fields_are_what_was_given():
    message = Message(MessageType.REQUEST, {"x": 1}, **FULL)
    assert fields(message) == {"type": MessageType.REQUEST, "data": {"x": 1}, **FULL}
    assert Message(type=1, data=5).type is MessageType.REQUEST
    assert Message(None, headers=None, sender=None).sender == ""


def test_message_types_have_their_numbers():
    assert {kind.name: kind.value for kind in MessageType} == {
        "REQUEST": 1, "RESPONSE": 2, "NOTIFICATION": 3, "HEARTBEAT": 4, "SHUTDOWN": 5,
    }  # fmt: skip
    for kind in MessageType:
        assert Message(kind).type is kind
        assert Message.from_bytes(Message(kind).to_bytes()).type is kind
        assert pickle.loads(pickle.dumps(kind)) is kind


def test_ids_differ_in_threads_and_forked_children():
    ids, lock = [], threading.Lock()

    def make():
        mine = [Message().id for _ in range(500)]
        with lock:
            ids.extend(mine)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading, writing = os.pipe()
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os.write(writing, b"".join(Message().id.to_bytes(8, "big") for _ in range(50)))
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        sent = pipe.read()
    ids += [int.from_bytes(sent[i : i + 8], "big") for i in range(0, len(sent), 8)]
    ids += [Message().id for _ in range(500)]
    assert len(ids) == 4 * 500 + 3 * 50 + 500
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [({"type": "REQUEST"}, TypeError, "type must be a MessageType, not str"),
     ({"type": True}, TypeError, "type must be"), ({"type": 0}, ValueError, "type must be a MessageType: 1 to 5"),
     ({"type": 6}, ValueError, "type must"), ({"type": 2**70}, ValueError, "type must"),
     ({"id": "1"}, TypeError, "id must be an int, not str"), ({"id": 1.0}, TypeError, "id must be"),
     ({"id": -1}, ValueError, r"id must be from 0 to 2\*\*64 - 1"), ({"id": 2**64}, ValueError, "id"),
     ({"correlation_id": "x"}, TypeError, "correlation_id must be an int or None"),
     ({"correlation_id": -1}, ValueError, "correlation_id"),
     ({"sender": b"x"}, TypeError, "sender must be a str, not bytes"),
     ({"reply_to": 1}, TypeError, "reply_to must be a str or None, not int"),
     ({"timestamp": "now"}, TypeError, "timestamp must be a number or None, not str"), ({"timestamp": float("nan")}, ValueError, "finite"),
     ({"timestamp": float("-inf")}, ValueError, "finite"),
     ({"headers": [1]}, TypeError, "headers must be a dict or None, not list"),
     ({"sander": "x"}, TypeError, "a Message has no field 'sander'")],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_wrong_fields_are_refused_by_name(given, error, said):
    for make in (Message, Noted, Message().replace):
        with pytest.raises(error, match=said):
            make(**given)


def test_arguments_beyond_type_and_data_are_keywords():
    with pytest.raises(TypeError, match="at most 2 positional"):
        Message(1, 2, 3)
    with pytest.raises(TypeError, match="two values for 'data'"):
        Message(1, 2, data=3)
    with pytest.raises(TypeError, match="two values for 'type'"):
        Noted(1, type=3)


def test_fields_cannot_be_set():
    message = Message()
    for name in FIELDS:
        with pytest.raises(AttributeError):
            setattr(message, name, None)
        with pytest.raises(AttributeError):
            delattr(message, name)


def test_replace_makes_another_with_some_fields_changed():
    message = Message(1, [1], **FULL)
    other = message.replace(sender="you", data=2)
    assert fields(other) == {**fields(message), "sender": "you", "data": 2}
    assert message.sender == "me" and message.data == [1]
    assert message.__replace__(id=8).id == 8
    assert type(Noted().replace()) is Noted
    with pytest.raises(TypeError):
        message.replace("you")


def test_headers_belong_to_the_message():
    headers = {"a": 1}
    message = Message(headers=headers)
    other = message.replace(sender="x")
    headers["b"] = other.headers["c"] = 2
    assert message.headers == {"a": 1}
    message.headers["d"] = 3
    assert Message.from_bytes(message.to_bytes()).headers == {"a": 1, "d": 3}


DATA = [
    None, 5, "text", b"bytes", (1, [2, {3}]), {"k": bytearray(b"v")}, 2**100, complex(1, 2), int,
    [[[[]]]],
]  # fmt: skip


@pytest.mark.parametrize("data", DATA, ids=repr)
@pytest.mark.parametrize("given", [{}, FULL, {"sender": "\ud800", "headers": {1: {2: None}}}])
def test_bytes_bring_every_field_back(data, given):
    message = Message(MessageType.REQUEST, data, **given)
    for raw in (message.to_bytes(), bytearray(message.to_bytes()), memoryview(message.to_bytes())):
        got = Message.from_bytes(raw)
        assert got == message and type(got) is Message
        assert type(got.data) is type(data) and type(got.headers) is dict
    for got in (pickle.loads(pickle.dumps(message)), copy.copy(message), copy.deepcopy(message)):
        assert got == message and fields(got) == fields(message)


def test_the_bytes_are_an_array_that_others_can_read():
    message = Message(1, {"x": [1.5]}, **{**FULL, "headers": {"k": "v"}})
    parts = [1, 7, "me", 2**64 - 1, "inbox", 12.5, {"k": "v"}, 1, {"x": [1.5]}]
    assert msgpack.unpackb(message.to_bytes()) == parts
    assert message.to_bytes() == msgpack.packb(parts)
    assert Message.from_bytes(msgpack.packb(parts)) == message
    pickled = msgpack.unpackb(message.replace(data=1j).to_bytes())
    assert pickled[7] == 2 and pickle.loads(pickled[8]) == 1j


def test_the_deepest_value_that_is_not_pickled_travels():
    data = None
    for _ in range(100):
        data = [data]
    message = Message(data=data)
    assert Message.from_bytes(message.to_bytes(allow_pickle=False)) == message
    message = Message(data=[data])
    assert Message.from_bytes(message.to_bytes()) == message


def test_arrays_travel():
    message = Message(data={"array": np.arange(3)})
    assert Message.from_bytes(message.to_bytes(allow_pickle=False)).data["array"].tolist() == [0, 1, 2]


def test_pickle_can_be_forbidden_on_both_sides():
    message = Message(data=1j)
    with pytest.raises(ipcsys.EncodeError, match="complex needs pickle, which is not allowed"):
        message.to_bytes(allow_pickle=False)
    raw = message.to_bytes()
    with pytest.raises(ipcsys.DecodeError, match="pickled, which is not allowed") as caught:
        Message.from_bytes(raw, allow_pickle=False)
    assert caught.value.data == raw
    assert Message.from_bytes(raw, allow_pickle=True) == message
    plain = Message(data=1)
    assert Message.from_bytes(plain.to_bytes(allow_pickle=False), allow_pickle=False) == plain


def test_what_cannot_travel_is_an_encode_error():
    with pytest.raises(ipcsys.EncodeError, match="pickling a .*lock.* failed") as caught:
        Message(data=threading.Lock()).to_bytes()
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(ipcsys.EncodeError, match="complex in the headers; they take plain values"):
        Message(headers={"x": 1j}).to_bytes()


def wire(**changes):
    parts = {"type": 1, "id": 1, "sender": "s", "correlation_id": None, "reply_to": None,
             "timestamp": 1.0, "headers": {}, "kind": 1, "data": None}  # fmt: skip
    parts.update(changes)
    return msgpack.packb(list(parts.values()))


BAD = [
    b"", b"\xc0", b"junk", wire()[:-1], wire() + b"\0", msgpack.packb([1] * 8), msgpack.packb([1] * 10),
    b"\x99", wire(type=0), wire(type=9), wire(type="x"), wire(type=None), wire(id=None), wire(id=-1),
    wire(id="x"), wire(sender=None), wire(sender=1), wire(correlation_id=-1), wire(reply_to=5),
    wire(timestamp=None), wire(timestamp="x"), wire(timestamp=float("nan")), wire(headers=None),
    wire(headers=[1]), wire(kind=0), wire(kind=3), wire(kind=-1), wire(kind="x"),
    wire(kind=2, data="not bytes"), wire(kind=2, data=b"not pickle"), wire(type=2**63),
]  # fmt: skip


@pytest.mark.parametrize("raw", BAD, ids=range(len(BAD)))
def test_bad_bytes_raise_decode_error_with_the_bytes(raw):
    assert Message.from_bytes(wire()).data is None
    for kind in (Message, Noted):
        with pytest.raises(ipcsys.DecodeError) as caught:
            kind.from_bytes(raw)
        assert caught.value.data == raw


def test_every_prefix_and_mutation_is_read_or_refused():
    raw = Message(1, {"x": (1, {2}), "y": b"z"}, **FULL).to_bytes()
    for size in range(len(raw)):
        with pytest.raises(ipcsys.DecodeError):
            Message.from_bytes(raw[:size])
    for at in range(len(raw)):
        for byte in (0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xC7, 0xD9, 0xDD, 0xDF, 0xFF, raw[at] ^ 1):
            mutated = raw[:at] + bytes([byte]) + raw[at + 1 :]
            try:
                repr(Message.from_bytes(mutated))
            except ipcsys.DecodeError as error:
                assert error.data == mutated


@pytest.mark.parametrize(
    "call",
    [lambda: Message.from_bytes(), lambda: Message.from_bytes("text"), lambda: Message.from_bytes(None),
     lambda: Message.from_bytes(b"", 1), lambda: Message.from_bytes(b"", pickle=1),
     lambda: Message().to_bytes(1), lambda: Message().to_bytes(pickle=1)],
)  # fmt: skip
def test_wrong_arguments_raise_type_error(call):
    with pytest.raises(TypeError):
        call()


def test_messages_are_equal_field_by_field():
    message = Message(1, [1], **FULL)
    assert message == Message(1, [1], **FULL) == Noted(1, [1], **FULL)
    changes = {"type": 2, "data": [2], "id": 8, "sender": "x", "correlation_id": None,
               "reply_to": None, "timestamp": 1.0, "headers": {}}  # fmt: skip
    for name, value in changes.items():
        assert message != message.replace(**{name: value}), name
    assert message != 5 and "x" != message
    with pytest.raises(TypeError):
        sorted([message, message.replace()])
    with pytest.raises(TypeError):
        hash(message)


def test_the_repr_shows_what_is_filled():
    message = Message(MessageType.REQUEST, {"x": 1}, id=7, timestamp=1.5)
    assert repr(message) == "Message(MessageType.REQUEST, {'x': 1}, id=7, timestamp=1.5)"
    assert eval(repr(Message(1, 2, **FULL))) == Message(1, 2, **FULL)
    assert repr(Noted(5, id=0, timestamp=1)).startswith("Noted(MessageType.SHUTDOWN, None, id=0, t")
    data = []
    message = Message(data=data)
    data.append(message)
    assert "Message(...)" in repr(message)


class Carrier(Message):
    def __new__(cls, cargo):
        return super().__new__(cls, MessageType.REQUEST, cargo, sender="carrier")


def test_subclasses_keep_their_class_and_attributes():
    assert Carrier(5).data == 5 and Carrier(5).sender == "carrier"
    message = Noted(1, 2)
    message.note = "kept"
    copied = pickle.loads(pickle.dumps(message))
    assert type(copied) is Noted and copied.note == "kept" and copied == message
    assert type(Noted.from_bytes(message.to_bytes())) is Noted
    reference = weakref.ref(message)
    assert reference() is message
    del message
    assert reference() is None


def test_cycles_are_collected_and_deep_chains_end():
    data = {}
    message = Noted(data=data, headers={"x": data})
    data["m"] = message
    reference = weakref.ref(message)
    del message, data
    gc.collect()
    assert reference() is None
    chain = None
    for _ in range(200_000):
        chain = Message(data=chain)
    del chain


def test_a_message_outlives_its_sender():
    def send(queue):
        queue.put(Message(1, {"from": os.getpid()}).to_bytes())

    queue = multiprocessing.get_context("fork").SimpleQueue()
    sender = multiprocessing.get_context("fork").Process(target=send, args=(queue,))
    sender.start()
    sender.join(30)
    message = Message.from_bytes(queue.get())
    queue.close()
    assert message.data == {"from": sender.pid}


def test_enum_is_imported_with_the_first_message_only():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import ipcsys; print('enum' in sys.modules);"
        "ipcsys.Message(); print('enum' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.split() == ["False", "True"]


def test_nothing_leaks():
    raw = Message(1, {"x": [1, 1j]}, **FULL).to_bytes()

    def once():
        Message(1, {"x": 1}, **FULL).replace(sender="y").to_bytes()
        pickle.loads(pickle.dumps(Message.from_bytes(raw)))
        repr(Message()), Message() == Message()
        for bad in BAD:
            with pytest.raises(ipcsys.DecodeError):
                Message.from_bytes(bad)
        for given in ({"type": 0}, {"headers": 1}, {"timestamp": "x"}, {"nothing": 1}):
            with pytest.raises((TypeError, ValueError)):
                Message(**given)

    assert kept_by(once) < 100
