"""Tools that other middleware offers to a model, and that nobody can execute.

LangChain refuses them before it calls the model, unless some middleware wraps tool calls: that one
may execute them. Ours wraps calls and executes none, so it refuses them where they are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware.types import ModelRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest

    Request = ModelRequest[Any]
else:
    Request = ModelRequest  # LangChain 1.0 has no parameter for it


class Watched(Request):
    """A model's request that knows what other middleware makes of it."""

    made: list[Request]

    @classmethod
    def of(cls, request: Request) -> Watched:
        """The same request."""
        return cls(**{field.name: getattr(request, field.name) for field in fields(request)})._in(
            []
        )

    def override(self, **overrides: Any) -> Request:
        """Like ``ModelRequest.override``."""
        changed: Any = super().override(**overrides)
        return changed._in(self.made)  # type: ignore[no-any-return]

    def offered(self) -> Iterator[str]:
        """The names of all tools that it, or what was made of it, offers."""
        for request in self.made:
            for tool in request.tools:
                if isinstance(tool, BaseTool):
                    yield tool.name

    def _in(self, made: list[Request]) -> Watched:
        object.__setattr__(self, "made", made)  # LangChain warns of any other way
        made.append(self)
        return self


def is_refused(request: ToolCallRequest, result: object) -> bool:
    """Whether LangChain's answer to a call is that it has no such tool."""
    name = request.tool_call["name"]
    return (
        request.tool is None
        and isinstance(result, ToolMessage)
        and result.status == "error"
        and str(result.content).startswith(f"Error: {name} is not a valid tool")
    )
