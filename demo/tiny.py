"""All tiny weights of the demo and the tests in one folder, made once.

python -m demo.tiny FOLDER
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from demo.tiny_detectors import write_tiny_detectors
from demo.tiny_dwpose import write_tiny_dwpose
from demo.tiny_mimicmotion import write_tiny_mimicmotion
from demo.tiny_multitalk import write_tiny_multitalk
from demo.tiny_sam2 import write_tiny_sam2
from demo.tiny_svd import write_tiny_svd
from demo.tiny_wan import write_tiny_wan
from demo.tiny_wan_i2v import write_tiny_wan_i2v

HERE = Path(__file__).parent
TINY_NODES = HERE / "tiny_nodes"
STAMP = "made_by.txt"


def tiny_models(folder: Path) -> Path:
    """The models folder, written if it is not there or was made by other code. Seeded: always the same bytes.

    Files are put in place whole, one by one: a ComfyUI that has read the old ones goes on with those.
    """
    made_by = _fingerprint()
    stamp = folder / STAMP
    if not stamp.is_file() or stamp.read_text() != made_by:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as made:
            _write_all(Path(made))
            for path in sorted(path for path in Path(made).rglob("*") if path.is_file()):
                place = folder / path.relative_to(made)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
        stamp.write_text(made_by)
    return folder


def _write_all(folder: Path) -> None:
    write_tiny_wan(folder)
    write_tiny_wan_i2v(folder)
    write_tiny_sam2(folder / "sam2")
    write_tiny_detectors(folder / "detection", pairs=True)
    write_tiny_dwpose(folder / "detection")
    svd = write_tiny_svd(folder)
    os.link(svd, svd.with_name("svd_xt_1_1.safetensors"))  # the same network; MimicMotion's graph names this one
    write_tiny_mimicmotion(folder)
    write_tiny_multitalk(folder)


def _fingerprint() -> str:
    sources = [*sorted(HERE.glob("tiny*.py")), *sorted((HERE.parent / "workflows").glob("*.json"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


if __name__ == "__main__":
    print(tiny_models(Path(sys.argv[1])))
