"""The blocks of a page, for tests that do what it shows."""

from __future__ import annotations

import re
from pathlib import Path

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"


def shown(page: str, language: str, holding: str = "") -> list[str]:
    """The blocks of a how-to page in a language that hold some text, in their order."""
    text = (HOW_TO / page).read_text("utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    assert found, f"{page} shows no {language}"
    return [block for block in found if holding in block]
