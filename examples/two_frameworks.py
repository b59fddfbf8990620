"""One conversation, two frameworks and a kill: run it with `make demo`.

Day one: an agent of LangChain, which is killed while a tool is at work. Day two: a chat engine of
LlamaIndex opens the same file and goes on. Day three: neither; what was said is recalled, and what
was learned of the customer and counted is shown. The desk is that of support_agent.py.

    python examples/two_frameworks.py
"""

from __future__ import annotations

from typing import Final

from onrecord import Store
from support_agent import (
    AGENT,
    CUSTOMER,
    Day,
    answered,
    chatted,
    greet,
    main,
    others,
    statistics,
    tell,
)


def day_one(store: Store, model: str) -> None:
    others(store)
    answered(store, model, "Good morning. Could you kindly look for my order A-1017, please?")
    answered(store, model, "I would appreciate it if you could send the books again, please.")


def day_two(store: Store, model: str) -> None:
    greet(store)
    chatted(store, "Yes, but tell me first: where is my order held, please?")


def day_three(store: Store, model: str) -> None:
    question = "Where was the order held?"
    recalled = store.recall(question, user=CUSTOMER, agent=AGENT, tokens=60)
    tell(statistics=f"RECALLED for “{question}”\n{recalled.text}\n\n{statistics(store)}")


DAYS: Final = {
    1: Day("Day one · an agent of LangChain", day_one, is_killed=True),
    2: Day("Day two · a chat engine of LlamaIndex, the same file", day_two),
    3: Day("Day three · neither of them: recall, preferences, statistics", day_three),
}

if __name__ == "__main__":
    main(DAYS, __file__, __doc__)
