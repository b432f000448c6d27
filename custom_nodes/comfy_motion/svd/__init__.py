"""Stable Video Diffusion: the start image as its authors prepare it, and the video put back into the picture."""
