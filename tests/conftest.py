"""Shared by all tests: the import path of the oracle, and the table of parity figures."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from float64 import Comparison, Parity
from hub_lookalike import TOKEN, Hub
from PIL import Image
from wiring import Bench, Wires

from devtools.client import Client
from devtools.comfyui import comfyui_path, versions_to_test
from devtools.environment import ROOT
from devtools.host import Host
from devtools.torchvision_on_cpu import declare_missing_operators

declare_missing_operators()
pytest.register_assert_rewrite("graphs")  # so that failed assertions in it show their values
# The tensors here are tiny: threads cost more than they gain.
torch.set_num_threads(1)

_figures: dict[str, list[tuple[float, float]]] = defaultdict(list)
_comparisons: dict[str, list[Comparison]] = defaultdict(list)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        choices=["first", "second", "quick"],
        help="first: those on the first ComfyUI and in the browser; second: all others; each case "
        "of a test runs on one ComfyUI; quick: those that need neither and are not slow",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are not in the requested part."""
    part = config.getoption("--part")
    if part is None:
        return
    kept, others = [], []
    dealt = _dealt_out(items)
    for item in items:
        version = _host_of(item)
        first = version == versions_to_test()[0] or "browser" in item.path.parts
        if part == "quick":
            wanted = not (first or version or item.get_closest_marker("slow"))
        else:
            wanted = first == (part == "first") and item not in dealt
        (kept if wanted else others).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=others)


def _host_of(item: pytest.Item) -> str | None:
    return getattr(item, "callspec", None) and item.callspec.params.get("host")


def _dealt_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the cases that another host tests: a test's cases take turns in the two hosts.

    A test with one case runs in each of them.
    """
    cases: dict[tuple[str, str], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if version := _host_of(item):
            cases[item.nodeid.partition("[")[0], version].append(item)
    versions = versions_to_test()
    return {
        case
        for (_, version), of_host in cases.items()
        if len(of_host) > 1
        for number, case in enumerate(of_host)
        if versions[number % len(versions)] != version
    }


@pytest.fixture
def figure() -> Callable[[str, float, float], None]:
    """Assert that a difference is within its bound, and keep it for the table at the end."""

    def check(name: str, difference: float, bound: float) -> None:
        _figures[name].append((difference, bound))
        assert difference <= bound, f"{name}: {difference:.3g} is more than {bound:.3g}"

    return check


@pytest.fixture
def parity() -> Parity:
    """Assert that a comparison with float64 holds, and keep it for the table at the end."""

    def check(name: str, comparison: Comparison) -> None:
        _comparisons[name].append(comparison)
        assert comparison.holds, f"{name}: {comparison}, more than {comparison.bound:.3g}"

    return check


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """The imitation of the hub that the host downloads from."""
    with Hub() as running:
        yield running


@pytest.fixture(
    scope="session", params=versions_to_test(), ids=lambda version: f"ComfyUI-{version}"
)
def host(
    request: pytest.FixtureRequest, hub: Hub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """The real ComfyUI with the pack in it: each version started once, one after the other."""
    folder = tmp_path_factory.mktemp("host")
    shutil.copytree(ROOT / "tests" / "host_pack", folder / "custom_nodes" / "host_pack")
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
    environment["OMP_NUM_THREADS"] = "1"  # same as above
    environment["HF_HOME"] = str(folder / "huggingface")
    with Host(folder, comfyui=comfyui_path(request.param), environment=environment) as running:
        yield running
        assert running.is_running, running.log.read_text(errors="replace")[-3000:]


@pytest.fixture
def client(host: Host) -> Iterator[Client]:
    connected = Client(host.url)
    yield connected
    connected.close()


@pytest.fixture
def wires() -> Wires:
    """A graph without a node."""
    return Wires()


@pytest.fixture
def bench(host: Host, client: Client) -> Bench:
    """Runs graphs, and passes tensors into the host and out of it."""
    return Bench(host, client)


@pytest.fixture
def models(host: Host) -> Path:
    """ComfyUI's folder for diffusers models."""
    folder = host.folder / "models" / "diffusers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Three pictures, of other sizes than the model's."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    g = torch.Generator().manual_seed(0)
    for name, size in (("b.png", (12, 10)), ("more/c.png", (9, 20)), ("a.PNG", (8, 8))):
        pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=g, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / name)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print for each name the largest difference, or the comparison closest to its bound."""
    if _figures:
        terminalreporter.section("largest differences")
    for name, entries in sorted(_figures.items()):
        largest = max(difference for difference, _ in entries)
        bound = max(bound for _, bound in entries)
        terminalreporter.write_line(
            f"{name:<44} {largest:9.2e}   (bound {bound:.0e}, {len(entries)} comparisons)"
        )
    if _comparisons:
        terminalreporter.section("distances from float64")
    for name, found in sorted(_comparisons.items()):
        nearest = max(found, key=lambda comparison: comparison.ours / comparison.bound)
        apart = max(comparison.apart for comparison in found)
        terminalreporter.write_line(
            f"{name:<44} {nearest.ours:9.2e}, reference {nearest.theirs:9.2e}   "
            f"(bound {nearest.bound:.1e}, {len(found)} comparisons; apart at most {apart:.1e})"
        )
