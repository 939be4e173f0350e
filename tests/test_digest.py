"""The sha256 in saved pictures belongs to the weights that drew them, or is left out."""

import copy
import hashlib
import os
from pathlib import Path

import pytest
from comfyui_unconditional.checkpoints.digest import FileDigest
from comfyui_unconditional.networks.errors import CheckpointError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(3_000_001))
    return path


def test_a_file_that_is_replaced_after_it_was_opened_keeps_its_own_sha256(path):
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = FileDigest(path)
    digest.check_unchanged()
    replacement = path.with_suffix(".new")
    replacement.write_bytes(b"another")
    replacement.replace(path)
    assert digest.sha256 == expected
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        digest.check_unchanged()


@pytest.mark.parametrize("change", ["touched", "appended to", "cut short"])
def test_a_file_that_is_changed_in_place_has_no_sha256_and_a_warning_says_so(change, path, caplog):
    digest = FileDigest(path)
    if change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        os.truncate(path, 4_000_000 if change == "appended to" else 100)
    assert digest.sha256 is None
    assert digest.sha256 is None
    (record,) = caplog.records
    assert "has changed since it was loaded" in record.getMessage()


def test_what_happens_to_a_file_after_its_sha256_was_computed_does_not_matter(path):
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = FileDigest(path)
    digest.start()
    assert digest.sha256 == expected
    os.truncate(path, 100)
    assert digest.sha256 == expected
    path.unlink()
    assert digest.sha256 == expected


def test_the_digest_of_a_copied_model_is_that_of_the_model(path):
    digest = FileDigest(path)
    assert copy.deepcopy({"source": digest})["source"].sha256 == digest.sha256
