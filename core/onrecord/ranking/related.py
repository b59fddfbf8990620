"""English words that are said for one another: a question says children, the answer says kids.

Only a query is widened by them, and a message that has the very word scores more. The signatures
know nothing of this table, so it can grow without an index being made anew.
"""

from __future__ import annotations

from typing import Final

from onrecord.ranking.english import IRREGULAR
from onrecord.ranking.stemmer import stem

_SAME: Final = """
kid child toddler youngster
mom mother mum mommy mama
dad father daddy papa
grandma grandmother granny nana
grandpa grandfather
baby infant newborn
teen teenager adolescent
guy man dude fellow
lady woman
girl daughter
boy son
sibling brother sister
spouse husband wife partner
marry wedding marriage married wed
boyfriend girlfriend partner
fiance engaged engagement
friend buddy pal mate
coworker colleague teammate
boss manager supervisor
neighbor neighbour
family relatives fam
pic photo picture photograph image snapshot
photography photo photographer
painting painted painter paint
drawing draw sketch
fest festival
show concert gig performance
movie film
series show
song music tune
singer sing vocalist
band group
book novel read
author writer write
game gaming play
contest competition compete tournament
win victory won
award prize
bike bicycle cycling
car automobile vehicle
truck vehicle
drive ride
plane airplane flight fly
train railway
trip journey travel tour getaway
travel visit
vacation holiday
hotel hostel motel
camp camping campsite
hike hiking trail
beach shore coast seaside
ocean sea
mountain peak
forest woods
park garden
city town
country nation abroad
neighborhood area district
house home
apartment flat condo
room bedroom
furniture couch sofa
move relocate moved
rent lease
tv television
fridge refrigerator
phone telephone cellphone smartphone mobile
computer laptop pc
app application software
website site webpage
email mail
message text
call phone
internet online
photo selfie
store shop boutique
buy purchase bought
sell sale
cheap inexpensive affordable
expensive costly pricey
money cash funds financial finance
salary income pay wage
job occupation profession career work
business company firm biz
startup business
interview job
quit resign leave
fired laid unemployed
client customer
meeting appointment
project assignment
deadline due
school college university uni
class course lesson workshop
student pupil
teacher instructor professor tutor
exam test quiz
study learn education
degree diploma graduate
doctor physician
hospital clinic
ill sick unwell
illness disease sickness
medicine medication drug pill
pain hurt ache
injury injured hurt
surgery operation
pregnant pregnancy expecting
allergy allergic
health wellness wellbeing
gym workout exercise fitness
yoga stretch
run running jog marathon
swim swimming
soccer football
diet eating
eat meal food
breakfast brunch
dinner supper
yummy delicious tasty
cook cooking recipe
bake baking cake
dessert sweet
restaurant diner cafe eatery
coffee cafe
drink beverage
fave favorite favourite preferred
color colour
hobby pastime interest
enjoy love like
passion passionate
hate dislike
happy glad joy joyful
sad unhappy upset
angry mad
scared afraid fear frightened
nervous anxious anxiety
worried worry concern
stress stressed destress stressful
relax unwind calm destress
tired exhausted
excited thrilled stoked pumped
proud pride
grateful thankful gratitude appreciate
lonely alone
beautiful gorgeous pretty lovely
cool awesome amazing great
big large huge
small little tiny
smart clever intelligent
hard difficult tough challenging
easy simple
quick fast
funny humor hilarious
weird strange odd
important crucial significant
famous popular
old elderly
new recent latest
recently lately
start begin began launch
finish complete end
stop quit
continue keep
try attempt
plan planning intend
goal aim objective
dream wish hope
idea thought
decide decision choose choice
choose pick select
think opinion view
believe belief
reason cause motive
motivate inspire motivation inspiration
advice tip suggestion suggest recommend recommendation
help assist aid support
volunteer volunteering charity
donate donation give
fundraiser fundraise charity
gift present
give gave donate
receive get got
share shared
tell told say mention
talk chat speak conversation discuss
explain describe
answer reply respond
ask question
argue argument fight
meet met encounter
attend go went participate join
participate join take
join joined member
organize organise arrange host
event gathering
party celebration celebrate
birthday bday
anniversary celebrate
make create build
make made
create creative creation
fix repair
break broke broken damage
lose lost
find found discover
search look
see saw watch
hear listen
show display exhibit exhibition
collect collection
clean tidy
wear clothes clothing outfit
dress gown
shoe sneaker
jewelry necklace ring bracelet
pet animal
dog puppy pup doggy
cat kitten kitty
adopt adoption
die died death pass passed
funeral death
born birth birthday
accident crash
weather climate
rain storm
snow winter
summer sunny
night evening
morning dawn
nickname name
religion religious faith church
church temple mosque
pray prayer
god faith
politics political
government state
war military army
veteran soldier military
police cop
law lawyer attorney
crime criminal
nature outdoors outdoor
tree plant
flower bloom
plant garden gardening
farm farmer
sun sunrise sunset
art artwork
artist artistic
craft handmade
pottery ceramics clay
dance dancing dancer
instrument musical
theater theatre drama
museum gallery
library books
news article
language speak
trait personality
role position
type kind sort
place location spot
way method
problem issue trouble
change transition
success successful succeed
fail failure
achieve achievement accomplish accomplishment
improve improvement
grow growth
risk danger dangerous
safe safety
test check
error bug fault
mistake error
delete remove
password passcode
address location
flatmate roommate
mentor mentorship
counselor therapist counseling therapy
therapy therapist
psychology mental
transgender trans
lgbtq gay queer
tattoo ink
haircut hair
"""

_KINDS: Final = """
pet: dog cat puppy kitten hamster rabbit bird turtle fish guinea
animal: dog cat horse bird rabbit bear turtle fish snake
instrument: guitar piano violin drum flute clarinet cello saxophone ukulele
sport: basketball football soccer tennis baseball hockey golf volleyball swimming boxing surfing
exercise: yoga running gym weight pilates boxing swim jog aerobics
activity: hike camp swim paint dance run cook yoga game pottery read
hobby: paint read cook garden photography knit hike dance game
parent: mom dad mother father
sibling: brother sister
relative: aunt uncle cousin grandma grandpa niece nephew
family: mom dad sister brother aunt uncle son daughter husband wife
child: son daughter baby
vehicle: car truck bike motorcycle van bus
drink: coffee tea beer wine juice water
food: pizza pasta salad soup bread cake chicken sushi
dessert: cake cookie ice chocolate pie
fruit: apple banana orange berry
outdoor: hike camp beach park lake
art: paint draw sculpture pottery photograph
music: song guitar piano concert band album
book: novel author story
device: phone laptop tablet computer camera
clothes: shirt dress jacket shoe hat
season: summer winter spring autumn
trip: flight hotel beach roadtrip
injury: ankle knee broken sprain
illness: flu fever cold cancer
emotion: happy sad angry proud nervous
degree: bachelor master phd
job: engineer nurse teacher lawyer chef manager
"""


def _stemmed(word: str) -> str:
    return stem(IRREGULAR.get(word, word))


def _same() -> dict[str, tuple[str, ...]]:
    """For each term those it stands in a line with."""
    found: dict[str, dict[str, None]] = {}
    for line in _SAME.strip().splitlines():
        stems = [_stemmed(word) for word in line.split()]
        for term in stems:
            found.setdefault(term, {}).update((other, None) for other in stems if other != term)
    return {term: tuple(others) for term, others in found.items()}


def _kinds() -> dict[str, tuple[str, ...]]:
    """For a kind of things some of its things."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _KINDS.strip().splitlines():
        kind, _, things = line.partition(":")
        found[_stemmed(kind)] = tuple(_stemmed(thing) for thing in things.split())
    return found


SAME: Final = _same()
KINDS: Final = _kinds()
