"""A conversation made by rules, with facts in it, and questions about them.

Each fact is asked for twice: in words that it was said in, and in others. What stands between the
facts says nothing of them. It is small, and written for this: the questions that people ask of
their own conversations are measured by ``make recall``.
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

_FACTS: Final = """
My sister keeps bees behind the old mill.
Who keeps bees behind the mill?
Does anyone in the family produce honey?

The plumber charged 240 euros for the boiler.
What did the plumber charge for the boiler?
How much was the heating repair?

I am allergic to peanuts.
What am I allergic to?
Which food makes me ill?

We adopted a greyhound called Biscuit.
What is the greyhound called?
What is the name of our pet?

My flight to Oslo leaves at six in the morning.
When does the flight to Oslo leave?
At what hour do I travel to Norway?

I broke my wrist while skating.
How did I break my wrist?
What injury did I have on the ice?

The landlord wants to raise the rent in May.
When does the landlord raise the rent?
Will the flat become more expensive?

I play the cello in an amateur orchestra.
Which instrument do I play in the orchestra?
What music do I make in my free time?

Our daughter starts school in Leeds.
Where does our daughter start school?
In which city will the child get her education?

I left the spare keys with the baker.
With whom did I leave the spare keys?
Who can let me in when I am locked out?

The doctor told me to drink less coffee.
What did the doctor tell me to drink less of?
Which medical advice did I get about caffeine?

I finished painting the fence on Sunday.
What did I finish painting?
Which job in the garden was done at the weekend?

My thesis is about medieval bridges.
What is my thesis about?
Which subject do I research at university?

The laptop was stolen from the library.
Where was the laptop stolen?
In which place did I lose my computer to a thief?

My grandmother taught me to bake rye bread.
Who taught me to bake rye bread?
From which relative did I learn to make a loaf?

I sold the motorbike to a colleague.
To whom did I sell the motorbike?
Who bought my vehicle?

We are moving to Porto in autumn.
When are we moving to Porto?
Which country will we live in?

I ran the marathon in under four hours.
How fast did I run the marathon?
What was my time in the race?

The washing machine is leaking again.
Which machine is leaking?
What household appliance drips water?

My manager promoted me to team lead.
Who promoted me to team lead?
What career step did I take at work?

I read a novel about a lighthouse keeper.
Which novel did I read?
What was the book about?

The vet says the cat needs an operation.
What does the vet say the cat needs?
Will the animal have surgery?

I paid off the loan for the car.
Which loan did I pay off?
Am I free of my debt?

Our wedding is on the third of June.
When is our wedding?
On what date do we get married?

I stopped eating meat last winter.
What did I stop eating?
Since when am I a vegetarian?

My brother works as a nurse in Ghent.
What does my brother work as?
Who of my siblings is in a hospital?

I planted two cherry trees.
Which trees did I plant?
What fruit will grow at our place?

The insurance refused to pay for the window.
What did the insurance refuse to pay for?
Was the claim about the broken glass rejected?

I have been learning Finnish for a year.
Which language have I been learning?
What foreign tongue do I study?

The concert was cancelled because of fog.
Why was the concert cancelled?
What weather spoiled the show?
"""
_STARTS: Final = (
    "Anyway", "By the way", "Well", "Honestly", "So", "You know", "Right", "Oh", "Sure", "Fine",
)  # fmt: skip
_SAID: Final = (
    "that sounds {how} to me", "it has been a {how} {span}", "the {thing} was {how} again",
    "let us talk about the {thing} later", "I saw a {how} {thing} in the {place}",
    "nobody told us about the {thing}", "the {place} is {how} this {span}",
    "thank you for the {how} {thing}", "there is a {thing} in every {place}",
    "what a {how} {span} it was", "can you send me the {thing} from the {place}",
    "I would rather have a {how} {thing}",
)  # fmt: skip
_WORDS: Final = {
    "how": [
        "good",
        "bad",
        "strange",
        "quiet",
        "busy",
        "lovely",
        "tiring",
        "slow",
        "bright",
        "dull",
        "cosy",
        "noisy",
    ],
    "span": ["day", "week", "morning", "evening", "month", "afternoon"],
    "thing": [
        "picture",
        "story",
        "chair",
        "meeting",
        "film",
        "lamp",
        "song",
        "report",
        "table",
        "jacket",
        "parcel",
        "game",
    ],
    "place": [
        "office",
        "kitchen",
        "market",
        "park",
        "station",
        "corridor",
        "museum",
        "cellar",
        "street",
        "hall",
    ],
}


class Fact(NamedTuple):
    """Something that was said, and how it is asked for."""

    said: str
    by_words: str
    otherwise: str


FACTS: Final = [Fact(*lines.splitlines()) for lines in _FACTS.strip().split("\n\n")]


def conversation(messages: int) -> list[str]:
    """A conversation of so many messages, with the facts here and there."""
    random = Random(7)
    said = [_small_talk(random) for _ in range(messages - len(FACTS))]
    for fact in FACTS:
        said.insert(random.randrange(len(said)), fact.said)
    return said


def _small_talk(random: Random) -> str:
    filled = random.choice(_SAID).format(**{k: random.choice(v) for k, v in _WORDS.items()})
    return f"{random.choice(_STARTS)}, {filled}."
