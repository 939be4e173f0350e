"""The network: diffusers' ``UNet2DModel`` in plain torch, its configuration and its checkpoints.

Nothing in this folder imports the host.
"""
