"""Tools that other middleware offers to a model, and that nobody can execute.

LangChain refuses them before it calls the model, unless some middleware wraps tool calls: that one
may execute them. Ours wraps calls and executes none. Where it is the only one, what LangChain
would have refused is refused here, at the same moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from inspect import unwrap
from typing import Any

from langchain.agents.middleware.types import ModelRequest
from langchain_core.tools import BaseTool


def checked(
    request: ModelRequest[Any], handler: Callable[..., Any], *ours: Callable[..., Any]
) -> ModelRequest[Any]:
    """Make a request that refuses tools nobody can execute, where only functions of ours wrap
    tool calls."""
    if (registered := _registered(handler, ours)) is None:
        return request
    _refuse_unknown(request.tools, registered)
    return _Checked.of(request, registered)


class _Checked(ModelRequest[Any]):
    """A model's request to which no tool can be added that nobody executes."""

    _registered: list[str]

    @classmethod
    def of(cls, request: ModelRequest[Any], registered: list[str]) -> _Checked:
        given = {field.name: getattr(request, field.name) for field in fields(request)}
        return cls(**given)._knowing(registered)

    def override(self, **overrides: Any) -> ModelRequest[Any]:
        """Like ``ModelRequest.override``."""
        _refuse_unknown(overrides.get("tools", ()), self._registered)
        changed: Any = super().override(**overrides)
        return changed._knowing(self._registered)  # type: ignore[no-any-return]

    def _knowing(self, registered: list[str]) -> _Checked:
        object.__setattr__(self, "_registered", registered)  # LangChain warns of any other way
        return self


def _refuse_unknown(tools: Iterable[Any], registered: list[str]) -> None:
    unknown = [t.name for t in tools if isinstance(t, BaseTool) and t.name not in registered]
    if unknown:
        raise ValueError(
            f"Middleware added tools that the agent doesn't know how to execute.\n\n"
            f"Unknown tools: {unknown}\nRegistered tools: {registered}\n\n"
            f"Give them to create_agent(tools=…), or execute them in a wrap_tool_call of the "
            f"middleware that adds them."
        )


def _registered(
    handler: Callable[..., Any], ours: Sequence[Callable[..., Any]]
) -> list[str] | None:
    """Find the names of the tools of an agent in which nothing but ours wraps the calls; None if
    something does, or if that cannot be told.

    LangChain tells no middleware of the others. It knows in the function that its model's handler
    calls; each handler around that one has it as its own ``handler``.
    """
    within = _captured(handler)
    within = _captured(within.get("handler", handler))
    within = _captured(within.get("_get_bound_model"))
    for name, own in zip(("wrap_tool_call_wrapper", "awrap_tool_call_wrapper"), ours, strict=True):
        wrapper = within.get(name)
        if not callable(wrapper) or getattr(unwrap(wrapper), "__func__", None) is not own:
            return None  # several are one function that calls them
    return sorted(getattr(within.get("tool_node"), "tools_by_name", ()))


def _captured(function: Any) -> Mapping[str, Any]:
    """Find the variables that a function has from the one it was made in, by name."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells = getattr(function, "__closure__", None) or ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=False)}
