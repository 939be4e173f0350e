"""From tensors to pictures, sheets, animations and files, without ComfyUI."""
