"""Looks a project up. `python lookup.py PROJECT`

The modules of the contract come from: python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/evenkeel/v1/*.proto
"""

import os
import sys
from pathlib import Path

import grpc
from evenkeel.v1.config_pb2 import GetConfigRequest
from evenkeel.v1.config_pb2_grpc import ConfigServiceStub
from evenkeel.v1.types_pb2 import NotRefreshed

options = [
    ("grpc.service_config", (Path(__file__).parent / "retry.json").read_text()),
    ("grpc.default_authority", "localhost"),  # on a Unix socket it would be the socket's path, which is none
    ("grpc.enable_http_proxy", 0),  # with http_proxy set, gRPC would look for 127.0.0.1 behind the proxy
    ("grpc.http2.lookahead_bytes", 2 << 20),
    ("grpc.max_receive_message_length", 33 << 20),
]
address = os.environ.get("EVENKEEL_ADDRESS", "127.0.0.1:7400")
with grpc.insecure_channel(address, options) as channel:  # one channel for the life of a program
    answer = ConfigServiceStub(channel).GetConfig(GetConfigRequest(project=sys.argv[1]), timeout=5)
if answer.not_refreshed:
    reason, seconds = NotRefreshed.Name(answer.not_refreshed), answer.retry_after.ToTimedelta().total_seconds()
    print(f"outdated: {reason}, retry after {seconds:.1f} s", file=sys.stderr)
print(answer.payload.decode())
