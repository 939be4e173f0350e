"""The pack's entry point for ComfyUI: unconditional pixel-space diffusion models as nodes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import UnconditionalExtension

WEB_DIRECTORY = "web"


async def comfy_entrypoint() -> "UnconditionalExtension":
    """Return the extension. Host modules are imported here; the core works without them."""
    from .host.folders import register_saved_models
    from .nodes import UnconditionalExtension

    register_saved_models()
    return UnconditionalExtension()
