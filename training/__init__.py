"""How to make a model from your own pictures.

The dependencies are in the ``train`` extra.
"""
