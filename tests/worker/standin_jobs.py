"""Jobs on a worker whose ComfyUI is the stand-in: the request, the faults, and what a job left on the disk."""

import json
import sys
import urllib.request

from worker.engine import Engine
from worker.host import Worker
from worker.settings import Settings

SMALL = {"width": 128, "height": 96, "fps": 12}
GOOD = {"input_image_minio_path": "in/person.png", "driving_video_path": "in/driving.mp4", **SMALL}
STANDIN = [sys.executable, "-m", "demo.standin", "--step-seconds", "0.001"]


def make_worker(s3, bucket, work, **changes):
    environment = {name.lower(): value for name, value in s3.environment(bucket).items()}
    settings = Settings(_env_file=None, **{**environment, "work_path": work, "job_timeout_s": 60, **changes})
    return Worker(settings, Engine(settings, command=STANDIN))


def left_behind(worker):
    engine = worker.engine
    folders = (engine.input_dir, engine.output_dir, engine.temp_dir / "comfy_motion")
    return [path for folder in folders if folder.exists() for path in folder.iterdir()]


def fault(worker, kind, times=1):
    body = json.dumps({"fault": kind, "times": times}).encode()
    request = urllib.request.Request(
        f"{worker.engine.base_url}/standin/fault", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()
