"""ComfyUI's own editor in headless Chromium, driven through playwright."""

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)
PREVIEWS = {"video-preview"}


def find_chromium() -> str | None:
    """The browser's program; None where there is none (Debian: apt-get install chromium)."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Editor:
    """One open editor page."""

    def __init__(self, page: Any):
        self.page = page

    def load_api(self, prompt: dict[str, Any]) -> None:
        """Loads an API-format graph; the editor lays it out by itself."""
        self.page.evaluate("async p => { await window.app.loadApiJson(p, 'graph') }", prompt)

    def load(self, workflow: dict[str, Any]) -> None:
        """Loads a laid-out workflow as if it were dropped onto the editor."""
        self.page.evaluate("async w => { await window.app.loadGraphData(w, true, true) }", workflow)

    def prompt(self) -> dict[str, Any]:
        """What the editor would submit now, in API format; without its own previews, which no node has as an input.

        They are in what it submits only once the preview has loaded; ComfyUI passes over them.
        """
        prompt = self.page.evaluate("async () => (await window.app.graphToPrompt()).output")
        for node in prompt.values():
            for name in PREVIEWS & node["inputs"].keys():
                del node["inputs"][name]
        return prompt

    def workflow(self) -> dict[str, Any]:
        """The laid-out workflow as the editor would save it."""
        return self.page.evaluate("() => window.app.graph.serialize()")

    def unknown_nodes(self) -> list[str]:
        """Types of nodes that the editor shows in red because it does not know them."""
        return self.page.evaluate(
            "() => window.app.graph._nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
        )

    def fit(self) -> None:
        """Zooms so that the whole graph is to be seen."""
        self.page.evaluate("() => { window.app.canvas.fitViewToSelectionAnimated?.() }")
        self.page.keyboard.press(".")
        self.page.wait_for_timeout(1500)

    def screenshot(self, path: Path) -> Path:
        """A picture of the page."""
        self.page.screenshot(path=str(path))
        return path


@contextmanager
def open_editor(url: str, size: tuple[int, int] = (1920, 1080)):
    """An Editor at the URL of a running ComfyUI. Requests to any other host are refused."""
    program = find_chromium()
    assert program, "there is no chromium here; Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(url) else route.abort())
            page.goto(url, wait_until="domcontentloaded")
            page.wait_for_function("() => window.app?.graph && window.app?.canvas && window.LiteGraph", timeout=120_000)
            page.wait_for_function(
                "() => !!window.LiteGraph.registered_node_types['CMAnimateWindows']", timeout=120_000
            )
            page.wait_for_timeout(1000)
            page.keyboard.press("Escape")  # the template browser, which opens on the first visit
            page.wait_for_timeout(500)
            yield Editor(page)
        finally:
            browser.close()
