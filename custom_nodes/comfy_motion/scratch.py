"""Where nodes put files that live only as long as a prompt.

One folder a prompt, `<ComfyUI temp>/comfy_motion/<prompt id>/`, so that whoever submitted the prompt can
remove all of it in one go. ComfyUI itself empties its temp folder when it starts.
"""

import tempfile
from pathlib import Path


def scratch_folder(kind: str) -> Path:
    """A new empty folder for `kind` ("masks", "windows") of the prompt that is running now."""
    try:
        import folder_paths
        from comfy_execution.utils import get_executing_context

        context = get_executing_context()
        root = (
            Path(folder_paths.get_temp_directory()) / "comfy_motion" / (context.prompt_id if context else "no_prompt")
        )
    except ImportError:  # outside ComfyUI: unit tests and scripts
        root = Path(tempfile.gettempdir()) / "comfy_motion"
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=root))
