"""A fleet of sidecars that only say what they are told to: one server behind many loopback addresses answers `/status` for all."""

import http.server
import json
import threading

GATES = ("draining", "breaker", "connection", "hold", "project", "queue", "concurrency", "tokens")


def status(number, *, code="FRESH", says="", target=41, settings="3f9c21aa07be", landed=None, bound=None, beside=(), **facts):
    """What `/status` says of a sidecar, with these facts."""
    return {
        "schema": "evenkeel.status/1",
        "name": f"application-7c9f8-{number:02}",
        "instance": f"{number:012x}",
        "version": "0.1.0",
        "up": 11_520,
        "ready": True,
        "code": code,
        "beside": list(beside),
        "says": says or f"{code} it is.",
        "do": "Nothing.",
        "target": target,
        "raised": facts.pop("raised", 240),
        "settled": True,
        "settings": settings,
        "pending": 0,
        "burst": 2,
        "fleet_size": None,
        "outdated_because": [],
        "facts": {
            "sidecars": 1,
            "rate": 0.2,
            "rate_in_force": 0.2,
            "concurrency": 1,
            "fresh": 20,
            "window": 60.0,
            "lookups": 2400,
            "median": 0.2,
            "landed": landed or {"stored": 10},
            "bound": {gate: (bound or {}).get(gate, 0.0) for gate in GATES},
            **facts,
        },
    }


class Fleet:
    """Sidecars at 127.1.0.1, 127.1.0.2 and so on. Each says what `says(number)` returns, and is silent where that is nothing."""

    def __init__(self, count, says):
        self.asked = 0
        fleet = self

        class Sidecars(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                fleet.asked += 1
                low, high = map(int, self.connection.getsockname()[0].split(".")[3:1:-1])
                said = fleet.says(256 * high + low)
                if said is None:
                    return
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.says = says
        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server(("0.0.0.0", 0), Sidecars)
        port = self._server.server_port
        self.addresses = [f"127.1.{number // 256}.{number % 256}:{port}" for number in range(1, count + 1)]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
