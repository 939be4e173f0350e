"""From the Hugging Face hub to a MODEL."""

from pathlib import Path

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..checkpoints.files import find_files
from ..checkpoints.hub import DownloadError, HubModel, download, is_complete
from ..host.folders import download_root
from ..host.model_report import model_report
from ..host.run_report import REPORTS
from .load import load_model

_downloaded: dict[Path, dict[str, str]] = {}
"""For each folder that this process downloaded: the fingerprint after the download -> the one
before."""


class UnconditionalUNetDownload(io.ComfyNode):
    """Download Unconditional UNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalUNetDownload",
            display_name="Download Unconditional UNet",
            category="unconditional",
            description="Downloads an unconditional pixel-space diffusion model from the Hugging "
            "Face Hub to ComfyUI/models/diffusers, once, and loads it.",
            search_aliases=["diffusers", "hugging face", "hub", "unconditional model"],
            inputs=[
                io.String.Input(
                    "repo_id",
                    default="google/ddpm-cifar10-32",
                    tooltip="The model on the Hub, as owner/name. For a private or gated model, "
                    "log in with 'hf auth login'. Never write a token into a workflow.",
                ),
                io.String.Input(
                    "revision",
                    default="main",
                    tooltip="A branch, tag or commit. Once downloaded, a model stays unchanged, "
                    "even if the branch is updated.",
                    advanced=True,
                ),
                io.String.Input(
                    "variant",
                    default="",
                    tooltip="Leave empty for the usual weights. Enter for example fp16 if the "
                    "repository has diffusion_pytorch_model.fp16.safetensors.",
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model, for the samplers of this pack.")],
            **REPORTS,
        )

    @classmethod
    def validate_inputs(
        cls, repo_id: str | None, revision: str | None, variant: str | None
    ) -> bool | str:
        try:
            # None: the value comes from another node.
            HubModel(repo_id or "a/a", revision or "main", variant or "")
            if repo_id == "" or revision == "":
                return "repo_id and revision cannot be empty."
        except DownloadError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls, repo_id: str | None, revision: str | None, variant: str | None
    ) -> str:
        if repo_id is None or revision is None or variant is None:
            return ""  # the value comes from another node
        model = HubModel(repo_id, revision, variant)
        return _fingerprint(download_root() / model.folder_name, model)

    @classmethod
    def execute(cls, repo_id: str, revision: str, variant: str) -> io.NodeOutput:
        model = HubModel(repo_id, revision, variant)
        bar = comfy.utils.ProgressBar(1)

        def show(done: int, total: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(done, total)

        root = download_root()
        before = _fingerprint(root / model.folder_name, model)
        folder = download(root, model, show)
        files = find_files(folder)
        if before != files.fingerprint:
            _downloaded.setdefault(folder, {})[files.fingerprint] = before
        loaded = load_model(folder.name, files)
        return io.NodeOutput(loaded, ui=model_report(loaded))


def _fingerprint(folder: Path, model: HubModel) -> str:
    """Return a value that changes if files are replaced, edited or removed.

    The download itself does not change it: the host compares the values before two runs.
    """
    own = _downloaded.get(folder, {})
    if is_complete(folder, model):
        state = find_files(folder).fingerprint
        return own.get(state, state)
    return f"{folder.name} is not here, after {len(own)} downloads"
