"""What `python dev.py` is made of: the environment, a ComfyUI, and a client for it."""
