"""Lays the pinned graphs out for people: workflows/*.json -> custom_nodes/comfy_motion/example_workflows/*.json.

    python -m scripts.example_workflows http://127.0.0.1:8188 [SCREENSHOT_FOLDER]

ComfyUI's own editor (running at that URL, with the node pack) reads the API graph and writes the workflow, so that
widget order and links are its own; this file only says where each node stands. A browser test holds the result to
the pinned graph.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.browser.editor import Editor, open_editor
from worker.graph import load_graph
from worker.operations.scenes import unroll

ROOT = Path(__file__).parents[1]
COLUMN, TOP, GAP = 420, 120, 60

SCENES = "i2v_scenes"
"""Not a file of workflows/: i2v.json as the worker unrolls it for a request of two scenes."""

Columns = list[tuple[str, str, list[str]]]
"""One group a column: its title, its colour, and the nodes by title, top to bottom."""


def i2v_columns(*loras: str) -> Columns:
    """The two i2v graphs differ in the LoRAs behind their models only."""
    return [
        ("1  Picture and words", "#3f789e", ["Start image", "Prompt", "Negative prompt"]),
        ("2  Models", "#a1309b", ["High-noise model", "Low-noise model", *loras, "Text encoder", "VAE"]),
        (
            "3  Which expert when",
            "#b58b2a",
            ["High-noise shift", "Low-noise shift", "Steps", "Split at boundary", "Sampler"],
        ),
        ("4  Conditioning", "#88A", ["Image to video", "High-noise guider", "Low-noise guider", "Noise", "No noise"]),
        ("5  Generate", "#A88", ["High-noise steps", "Low-noise steps", "Decode video", "Keep segment"]),
        ("6  Video and last frame", "#8A8", ["Save MP4", "Save last frame"]),
    ]


def scenes_columns() -> Columns:
    """Two scenes: what the second has of its own stands in columns of its own."""
    second = ("Prompt", "Image to video", "High-noise guider", "Low-noise guider", "Noise")
    made = ("High-noise steps", "Low-noise steps", "Decode video", "Match colour", "Keep segment")
    return [
        *i2v_columns()[:-1],
        ("6  Scene 2: from the last frame", "#3f789e", [f"{title} (scene 2)" for title in second]),
        ("7  Scene 2: generate", "#A88", [f"{title} (scene 2)" for title in made]),
        ("8  Video and last frame", "#8A8", ["Join (scene 2)", "Save MP4", "Save last frame"]),
    ]


def multitalk_columns(*loras: str) -> Columns:
    """The turbo graph has the LoRA behind its model."""
    return [
        ("1  Picture and voices", "#3f789e", ["Picture", "Fit picture", "Voice 1", "Voice 2", "Prepare voices"]),
        ("2  Who speaks", "#b58b2a", ["Pose models", "SAM2", "Segment speakers", "Who speaks"]),
        ("3  Look before you run", "#8A8", ["Draw speakers", "Save speakers preview"]),
        ("4  Words and sound", "#88A", ["Text encoder", "Prompt", "Negative prompt", "Audio encoder", "Encode voices"]),
        ("5  Models", "#a1309b", ["Wan model", *loras, "MultiTalk model", "CLIP vision", "VAE"]),
        ("6  Generate", "#A88", ["Schedule", "Sampler", "Talk"]),
        ("7  Video", "#8A8", ["Retime", "Save MP4"]),
    ]


LAYOUTS: dict[str, Columns] = {
    "avatar": [
        ("1  Inputs", "#3f789e", ["Reference image", "Driving video", "Resample driving video", "Letterbox reference"]),
        ("2  Pose and face", "#8A8", ["Pose models", "Detect pose", "Draw pose", "Face crop"]),
        ("3  Who is replaced", "#b58b2a", ["SAM2", "Track person", "Grow mask", "Background"]),
        (
            "4  Prompt and picture",
            "#88A",
            ["Text encoder", "Prompt", "Negative prompt", "CLIP vision", "Encode reference"],
        ),
        (
            "5  Model",
            "#a1309b",
            ["Wan Animate model", "Step-distilled LoRA", "Relight LoRA", "Shift", "Encode face once", "VAE"],
        ),
        ("6  Generate", "#A88", ["Sampler", "Steps", "Animate in windows", "Save MP4"]),
    ],
    "i2v": i2v_columns(),
    "i2v_turbo": i2v_columns("High-noise LoRA", "Low-noise LoRA"),
    SCENES: scenes_columns(),
    "animate": [
        ("1  Inputs", "#3f789e", ["Image", "Mask"]),
        ("2  Model", "#a1309b", ["SVD model", "Guidance"]),
        ("3  Start image", "#88A", ["Image to video", "Noise augmentation"]),
        ("4  Generate", "#A88", ["Sampler", "Decode video"]),
        ("5  Video", "#8A8", ["Composite", "Save MP4"]),
    ],
    "segment": [
        ("1  Inputs", "#3f789e", ["Image", "SAM2"]),
        ("2  What to cut out", "#b58b2a", ["Segment image"]),
        ("3  Masks", "#8A8", ["Save masks"]),
    ],
    "mimicmotion": [
        ("1  Inputs", "#3f789e", ["Reference image", "Driving video", "Sample driving video"]),
        ("2  Reference", "#88A", ["Fit reference", "Reference as frames"]),
        ("3  Poses", "#b58b2a", ["DWPose models", "Detect reference pose", "Detect pose", "Fit pose"]),
        ("4  Poses as the model sees them", "#8A8", ["Draw reference pose", "Draw pose"]),
        ("5  Models", "#a1309b", ["SVD model", "MimicMotion model"]),
        ("6  Generate", "#A88", ["MimicMotion", "Retime", "Save MP4"]),
    ],
    "multitalk": multitalk_columns(),
    "multitalk_turbo": multitalk_columns("LoRA"),
}

# Room for what the editor shows in a node: a picture, a player.
HEIGHTS = {
    "Reference image": 460,
    "Start image": 460,
    "Save last frame": 460,
    "Image": 460,
    "Mask": 460,
    "Save masks": 460,
    "Picture": 460,
    "Save speakers preview": 460,
    "Driving video": 400,
    "Prompt": 200,
    "Negative prompt": 260,
    "Save MP4": 460,
}

PLACE = """
({columns, heights, column, top, gap}) => {
  const graph = window.app.graph;
  const byTitle = Object.fromEntries(graph._nodes.map(node => [node.title, node]));
  let x = 0;
  for (const {title, color, nodes} of columns) {
    let y = top, width = column - gap;
    for (const name of nodes) {
      const node = byTitle[name];
      if (!node) throw new Error('no node is titled ' + name);
      node.size = [width, heights[name] ?? Math.max(node.computeSize()[1], node.size[1])];
      node.pos = [x, y];
      y += node.size[1] + gap;
    }
    const group = new window.LiteGraph.LGraphGroup(title);
    group.pos = [x - gap / 3, top - 80];
    group.size = [width + 2 * gap / 3, y - top + 80 - gap / 3];
    group.color = color;
    graph.add(group);
    x += column + gap / 2;
  }
  graph.setDirtyCanvas(true, true);
}
"""


def api_graph(name: str) -> Any:
    """What a laid-out graph submits, API format."""
    if name == SCENES:
        return dict(unroll(load_graph(ROOT / "workflows" / "i2v.json"), 2).nodes)
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def lay_out(editor: Editor, name: str, screenshots: Path | None) -> Path:
    """Writes one example workflow; its path."""
    editor.load_api(api_graph(name))
    columns = [{"title": title, "color": color, "nodes": nodes} for title, color, nodes in LAYOUTS[name]]
    editor.page.evaluate(PLACE, {"columns": columns, "heights": HEIGHTS, "column": COLUMN, "top": TOP, "gap": GAP})
    if screenshots:
        editor.fit()
        editor.screenshot(screenshots / f"{name}.png")
    workflow = editor.workflow()
    workflow.setdefault("extra", {}).pop("ds", None)  # where this browser happened to look
    path = ROOT / "custom_nodes" / "comfy_motion" / "example_workflows" / f"{name}.json"
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def main() -> None:
    url, *rest = sys.argv[1:]
    for name in LAYOUTS:
        with open_editor(url, (2600, 1500)) as editor:
            print(lay_out(editor, name, Path(rest[0]) if rest else None))


if __name__ == "__main__":
    main()
