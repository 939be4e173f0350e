"""Thousands of pictures from one model: blocks of seeds, drawn by several processes or machines."""
