"""Fixtures: a renderer that does as it is told, and sidecars in front of it."""

import pytest

import browser as browsers
from renderer import Renderer
from sidecar import BINARY, Sidecar


def pytest_report_header():
    return f"evenkeel: {BINARY}"


def pytest_configure():
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is not built: run tests/run, or set EVENKEEL_BIN", returncode=4)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture
def renderer():
    renderer = Renderer()
    renderer.start()
    yield renderer
    renderer.stop()


@pytest.fixture
def start_sidecar(renderer, tmp_path):
    """Starts sidecars in front of the renderer, with sections of settings, `nofile` or `record`, as keyword arguments."""
    started = []

    def start(**settings) -> Sidecar:
        folder = tmp_path / f"sidecar-{len(started)}"
        folder.mkdir()
        started.append(Sidecar(folder, renderer.url, **settings))
        return started[-1].start()

    yield start
    for sidecar in started:
        sidecar.stop()
        print(f"--- {sidecar.log_file}\n{sidecar.log()}")


@pytest.fixture
def sidecar(start_sidecar):
    """A sidecar with the settings of Sidecar."""
    return start_sidecar()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium for all tests of a worker."""
    program = browsers.find()
    if program is None:
        pytest.skip("THE PAGE IS NOT LOOKED AT: it needs chromium-headless-shell, which tests/run installs on Debian")
    browser = browsers.Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.stop()
