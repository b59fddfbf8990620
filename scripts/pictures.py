"""Makes the pictures of what one will see: a terminal, a notebook, a plot.

python -m scripts.pictures        writes docs/pictures
python -m scripts.pictures demo   one of them

A terminal is drawn as SVG from what a real program prints on a real pseudo-terminal; a notebook's
cell is photographed in a Chromium, which has to be installed.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any, Final

import pyte

from onrecord import Message, Store, ToolCall

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs/pictures"

_WIDE: Final = 80
_LINES: Final = 400
_CHAR: Final = (8.4, 19)
"""A cell of the terminal, in pixels."""
_COLOURS: Final = {
    "default": "#d7dde5",
    "black": "#5b6472",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "white": "#f0f3f6",
}


def terminal(command: Sequence[str], **environment: str) -> pyte.Screen:
    """Run a program on a terminal of 80 columns, and return what it then shows."""
    screen = pyte.Screen(_WIDE, _LINES)
    stream = pyte.ByteStream(screen)
    leader, follower = pty.openpty()
    size = {"COLUMNS": str(_WIDE), "LINES": "40", "TERM": "xterm-256color"}
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **size, **environment},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    with open(leader, "rb", buffering=0) as said:
        while True:
            try:
                some = said.read(65_536)
            except OSError:  # Linux says so where a terminal has no program any more
                break
            if not some:
                break
            stream.feed(some)
    if running.wait():
        raise SystemExit(f"{' '.join(command)} failed:\n{''.join(screen.display)}")
    return screen


def drawn(screen: pyte.Screen, title: str, typed: str, until: str = "") -> str:
    """A screen as SVG: a window with a title, what was typed, and what was printed.

    Up to the line that begins with ``until``, if there is one.
    """
    shown = [y for y in range(screen.lines) if screen.display[y].strip()]
    ends = [y for y in shown if until and screen.display[y].startswith(until)]
    shown = [y for y in shown if not ends or y < ends[0]]
    across, down = _CHAR
    width, height = _WIDE * across + 32, (shown[-1] - shown[0] + 4) * down + 40
    lines = [f'<tspan fill="#7ee787">$</tspan> {escape(typed)}', ""]
    lines += [_line(screen.buffer[y]) for y in range(shown[0], shown[-1] + 1)]
    texts = [
        f'<text x="16" y="{52 + y * down:g}" xml:space="preserve">{line}</text>'
        for y, line in enumerate(lines)
        if line
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title, quote=True)}">'
        '<rect width="100%" height="100%" rx="8" fill="#161b22"/>'
        '<g fill="#3d444d"><circle cx="18" cy="17" r="5"/><circle cx="36" cy="17" r="5"/>'
        '<circle cx="54" cy="17" r="5"/></g>'
        f'<text x="50%" y="21" text-anchor="middle" fill="#8b949e" font-family="sans-serif" '
        f'font-size="12">{escape(title)}</text>'
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, '
        f'monospace" font-size="14" fill="{_COLOURS["default"]}">\n'
        + "\n".join(texts)
        + "\n</g></svg>\n"
    )


def _line(row: Any) -> str:
    cells = [row[x] for x in range(_WIDE)]
    while cells and cells[-1].data == " ":
        cells.pop()
    parts, at = [], 0
    while at < len(cells):
        end = at
        while end < len(cells) and cells[end][1:] == cells[at][1:]:
            end += 1
        text = escape("".join(cell.data for cell in cells[at:end]))
        colour = _COLOURS.get(cells[at].fg.removeprefix("bright"), f"#{cells[at].fg}")
        style = f' fill="{colour}"' if cells[at].fg != "default" else ""
        style += ' font-weight="bold"' if cells[at].bold else ""
        parts.append(f"<tspan{style}>{text}</tspan>" if style else text)
        at = end
    return "".join(parts)


def demo() -> None:
    """What ``make demo`` prints."""
    with tempfile.TemporaryDirectory() as folder:
        screen = terminal([sys.executable, "examples/two_frameworks.py"], TMPDIR=folder)
    picture = drawn(screen, "three days, two frameworks", "make demo", until="All of it is in")
    (FOLDER / "demo.svg").write_text(picture, "utf-8")


def notebook() -> None:
    """A session as the last line of a cell."""
    with Store("sqlite://") as store:
        chat = store.session("support-42", user="ada")
        at = datetime(2026, 3, 2, 9, 41, tzinfo=UTC)
        call = ToolCall("find_order", {"number": "A-1017"}, id="call-1")
        for message in (
            Message("user", "My order has not arrived.", created_at=at),
            Message("assistant", "I am sorry. Which order is it?", created_at=at),
            Message("user", "A-1017.", created_at=at + timedelta(minutes=1)),
            Message("assistant", (call,), created_at=at + timedelta(minutes=1)),
            Message(
                "tool",
                "held at customs since Sunday",
                tool_call_id="call-1",
                created_at=at + timedelta(minutes=1),
            ),
            Message(
                "assistant",
                "It is held at customs since Sunday. Will you give it a day?",
                created_at=at + timedelta(minutes=2),
            ),
        ):
            chat.append(message)
        html = chat._repr_html_()
    photographed(html, FOLDER / "session.png", (760, 372))


def photographed(html: str, file: Path, size: tuple[int, int]) -> None:
    """Take a picture of HTML, as a browser shows it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), "")
    if not browser:
        raise SystemExit("This picture needs a Chromium on PATH.")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        style = "margin:16px;background:#fff;color:#1f2328;font-family:sans-serif"
        page.write_text(f'<meta charset="utf-8"><body style="{style}">{html}', "utf-8")
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--hide-scrollbars",
                f"--user-data-dir={folder}/profile",
                f"--window-size={size[0]},{size[1]}",
                f"--screenshot={file}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def analytics() -> None:
    """What ``Analytics.plot`` draws."""
    import matplotlib

    matplotlib.use("svg")
    # So that the same numbers make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "onrecord"
    from onrecord.memory import Analytics

    with Store("sqlite://") as store:
        for day in range(14):
            for ticket in range(3 + day * 5 % 7):
                chat = store.session(f"ticket-{day}-{ticket}", user="ada")
                at = datetime(2026, 3, 2, 10, tzinfo=UTC) + timedelta(days=day, minutes=ticket)
                resolved = (day + ticket) % 4 != 0
                about = {"resolved": resolved, "confidence": 0.6 + (day * 3 + ticket) % 5 * 0.08}
                chat.append(
                    [
                        Message("user", "Where is my order?", created_at=at),
                        Message("assistant", "On its way.", created_at=at, metadata=about),
                    ]
                )
        figure = Analytics(store).plot()
        figure.savefig(FOLDER / "analytics.svg", metadata={"Date": None, "Creator": None})


PICTURES: Final[dict[str, Callable[[], None]]] = {
    "demo": demo,
    "session": notebook,
    "analytics": analytics,
}


def main(names: Sequence[str]) -> None:
    """Make all pictures, or those that are named."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or PICTURES:
        PICTURES[name]()
    for file in sorted(FOLDER.iterdir()):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")
    for file in FOLDER.glob("*.svg"):
        assert not re.search(r"(?:href|url\()=?\W*https?:", file.read_text("utf-8")), file


if __name__ == "__main__":
    main(sys.argv[1:])
