"""What the user sees: one file for each family of nodes."""

from comfy_api.latest import ComfyExtension, io

from .canvas import UnconditionalOffsetImage, UnconditionalSeamlessTiling, UnconditionalWindows
from .compare import UnconditionalCompareSets
from .consistency import UnconditionalConsistencySampler
from .download import UnconditionalUNetDownload
from .generate import UnconditionalGenerateMany
from .invert import UnconditionalInvert
from .latents import (
    UnconditionalConditioning,
    UnconditionalEmptyLatent,
    UnconditionalImageToLatent,
)
from .load import UnconditionalUNetLoader
from .noise import UnconditionalMixNoise, UnconditionalNoiseWalk, UnconditionalShiftNoise
from .optimise import UnconditionalOptimiseTimesteps
from .output import UnconditionalImageOutput
from .repaint import UnconditionalRePaintSampler
from .restore import UnconditionalRestore
from .sample import (
    UnconditionalDDIMSampler,
    UnconditionalDDPMSampler,
    UnconditionalPNDMSampler,
)
from .sample_advanced import (
    UnconditionalDDIMSamplerAdvanced,
    UnconditionalDDPMSamplerAdvanced,
    UnconditionalPNDMSamplerAdvanced,
)
from .sampler_custom import (
    UnconditionalDDPMSamplerSelect,
    UnconditionalNoise,
    UnconditionalPNDMSamplerSelect,
    UnconditionalTimesteps,
)
from .save import UnconditionalUNetSave
from .schedule import UnconditionalNoiseSchedule
from .show_schedule import UnconditionalShowSchedule
from .steer import UnconditionalSteer
from .train import UnconditionalTrain
from .trajectory import UnconditionalTrajectory


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
            UnconditionalPNDMSamplerAdvanced,
            UnconditionalDDPMSamplerAdvanced,
            UnconditionalDDIMSamplerAdvanced,
            UnconditionalPNDMSamplerSelect,
            UnconditionalDDPMSamplerSelect,
            UnconditionalTimesteps,
            UnconditionalNoise,
            UnconditionalNoiseSchedule,
            UnconditionalEmptyLatent,
            UnconditionalConditioning,
            UnconditionalImageToLatent,
            UnconditionalTrajectory,
            UnconditionalShowSchedule,
            UnconditionalConsistencySampler,
            UnconditionalTrain,
            UnconditionalOptimiseTimesteps,
            UnconditionalGenerateMany,
            UnconditionalCompareSets,
            UnconditionalSeamlessTiling,
            UnconditionalOffsetImage,
            UnconditionalWindows,
            UnconditionalRestore,
            UnconditionalRePaintSampler,
            UnconditionalSteer,
            UnconditionalMixNoise,
            UnconditionalNoiseWalk,
            UnconditionalShiftNoise,
            UnconditionalInvert,
        ]
