"""The one exception our nodes raise on purpose.

ComfyUI shows `str(error)` in the editor and sends it as `exception_message`; the worker reads the code
between the brackets and looks it up in its table (worker/errors.py, held together by a test).
"""


class MotionError(ValueError):
    """A refusal with a stable code, what was seen, and what to do about it."""

    def __init__(self, code: str, message: str, hint: str = ""):
        self.code, self.message, self.hint = code, message, hint
        super().__init__(f"[{code}] {message}" + (f" Hint: {hint}" if hint else ""))
