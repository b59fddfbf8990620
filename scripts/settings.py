"""Writes docs/reference/settings.md from ``onrecord.settings``.

python -m scripts.settings
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from onrecord.settings import SETTINGS, Setting

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs/reference/settings.md"

_TOP: Final = """\
# Settings

The arguments of `Store`, in one table. `Store.from_env()` takes from the environment whatever can
be said as text, under the names here. It refuses what is out of range, and names the variable.
This page is written from `onrecord.settings` by `python -m scripts.settings`.

| argument | variable | default | what it may be |
|---|---|---|---|
"""

_MIDDLE: Final = """
## From the environment, and from a file

`ONRECORD_CONFIG` may name a TOML file. It has the arguments by their own names, at the top or in a
table `[onrecord]`; tables of others beside that one are left alone.

```toml
[onrecord]
url = "postgresql://onrecord@db.internal/memory"
cache = "redis://cache.internal/0"
expires_in = "90d"
timeout = "2s"
pool_size = 20
```

The environment wins over the file, and what `Store.from_env(…)` is given wins over both. A variable
that is set to nothing counts as not set. A name that a file has and `Store` has not is an error
that says the nearest one. A variable that is written nearly as one of these, `ONRECORD_TIMEOT`, is
warned of; others that begin with `ONRECORD_` are left alone, because Kubernetes sets some for each
service. No error shows what stands in `url` or `cache`, nor a line of the file.

How a text is read:

- **Times in seconds** are a number of seconds (`30`, `0.5`), or have their units: `500ms`, `30s`,
  `5m`, `1h30m`, `2d`, `1w`. ISO 8601 is understood too: `PT5M`, `P1DT12H`.
- **`expires_in`** always has a unit: `90d`, `12h`, `P90D`. A bare number is refused, since days and
  seconds are both meant by it, and so are months and years, which are as long as they like.
- **Switches** are `true`, `yes`, `on` or `1`, and `false`, `no`, `off` or `0`.
- **`embedder`** is a name: `minilm`. Functions and objects are passed to `Store`, as are `engine`
  and `token_counter`.

## Settings that change nothing

A setting that needs what the store does not have is warned of, by `onrecord.SettingWithoutEffect`,
where it has another value than its default: `ttl`, `consistency` and `revalidate` without `cache`,
and `compare` without a cache and without a file of SQLite. `schema` on SQLite, and a `durability`
other than `full` on PostgreSQL, are refused: whoever sets them counts on what does not happen.

## What each does
"""


def page() -> str:
    """The page about the settings."""
    settings = list(SETTINGS.values())
    lines = [_TOP + "\n".join(map(_row, settings)), _MIDDLE.rstrip("\n")]
    lines += [f"\n**`{one.name}`**: {_does(one)}." for one in settings]
    return "\n".join(lines) + "\n"


def _row(setting: Setting) -> str:
    default = "" if setting.default is None else f"`{_text(setting.default)}`"
    variable = "" if setting.variable is None else f"`{setting.variable}`"
    return f"| `{setting.name}` | {variable} | {default} | {_range(setting)} |"


def _range(setting: Setting) -> str:
    match setting.kind:
        case "words":
            return " or ".join(f"`{choice}`" for choice in setting.choices)
        case "number":
            return f"{setting.least:,} to {setting.most:,}"
        case "seconds":
            return f"{setting.least:g} to {setting.most:,} seconds"
        case "share":
            return f"{setting.least:g} to {setting.most:g}"
        case "switch":
            words = "".join(f" or `{choice}`" for choice in setting.choices)
            return f"`true` or `false`{words}"
        case "span":
            return "a `timedelta` of at most 10,000 years"
        case "object":
            return "an object: see below"
        case "text" if setting.most is not None:
            return f"text of at most {setting.most} bytes"
    kinds = {"url": "a URL, or a path", "replica": "a URL"}
    return kinds.get(setting.name, "text, or an object: see below")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _does(setting: Setting) -> str:
    said = re.sub(r"``([^`]*)``", r"`\1`", setting.does)
    return said[0].upper() + said[1:]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
