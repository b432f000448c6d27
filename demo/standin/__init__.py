"""A stand-in for ComfyUI v0.33.0: its HTTP and websocket protocol, no models; the result is a test card.

It serves the fault tests and the demo where ComfyUI can be neither found nor cloned, nothing else. Graphs are
checked against object_info.json, recorded from the real one (record.py). What it leaves out: results are never
cached between prompts, nodes do no work, and a lazy input is always asked for (but the text encoder's: its prompts
count as encoded before).
tests/engine/test_standin_matches.py holds it to the real one.
"""
