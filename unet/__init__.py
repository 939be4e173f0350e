"""The network: diffusers' ``UNet2DModel`` in plain torch, and its configuration."""
