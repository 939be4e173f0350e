"""Train a model on your own pictures.

The dependencies are in the ``train`` extra.
"""
