"""What a summary costs over a conversation: ours, and LangChain's without a checkpointer.

    python -m scripts.summaries

The same 40 turns are said to the same agent, each in a call of its own, as a web server does. The
models are scripted; tokens are counted as LangChain does by default, about four letters each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, SummarizationMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from langchain_onrecord import OnrecordMiddleware
from onrecord import Store

TURNS = 40
MOST = 2_000
"""Tokens of messages that a model is sent."""
QUESTION = (
    "Could you please tell me how I go on with part {n}? " + "I have tried a few things. " * 5
)
ANSWER = (
    "For part {n} you take what is left and stir it. " + "Then wait, and look at it again. " * 10
)
SUMMARY = "The user cooks noodles, one part after the other, and was told to stir. " * 5


class Counted(BaseChatModel):
    """Says the same each time, and counts what it is sent."""

    says: str
    sent: list[int] = Field(default_factory=list)
    """Tokens of each call."""

    @property
    def _llm_type(self) -> str:
        return "counted"

    def bind_tools(self, tools: Sequence[Any], **settings: Any) -> Any:
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **more: Any
    ) -> ChatResult:
        self.sent.append(count_tokens_approximately(messages))
        says = self.says.format(n=len(self.sent))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(says))])


class Cost(NamedTuple):
    """Calls of the model that summarises, tokens it was sent, and tokens the other was sent."""

    calls: int
    summarising: int
    answering: int


def measured(name: str) -> Cost:
    """Say all turns, and count."""
    with Store("sqlite://") as store:
        answering, summarising = Counted(says=ANSWER), Counted(says=SUMMARY)
        middleware: list[AgentMiddleware[Any, Any]]
        if name == "OnrecordMiddleware(summary=…)":
            middleware = [OnrecordMiddleware(store, window={"tokens": MOST}, summary=summarising)]
        else:
            middleware = [
                OnrecordMiddleware(store, window=None),
                SummarizationMiddleware(
                    summarising, trigger=("tokens", MOST), keep=("tokens", MOST // 2)
                ),
            ]
        agent = create_agent(answering, middleware=middleware)
        on: Any = {"configurable": {"session_id": "chat"}}
        for n in range(TURNS):
            agent.invoke({"messages": [HumanMessage(QUESTION.format(n=n))]}, on)
        return Cost(len(summarising.sent), sum(summarising.sent), sum(answering.sent))


NAMES = ("OnrecordMiddleware(summary=…)", "SummarizationMiddleware, no checkpointer")


def row(name: str, cost: Cost) -> str:
    """A row of the table."""
    return f"| {name} | {cost.calls} | {cost.summarising:,} | {cost.answering:,} |"


def table() -> str:
    """What it costs, as a table."""
    lines = [
        "| | calls to summarise | tokens sent to summarise | tokens sent to answer |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *(row(name, measured(name)) for name in NAMES)])


if __name__ == "__main__":
    print(table())
