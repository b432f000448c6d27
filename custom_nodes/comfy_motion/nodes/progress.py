"""How our nodes tell ComfyUI how far they are."""

from collections.abc import Callable


def progress() -> Callable[[int, int], None]:
    """Reports `done` of `total` to ComfyUI and raises its interrupt when the user has asked for one."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)

    def report(done: int, total: int) -> None:
        bar.update_absolute(done, total)
        throw_exception_if_processing_interrupted()

    return report
