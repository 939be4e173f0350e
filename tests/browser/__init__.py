"""Tests that drive the editor of a real ComfyUI in a real browser."""
