"""From noise levels to one long clip: the split between two experts, decoding, keeping, matching and joining."""
