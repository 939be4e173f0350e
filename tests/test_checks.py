"""What `python dev.py test` runs."""

from pathlib import Path
from typing import Any

import pytest

from devtools import checks


@pytest.mark.parametrize(
    ("capability", "runs"), [("AVX512", 2), ("AVX2", 1), ("DEFAULT", 1)], ids=str
)
def test_parity_is_checked_once_more_with_the_kernels_of_an_older_processor(
    capability: str, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], dict[str, str]]] = []

    def call(command: list[str], *, cwd: Path, env: dict[str, str] | None) -> int:
        calls.append((command, env or {}))
        return 0

    monkeypatch.setattr(checks.torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert run(call, tmp_path, monkeypatch, []) == 0
    tests = [(command, env) for command, env in calls if "pytest" in command]
    assert len(tests) == runs
    assert tests[0][1] == {}
    if runs == 2:
        command, env = tests[1]
        assert command[-2:] == ["-m", "parity"]
        assert env["ONEDNN_MAX_CPU_ISA"] == "AVX2"


@pytest.mark.parametrize(("status", "arguments"), [(1, ["-k", "x"]), (5, []), (5, ["-k", "x"])])
def test_a_selection_of_tests_need_not_have_one_of_parity(
    status: int, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(command: list[str], **_: Any) -> int:
        return status if "parity" in command else 0

    monkeypatch.setattr(checks.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    fails = (status, bool(arguments)) != (5, True)
    assert run(call, tmp_path, monkeypatch, arguments) == fails


def run(call: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    monkeypatch.setattr(checks, "versions_to_test", lambda: ("0",))
    monkeypatch.setattr(checks, "comfyui_path", lambda version: folder)
    monkeypatch.setattr(checks, "ensure_browser", lambda: folder)
    monkeypatch.setattr(checks.subprocess, "call", call)
    return checks.run_checks(arguments)
