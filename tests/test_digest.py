"""The sha256 in saved pictures is that of the weights that drew them, or there is none."""

import hashlib
import os
from pathlib import Path

import pytest
from comfyui_unconditional.unet.digest import FileDigest
from comfyui_unconditional.unet.errors import CheckpointError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(3_000_001))
    return path


def test_a_file_that_is_replaced_after_it_was_opened_keeps_its_own_sha256(path: Path) -> None:
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = FileDigest(path)
    digest.check_unchanged()
    replacement = path.with_suffix(".new")
    replacement.write_bytes(b"another")
    replacement.replace(path)
    assert digest.sha256 == expected
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        digest.check_unchanged()


def test_a_file_that_is_changed_in_place_has_no_sha256(path: Path) -> None:
    digest = FileDigest(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(CheckpointError, match="was changed after it was loaded"):
        _ = digest.sha256
