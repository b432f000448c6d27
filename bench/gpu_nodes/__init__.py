"""Nodes for the benchmarks on a GPU, which link them into the ComfyUI that they measure. Never install them."""

from . import mimicmotion, multitalk

NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in (*mimicmotion.NODES, *multitalk.NODES)}
