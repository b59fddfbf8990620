"""What stands in a row, whichever framework wrote it."""

from __future__ import annotations

import json
from typing import Any

from onrecord.adapters.importing.report import printable


def json_in(raw: bytes) -> dict[str, Any] | str:
    """The object that a row holds, or why there is none. It is empty for JSON of another kind."""
    if not raw:
        return "it is empty."
    try:
        found = json.loads(raw.decode())
    except UnicodeDecodeError:
        return "it is not UTF-8."
    except (ValueError, RecursionError) as fault:
        return f"it is not JSON, or was cut off: {fault}."
    return found if isinstance(found, dict) else {}


def first_line(fault: Exception) -> str:
    """What went wrong with a message, without the message: pydantic quotes it."""
    errors = getattr(fault, "errors", None)
    if callable(errors) and (found := errors()):
        return f"{'.'.join(map(str, found[0]['loc']))}: {found[0]['msg']}"
    text = f"{type(fault).__name__}: {fault}" if isinstance(fault, KeyError) else str(fault)
    return printable(text.partition("\n")[0][:200])


def as_bytes(value: object) -> bytes:
    """What a driver read, as it is written there."""
    match value:
        case bytes():
            return value
        case str():
            return value.encode("utf-8", "surrogateescape")
        case None:
            return b""
        case _:
            return str(value).encode()
