"""A peer of HTTP/2 that minds no rules: it sends what frames it likes, and reads or does not."""

import socket
import struct
import threading
import time
from collections import Counter

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 4, 5
MOST_WINDOW = (1 << 31) - 1
MOST_FRAME = (1 << 24) - 1

SERVICE = "/evenkeel.v1.ConfigService"
GET, BATCH, WATCH = f"{SERVICE}/GetConfig", f"{SERVICE}/BatchGetConfigs", f"{SERVICE}/WatchConfig"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    names = {"header_table_size": 1, "max_concurrent_streams": 3, "initial_window_size": 4, "max_frame_size": 5}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", names[name], value) for name, value in values.items()))


def window_update(stream: int, by: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))


def message(serialized: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """A frame of gRPC."""
    return struct.pack(">BI", flag, len(serialized) if length is None else length) + serialized


def field(name: str, value: str) -> bytes:
    """A header as a literal that is not indexed (RFC 7541, 6.2.2)."""

    def text(of: str) -> bytes:
        raw = of.encode()
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        rest, length = len(raw) - 127, b"\x7f"
        while rest >= 128:
            length, rest = length + bytes([rest & 127 | 128]), rest >> 7
        return length + bytes([rest]) + raw

    return b"\0" + text(name) + text(value)


def block(path: str, **extra: str) -> bytes:
    """The headers of a call."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    fields |= {name.replace("_", "-"): value for name, value in extra.items()}
    return b"".join(field(name, value) for name, value in fields.items())


class Peer:
    """One connection. Without `reads`, what comes is left in the socket."""

    def __init__(self, address: str, *, reads: bool = True, **offers: int):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.came: Counter[int] = Counter()
        """How many frames of each kind came."""
        self._window: Counter[int] = Counter({0: 65_535})
        self._initial = 65_535
        self.frames: list[tuple[int, int, int, bytes]] = []
        """The first thousand frames, as kind, flags, stream and payload."""
        self._stream = -1
        self.send(PREFACE + settings(**offers))
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reads:
            self._reader.start()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()

    def is_open(self) -> bool:
        """Whether the other side has not closed; only of one that reads."""
        return self._reader.is_alive()

    def send(self, data: bytes) -> bool:
        """Sends, unless the other side has closed."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def stream(self) -> int:
        self._stream += 2
        return self._stream

    def call(self, path: str, serialized: bytes = b"", **extra: str) -> int:
        """Makes a call, and returns its stream."""
        stream = self.stream()
        body = frame(DATA, END_STREAM, stream, message(serialized))
        self.send(frame(HEADERS, END_HEADERS, stream, block(path, **extra)) + body)
        return stream

    def window(self, stream: int) -> int:
        """How many bytes of a body may be sent."""
        return min(self._window[0], self._initial + self._window[stream])

    def upload(self, stream: int, body: bytes) -> bool:
        """Sends a body, not its end, as the windows allow; stops when the stream or the connection ends."""
        while body and self.is_open():
            fit = min(self.window(stream), 16_384)
            if fit <= 0:
                if any(of == stream and kind in (HEADERS, RST_STREAM) for kind, _, of, _ in list(self.frames)):
                    return False
                time.sleep(0.001)
                continue
            piece, body = body[:fit], body[fit:]
            self._window[0] -= len(piece)
            self._window[stream] -= len(piece)
            self.send(frame(DATA, 0, stream, piece))
        return not body

    def ended(self, stream: int) -> bytes | None:
        """The headers with which a stream ended, if it did."""
        for kind, flags, of, payload in list(self.frames):
            if of == stream and kind == HEADERS and flags & END_STREAM:
                return payload
        return None

    def _read(self) -> None:
        with self.socket.makefile("rb") as incoming:
            try:
                while head := incoming.read(9):
                    length, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], head[5:9]
                    payload = incoming.read(length)
                    self.came[kind] += 1
                    if len(self.frames) < 1000:
                        self.frames.append((kind, flags, int.from_bytes(stream) & MOST_WINDOW, payload))
                    if kind == WINDOW_UPDATE:
                        self._window[int.from_bytes(stream)] += int.from_bytes(payload)
                    if kind == SETTINGS and not flags & ACK:
                        for at in range(0, length, 6):
                            name, value = struct.unpack_from(">HI", payload, at)
                            self._initial = value if name == INITIAL_WINDOW_SIZE else self._initial
                        self.send(frame(SETTINGS, ACK, 0))
                    if kind == PING and not flags & ACK:
                        self.send(frame(PING, ACK, 0, payload))
            except (OSError, ValueError):
                pass
