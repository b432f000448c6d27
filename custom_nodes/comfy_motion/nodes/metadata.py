"""What our nodes write into the files they save."""

import json

from comfy_api.latest import io


def metadata(hidden: io.HiddenHolder) -> dict[str, str]:
    """The prompt and workflow, as core's own nodes embed them, unless ComfyUI runs with --disable-metadata."""
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    values = {**(hidden.extra_pnginfo or {})}
    if hidden.prompt is not None:
        values["prompt"] = hidden.prompt
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
