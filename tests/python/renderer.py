"""A renderer that does as it is told: it answers, stalls, fails or answers nonsense, and remembers what it was asked."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from contract import (
    Change,
    FetchResponse,
    RenderReason,
    RenderRequest,
    RenderResponse,
    RenderServiceServicer,
    Revision,
    add_RenderServiceServicer_to_server,
)

# A sidecar keeps few calls open at once, and a stalled one keeps its thread.
THREADS = 64


@dataclass(frozen=True)
class Call:
    """A render that was asked for."""

    at: float
    request: RenderRequest
    remaining: float | None
    metadata: dict[str, str]

    @property
    def project(self) -> str:
        return self.request.project

    @property
    def reason(self) -> str:
        return RenderReason.Name(self.request.reason).removeprefix("RENDER_REASON_")


@dataclass(frozen=True)
class Answers:
    """Renders; what is unset is as it should be."""

    payload: bytes | None = None
    project: str | None = None
    rollout: int | None = None
    number: int = 1
    digest: str = ""
    rollouts_behind: int = 0
    not_modified: bool = False


@dataclass(frozen=True)
class Fails:
    """Ends the call with a status."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, str], ...]
    details: tuple


class Stalls:
    """Does nothing until told otherwise."""


class Renderer(RenderServiceServicer):
    """Serves RenderService on a port of 127.0.0.1, which it keeps over `stop` and `start`."""

    def __init__(self):
        self._changed = threading.Condition()
        self._behaviour: dict[str | None, Answers | Fails | Stalls] = {None: Answers()}
        self._calls: list[Call] = []
        self._fetches: list[str] = []
        self._stored: dict[str, FetchResponse] | None = None
        self._change_streams: list[SimpleQueue] | None = []
        self._at_once: int | None = None
        self._cost = 0.0
        self._refuses_changes: grpc.StatusCode | None = None
        self._afters: list[str] = []
        self._confirms: list[str] = []
        self._fetch_metadata: list[dict[str, str]] = []
        self._position: str | None = None
        self._knows_positions = True
        self._server: grpc.Server | None = None
        # Options of the gRPC server, for the next start.
        self.options: tuple[tuple[str, int], ...] = ()
        self.port = 0

    # What it is told. With `only`, of one project, else of all that have no word of their own.

    def answers(self, *, only: str | None = None, **what) -> None:
        self._behave(only, Answers(**what))

    def stalls(self, *, only: str | None = None) -> None:
        self._behave(only, Stalls())

    def fails(self, code, message="told to", *, trailers=(), details=(), only=None) -> None:
        self._behave(only, Fails(code, message, tuple(trailers), tuple(details)))

    def knows_not(self, project: str) -> None:
        self.fails(grpc.StatusCode.NOT_FOUND, "no such project", only=project)

    def stores(self, *projects: str, rollout: int, number: int = 1) -> None:
        """Offers Fetch, of these projects among others; without this it is UNIMPLEMENTED."""
        with self._changed:
            self._stored = self._stored or {}
            for project in projects:
                request = RenderRequest(project=project, rollout=rollout)
                rendered = _rendered(Answers(number=number), request)
                self._stored[project] = FetchResponse(revision=rendered.revision, payload=rendered.payload)

    def costs(self, seconds: float) -> None:
        """How long each render and each fetch takes that is answered."""
        self._cost = seconds

    def takes_at_once(self, calls: int) -> None:
        """Starts anew and takes only this many calls at once; grpcio plainly refuses others. Offers no Changes, which would be one."""
        self.stop()
        self._at_once, self._change_streams = calls, None
        self.start()

    def changes(self, project: str, rollout: int, number: int) -> None:
        """Tells the listeners of Changes."""
        self._tell(Change(project=project, rollout=rollout, number=number))

    def stands(self, position: str, *, knows_positions: bool = True) -> None:
        """Has positions from now on, and tells this one. Unless it knows positions, it asks those that have one to resync."""
        with self._changed:
            self._position = position
            self._knows_positions = knows_positions
        self._tell(Change(position=position))

    def refuses_changes(self, code: grpc.StatusCode | None) -> None:
        """Ends each new stream of changes with that status; None stops that."""
        with self._changed:
            self._refuses_changes = code

    def _tell(self, change: Change) -> None:
        with self._changed:
            for stream in self._change_streams or ():
                stream.put(change)

    def _behave(self, only, behaviour):
        with self._changed:
            self._behaviour[only] = behaviour
            self._changed.notify_all()

    # What it was asked.

    def renders(self, project: str | None = None) -> list[Call]:
        with self._changed:
            return [call for call in self._calls if project in (None, call.project)]

    def fetches(self) -> list[str]:
        with self._changed:
            return list(self._fetches)

    def fetch_metadata(self) -> list[dict[str, str]]:
        """The metadata of each fetch."""
        with self._changed:
            return list(self._fetch_metadata)

    def confirms(self) -> list[str]:
        """The projects that a sidecar asked about, of which it holds something."""
        with self._changed:
            return list(self._confirms)

    def afters(self) -> list[str]:
        """The positions that streams of changes were asked to begin after."""
        with self._changed:
            return list(self._afters)

    def is_listened_to(self) -> bool:
        with self._changed:
            return bool(self._change_streams)

    # Life.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = [("grpc.so_reuseport", 0), ("grpc.max_send_message_length", 128 << 20), *self.options]
        threads = ThreadPoolExecutor(THREADS)
        self._server = grpc.server(threads, options=options, maximum_concurrent_rpcs=self._at_once)
        add_RenderServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        if self._server is None:
            return
        stopped = self._server.stop(grace=None)
        with self._changed:
            for stream in self._change_streams or ():
                stream.put(None)
            self._changed.notify_all()
        stopped.wait(10)
        self._server = None

    # RenderService.

    def Render(self, request, context):  # noqa: N802
        with self._changed:
            self._calls.append(Call(time.monotonic(), request, context.time_remaining(), dict(context.invocation_metadata())))
        behaviour = self._settled_behaviour(request.project, context)
        if isinstance(behaviour, Fails):
            _fail(behaviour, context)
        time.sleep(self._cost)
        return _rendered(behaviour, request)

    def Fetch(self, request, context):  # noqa: N802
        is_confirm = request.HasField("held")
        with self._changed:
            (self._confirms if is_confirm else self._fetches).append(request.project)
            self._fetch_metadata.append(dict(context.invocation_metadata()))
            stored = self._stored
        if stored is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "stores nothing")
        if request.project not in stored:
            context.abort(grpc.StatusCode.NOT_FOUND, "not stored")
        time.sleep(self._cost)
        answer = stored[request.project]
        revision, held = answer.revision, request.held
        if is_confirm and (held.rollout, held.number) == (revision.rollout, revision.number):
            return FetchResponse(revision=revision, not_modified=True)
        return answer

    def Changes(self, request, context):  # noqa: N802
        if self._change_streams is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "tells of no changes")
        stream = SimpleQueue()
        with self._changed:
            self._afters.append(request.after)
            refusal = self._refuses_changes
            if self._position is not None:
                resync = bool(request.after) and not self._knows_positions
                stream.put(Change(position=self._position, resync=resync))
            if refusal is None:
                self._change_streams.append(stream)
        if refusal is not None:
            context.abort(refusal, "told to")
        context.add_callback(lambda: stream.put(None))
        yield from iter(stream.get, None)
        with self._changed:
            self._change_streams.remove(stream)

    def _settled_behaviour(self, project, context):
        """What to do about a call, once that is not to stall."""

        def wake():
            with self._changed:
                self._changed.notify_all()

        context.add_callback(wake)
        with self._changed:
            while True:
                behaviour = self._behaviour.get(project, self._behaviour[None])
                if not isinstance(behaviour, Stalls):
                    return behaviour
                if not context.is_active():
                    return Fails(grpc.StatusCode.CANCELLED, "the caller is gone", (), ())
                self._changed.wait()


def payload_of(project: str, rollout: int, number: int = 1) -> bytes:
    """What is rendered unless told otherwise."""
    return json.dumps({"project": project, "rollout": rollout, "number": number}).encode()


def _rendered(answer: Answers, request: RenderRequest) -> RenderResponse:
    rollout = (request.rollout if answer.rollout is None else answer.rollout) - answer.rollouts_behind
    revision = Revision(
        project=request.project if answer.project is None else answer.project,
        rollout=rollout,
        number=answer.number,
        digest=answer.digest,
        content_type="application/json",
    )
    revision.rendered_at.GetCurrentTime()
    if answer.not_modified:
        return RenderResponse(revision=revision, not_modified=True)
    payload = answer.payload
    if payload is None:
        payload = payload_of(request.project, rollout, answer.number)
    return RenderResponse(revision=revision, payload=payload)


def _fail(failure: Fails, context):
    context.set_trailing_metadata(failure.trailers)
    if not failure.details:
        context.abort(failure.code, failure.message)
    status = status_pb2.Status(code=failure.code.value[0], message=failure.message)
    for detail in failure.details:
        status.details.add().Pack(detail)
    details = rpc_status.to_status(status)
    context.set_trailing_metadata((*failure.trailers, *details.trailing_metadata))
    context.abort(failure.code, failure.message)
