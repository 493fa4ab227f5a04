"""What gRPC tools expect of a server: health and reflection."""

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from sidecar import failure_of, served, wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "evenkeel.v1.ConfigService"
NOT_DEGRADED = f"{SERVICE}/degraded"
"""SERVING while the renderer can be used."""


def check(sidecar, service):
    stub = health_pb2_grpc.HealthStub(sidecar.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


@pytest.mark.parametrize("service", ["", SERVICE])
def test_a_ready_sidecar_is_serving(sidecar, service):
    assert check(sidecar, service) == SERVING


def test_an_unknown_service_is_not_found(sidecar):
    assert failure_of(check, sidecar, "evenkeel.v1.Nothing").code == "NOT_FOUND"


def test_health_can_be_watched(sidecar):
    stub = health_pb2_grpc.HealthStub(sidecar.channel)
    assert next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=5)).status == SERVING


def test_a_dead_renderer_leaves_the_sidecar_serving_and_ready(sidecar, renderer):
    sidecar.get("demo/shop")
    renderer.stop()
    sidecar.release(2)
    wait_until(lambda: served(sidecar.get("demo/shop")) == "OUTDATED")
    assert check(sidecar, "") == check(sidecar, SERVICE) == SERVING
    assert sidecar.is_ready()


def test_a_dead_renderer_is_a_health_of_its_own(sidecar, renderer):
    wait_until(lambda: check(sidecar, NOT_DEGRADED) == SERVING)
    renderer.stop()
    wait_until(lambda: check(sidecar, NOT_DEGRADED) == NOT_SERVING)
    renderer.start()
    wait_until(lambda: check(sidecar, NOT_DEGRADED) == SERVING, within=60)


def reflect(sidecar, **question):
    """Asks grpc.reflection.v1, whose messages are those of v1alpha, the only ones that Python has."""
    ask = sidecar.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return next(ask(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=5))


def test_reflection_lists_the_service(sidecar):
    listed = reflect(sidecar, list_services="").list_services_response.service
    assert SERVICE in [service.name for service in listed]


def test_reflection_describes_the_service(sidecar):
    found = reflect(sidecar, file_containing_symbol=SERVICE).file_descriptor_response
    assert any(b"GetConfigRequest" in file for file in found.file_descriptor_proto)
