"""Does ComfyUI still differ from the published MultiTalk? One probe for each difference.

The list is that of core v0.33.0. A probe runs core's own code once, at tiny shapes, on the CPU, and what it finds is
kept for the process. Where core is found fixed, our nodes leave the work to it (`patches.layers`); where a probe
cannot run (core has moved, or its attention takes no CPU tensors) core counts as different and our code runs.
"""

import logging
from collections.abc import Callable
from functools import cache

from . import core_probes

#: name -> (difference, probe: True while core differs)
DIFFERENCES: dict[str, tuple[str, Callable[[], bool]]] = {
    "batch": ("1. a batch of two raises in the audio attention", core_probes.batch),
    "map_table": ("1b. the speaker map is built as a table", core_probes.map_table),
    "mask_rows": ("2. two rows of masks, no background", core_probes.mask_rows),
    "feature_order": ("3. features are brought to 25 a second after the transformer", core_probes.feature_order),
    "silence": ("4. a silent voice is made of zero features", core_probes.silence),
    "loudness": ("4b. voices keep the loudness they have", core_probes.loudness),
    "past_the_end": ("5. past the end the first frame is repeated, not the last ones mirrored", core_probes.past_end),
    "norm_eps": ("6. norm_x has epsilon 1e-5 instead of 1e-6", core_probes.norm_eps),
    "guidance": ("7. one guidance scale, one loop for MultiTalk's and InfiniteTalk's weights", core_probes.guidance),
}


@cache
def core_differs(name: str) -> bool:
    """Whether core still has the difference `name` (a key of DIFFERENCES)."""
    _, probe = DIFFERENCES[name]
    try:
        with core_probes.aside():
            differs = probe()
    except Exception as error:  # whatever a changed core raises: our own code needs nothing of what is probed
        logging.debug("MultiTalk: probe %s: %s: %s", name, type(error).__name__, error)
        return True
    if not differs:
        logging.info("MultiTalk: this ComfyUI no longer has the difference '%s'.", DIFFERENCES[name][0])
    return differs
