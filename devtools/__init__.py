"""The tools behind `python dev.py`: the environment, a ComfyUI, and a client for it."""
