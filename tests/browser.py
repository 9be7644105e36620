"""A page as Chromium shows it, without a window: its picture, and what a script finds in it."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
"""Without a window, and without asking anybody anything."""
DARK = "--blink-settings=preferredColorScheme=0"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
LIMIT_S = 120


def _chromium(*arguments: str) -> str:
    assert CHROMIUM
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=True
        ).stdout


def screenshot(address: str, size: tuple[int, int], file: Path, *options: str) -> None:
    """Write what a window of a size, in pixels, shows first of a page."""
    width, height = size
    _chromium(f"--window-size={width},{height}", f"--screenshot={file}", *options, address)


def evaluate(page: Path, script: str, promise: str, width: int, *options: str) -> Any:
    """Return what a promise of JavaScript gives in a copy of a page.

    The copy lacks the page's policy, which lets no script run but its own, and stands in a frame
    of the width, since a window may not be as narrow as a phone.

    Args:
        page: the page.
        script: what is run first.
        promise: an expression; its value has to be JSON.
        width: of the page, in pixels.
        options: of Chromium.
    """
    text = POLICY.sub("", page.read_text())
    end = text.rindex("</body>")
    asked = f"""<script>{script}</script><script>
      {promise}.catch((error) => String(error)).then((value) => {{
        const found = parent.document.createElement("pre");
        found.id = "found";
        found.textContent = JSON.stringify(value);
        parent.document.body.append(found);
      }});</script>"""
    inside = html.escape(text[:end] + asked + text[end:])
    frame = f'<iframe srcdoc="{inside}" style="width: {width}px; height: 850px"></iframe>'
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.html"
        copy.write_text(f"<!doctype html><html><body>{frame}</body></html>")
        size = f"--window-size={max(width, 600) + 40},900"
        shown = _chromium(
            size, "--virtual-time-budget=100000", *options, "--dump-dom", f"file://{copy}"
        )
    answer = re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)
    assert answer, "the page gave no answer"
    return json.loads(html.unescape(answer[1]))
