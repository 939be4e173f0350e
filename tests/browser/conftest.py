"""One host, one browser and one page of the editor for all tests of this folder.

The editor is the one that requirements/dev.txt names. To run the tests on another one, set
UNCONDITIONAL_FRONTEND to the folder `static` of its comfyui-frontend-package.
"""

import os
import re
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from templates import put_inputs

from devtools.browser import ARGUMENTS, NO_BROWSER, find_browser, is_ci
from devtools.comfyui import comfyui_path
from devtools.environment import ROOT
from devtools.host import Host

from .editor import SETTINGS, Editor


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser; without one the tests are skipped, or fail in continuous integration."""
    path = find_browser()
    if path is None:
        pytest.fail(NO_BROWSER) if is_ci() else pytest.skip(NO_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def editor_host(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The newest ComfyUI that is tested on: older ones run with the same page."""
    folder = tmp_path_factory.mktemp("editor")
    shutil.copytree(ROOT / "tests" / "host_pack", folder / "custom_nodes" / "host_pack")
    environment = {"HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    frontend = os.environ.get("UNCONDITIONAL_FRONTEND")
    arguments = ("--front-end-root", frontend) if frontend else ()
    with Host(
        folder, comfyui=comfyui_path(), arguments=arguments, environment=environment
    ) as running:
        put_inputs(running)
        yield running
        assert running.is_running, running.log.read_text(errors="replace")[-3000:]


@pytest.fixture(scope="package")
def screenshots() -> Path:
    """The folder for screenshots of the page, for you to look at."""
    folder = ROOT / "runs" / "browser"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="package")
def _shared_editor(chromium: Browser, editor_host: Host, screenshots: Path) -> Iterator[Editor]:
    with Editor(chromium, editor_host, screenshots) as editor:
        yield editor


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a screenshot of the page if a test fails."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Editor):
                value.shot(f"failed_{re.sub('[^a-z0-9]+', '_', item.name.lower())[:100]}")
    return report


@pytest.fixture
def editor(_shared_editor: Editor) -> Iterator[Editor]:
    """The page in English with an empty graph; nothing of ours may complain in it."""
    _shared_editor.ensure(SETTINGS)
    _shared_editor.clear()
    yield _shared_editor
    assert not _shared_editor.complaints()


@pytest.fixture
def chinese(_shared_editor: Editor) -> Iterator[Editor]:
    """The same page in Chinese."""
    _shared_editor.ensure({**SETTINGS, "Comfy.Locale": "zh"})
    _shared_editor.clear()
    yield _shared_editor
    assert not _shared_editor.complaints()


@pytest.fixture
def modern(_shared_editor: Editor) -> Iterator[Editor]:
    """The same page with nodes that are elements of the page."""
    _shared_editor.ensure({**SETTINGS, "Comfy.VueNodes.Enabled": True})
    _shared_editor.clear()
    yield _shared_editor
    assert not _shared_editor.complaints()


@pytest.fixture
def sharp(chromium: Browser, editor_host: Host, screenshots: Path) -> Iterator[Editor]:
    """A page of its own, on a screen of twice the density."""
    with Editor(chromium, editor_host, screenshots, density=2) as editor:
        editor.ensure(SETTINGS)
        yield editor
        assert not editor.complaints()
