"""A renderer: makes a project's configuration of NAME.json in a folder. `python renderer.py FOLDER`

The modules of the contract come from: python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/evenkeel/v1/*.proto
"""

import fcntl
import hashlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from evenkeel.v1.render_pb2 import FetchResponse, RenderResponse
from evenkeel.v1.render_pb2_grpc import RenderServiceServicer, add_RenderServiceServicer_to_server
from evenkeel.v1.types_pb2 import Revision

ROLLOUT = int(os.environ.get("ROLLOUT", "1"))  # what this software is, never what was asked for
WORKERS = int(os.environ.get("WORKERS", "8"))
free = threading.Semaphore(WORKERS)
stored = {}  # keep it where a restart does not lose it, and all replicas find it


def read(source):
    """A file, and the number of its changes, which rises when an old file is restored too, and outlives a restart.

    Each change is a line in NAME.versions, which is only ever added to. With a database, take the version of the row.
    """
    with source.with_suffix(".versions").open("a+") as versions:
        fcntl.flock(versions, fcntl.LOCK_EX)  # other replicas do the same
        text = source.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        versions.seek(0)
        known = versions.read().split()
        if known[-1:] != [digest]:
            versions.write(f"{digest}\n")
            known.append(digest)
    return text, len(known)


class Renderer(RenderServiceServicer):
    def Render(self, request, context):
        source = {file.stem: file for file in Path(sys.argv[1]).glob("*.json")}.get(request.project)
        if source is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such project")
        if not free.acquire(blocking=False):  # too many at once are slower together: say when to come back
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "2000"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        try:
            text, number = read(source)
            settings = json.loads(text)  # the work; between steps: if not context.is_active(), stop
            payload = json.dumps({"rollout": ROLLOUT, **settings}).encode()
        finally:
            free.release()
        revision = Revision(project=request.project, rollout=ROLLOUT, number=number, content_type="application/json")
        revision.rendered_at.GetCurrentTime()
        stored[request.project] = FetchResponse(revision=revision, payload=payload)
        return RenderResponse(revision=revision, payload=payload)

    def Fetch(self, request, context):  # optional: what a new pod starts from, at no cost
        return stored.get(request.project) or context.abort(grpc.StatusCode.NOT_FOUND, "not stored")


server = grpc.server(ThreadPoolExecutor(4 * WORKERS))
add_RenderServiceServicer_to_server(Renderer(), server)
port = server.add_insecure_port(os.environ.get("LISTEN", "127.0.0.1:7070"))
server.start()
print(f"listening on port {port}", flush=True)
server.wait_for_termination()
