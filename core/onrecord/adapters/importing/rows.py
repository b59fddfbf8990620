"""Read rows, whichever framework wrote them."""

from __future__ import annotations

import json
from typing import Any

from onrecord.adapters.importing.report import printable


def json_in(raw: bytes) -> dict[str, Any] | str:
    """Read the JSON object in a row, or say why there is none. Other JSON gives an empty one."""
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
    """Shorten an error to its first line: in the others pydantic quotes the message."""
    errors = getattr(fault, "errors", None)
    if callable(errors) and (found := errors()):
        return f"{'.'.join(map(str, found[0]['loc']))}: {found[0]['msg']}"
    text = f"{type(fault).__name__}: {fault}" if isinstance(fault, KeyError) else str(fault)
    return printable(text.partition("\n")[0][:200])


def as_bytes(value: object) -> bytes:
    """Turn what a driver read into the bytes that stand there."""
    match value:
        case bytes():
            return value
        case str():
            return value.encode("utf-8", "surrogateescape")
        case None:
            return b""
        case _:
            return str(value).encode()
