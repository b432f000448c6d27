"""All tiny weights of the demo and the tests in one folder, made once.

python -m demo.tiny FOLDER
"""

import hashlib
import sys
from pathlib import Path

from demo.tiny_detectors import write_tiny_detectors
from demo.tiny_sam2 import write_tiny_sam2
from demo.tiny_wan import write_tiny_wan

HERE = Path(__file__).parent
TINY_NODES = HERE / "tiny_nodes"
STAMP = "made_by.txt"


def tiny_models(folder: Path) -> Path:
    """The models folder, written if it is not there or was made by other code. Seeded: always the same bytes."""
    made_by = _fingerprint()
    stamp = folder / STAMP
    if not stamp.is_file() or stamp.read_text() != made_by:
        write_tiny_wan(folder)
        write_tiny_sam2(folder / "sam2")
        write_tiny_detectors(folder / "detection")
        stamp.write_text(made_by)
    return folder


def _fingerprint() -> str:
    sources = [*sorted(HERE.glob("tiny*.py")), HERE.parent / "workflows" / "avatar.json"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


if __name__ == "__main__":
    print(tiny_models(Path(sys.argv[1])))
