"""ComfyUI's door to the pack: unconditional pixel-space diffusion models as native nodes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import UnconditionalExtension

WEB_DIRECTORY = "web"


async def comfy_entrypoint() -> "UnconditionalExtension":
    """Return the extension; the host is imported here, so that the core can be used without it."""
    from .host.folders import register_saved_models
    from .nodes import UnconditionalExtension

    register_saved_models()
    return UnconditionalExtension()
