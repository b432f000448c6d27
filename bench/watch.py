"""What a benchmark sees of the machine: peak memory of a process and of the GPU, and the card's name."""

import shutil
import subprocess
import threading

import psutil


class Peak:
    """The largest GPU and process memory seen while it is open, in GiB; looks four times a second.

    rss counts weight files that are mapped and in the page cache, which the machine can take back at any time;
    private is what is left without them.
    """

    def __init__(self, pid: int):
        self._process, self._over = psutil.Process(pid), threading.Event()
        self.gpu = self.rss = self.private = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        return {
            "peak_gpu_gib": round(self.gpu, 1),
            "peak_rss_gib": round(self.rss, 1),
            "peak_private_gib": round(self.private, 1),
        }

    def _watch(self) -> None:
        while True:
            memory = self._process.memory_info()
            self.rss = max(self.rss, memory.rss / 2**30)
            self.private = max(self.private, (memory.rss - memory.shared) / 2**30)
            self.gpu = max(self.gpu, gpu_memory_gib())
            if self._over.wait(0.25):
                return


def gpu_memory_gib() -> float:
    """GPU memory in use now; 0 without nvidia-smi."""
    said = _ask("memory.used")
    return float(said.split()[0]) / 1024 if said else 0.0


def gpu_name() -> str:
    """Name, driver and memory, or "none"."""
    return _ask("name,driver_version,memory.total") or "none"


def _ask(query: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    asked = [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
