"""The contract as a Python client sees it: generated from proto/ by grpcio-tools when it is first imported."""

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"


def _generate() -> str:
    folder = tempfile.mkdtemp(prefix="evenkeel-contract-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = [str(file) for file in sorted(PROTO.rglob("*.proto"))]
    # With -I proto alone: the contract needs no third-party protos but those that every protoc brings.
    bundled = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{bundled}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc refuses proto/")
    return folder


sys.path.insert(0, _generate())

from evenkeel.v1.admin_pb2 import (  # noqa: E402, F401
    ExplainProjectRequest,
    ListProjectsRequest,
    ProjectFilter,
)
from evenkeel.v1.admin_pb2_grpc import AdminServiceStub  # noqa: E402, F401
from evenkeel.v1.config_pb2 import (  # noqa: E402, F401
    BatchGetConfigsRequest,
    GetConfigRequest,
    GetConfigResponse,
    MinRevision,
    WatchConfigRequest,
)
from evenkeel.v1.config_pb2_grpc import ConfigServiceStub  # noqa: E402, F401
from evenkeel.v1.render_pb2 import (  # noqa: E402, F401
    Change,
    ChangesRequest,
    FetchRequest,
    FetchResponse,
    HeldRevision,
    RenderRequest,
    RenderResponse,
)
from evenkeel.v1.render_pb2_grpc import (  # noqa: E402, F401
    RenderServiceServicer,
    RenderServiceStub,
    add_RenderServiceServicer_to_server,
)
from evenkeel.v1.types_pb2 import NotRefreshed, RenderReason, Revision, Served  # noqa: E402, F401
