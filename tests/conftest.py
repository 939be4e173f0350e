"""What all tests share: the oracle made importable, and the table of parity figures."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hub_lookalike import TOKEN, Hub

from devtools.client import Client
from devtools.environment import ROOT
from devtools.host import Host
from devtools.torchvision_on_cpu import declare_missing_operators

declare_missing_operators()
# The tensors here are tiny: threads cost more than they give.
torch.set_num_threads(1)

_figures: dict[str, list[tuple[float, float]]] = defaultdict(list)


@pytest.fixture
def figure() -> Callable[[str, float, float], None]:
    """Assert that a difference is within its bound, and keep it for the table at the end."""

    def check(name: str, difference: float, bound: float) -> None:
        _figures[name].append((difference, bound))
        assert difference <= bound, f"{name}: {difference:.3g} is more than {bound:.3g}"

    return check


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """The look-alike of the hub that the host downloads from."""
    with Hub() as running:
        yield running


@pytest.fixture(scope="session")
def host(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The real ComfyUI with the pack in it, started once for all tests."""
    folder = tmp_path_factory.mktemp("host")
    shutil.copytree(ROOT / "tests" / "host_pack", folder / "custom_nodes" / "host_pack")
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
    environment["OMP_NUM_THREADS"] = "1"  # as above
    environment["HF_HOME"] = str(folder / "huggingface")
    with Host(folder, environment=environment) as running:
        yield running
        assert running.is_running, running.log.read_text(errors="replace")[-3000:]


@pytest.fixture
def client(host: Host) -> Iterator[Client]:
    connected = Client(host.url)
    yield connected
    connected.close()


@pytest.fixture
def models(host: Host) -> Path:
    """ComfyUI's folder for diffusers models."""
    folder = host.folder / "models" / "diffusers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the largest difference for each name."""
    if not _figures:
        return
    terminalreporter.section("largest differences")
    for name, entries in sorted(_figures.items()):
        largest = max(difference for difference, _ in entries)
        bound = max(bound for _, bound in entries)
        terminalreporter.write_line(
            f"{name:<44} {largest:9.2e}   (bound {bound:.0e}, {len(entries)} comparisons)"
        )
