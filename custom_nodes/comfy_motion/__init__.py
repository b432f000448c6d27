"""comfy-motion: nodes that bring pictures of people to life with open video models."""

try:
    from comfy_api.latest import ComfyExtension, io
except ImportError:  # imported outside ComfyUI, by a unit test: the packages below work without it
    pass
else:
    from .nodes import NODES

    class ComfyMotion(ComfyExtension):
        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            return NODES

    async def comfy_entrypoint() -> ComfyMotion:
        return ComfyMotion()
