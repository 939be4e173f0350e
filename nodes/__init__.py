"""What the user sees: one file for each family of nodes."""

from comfy_api.latest import ComfyExtension, io

from .download import UnconditionalUNetDownload
from .load import UnconditionalUNetLoader
from .native import (
    UnconditionalConditioning,
    UnconditionalEmptyLatent,
    UnconditionalImageToLatent,
)
from .output import UnconditionalImageOutput
from .sample import (
    UnconditionalDDIMSampler,
    UnconditionalDDPMSampler,
    UnconditionalPNDMSampler,
)
from .save import UnconditionalUNetSave


class UnconditionalExtension(ComfyExtension):
    """The list of our nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            UnconditionalUNetLoader,
            UnconditionalPNDMSampler,
            UnconditionalDDPMSampler,
            UnconditionalDDIMSampler,
            UnconditionalImageOutput,
            UnconditionalUNetSave,
            UnconditionalUNetDownload,
            UnconditionalEmptyLatent,
            UnconditionalConditioning,
            UnconditionalImageToLatent,
        ]
