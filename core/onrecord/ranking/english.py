"""What is known of English words beyond the rules of stemming: stop words, irregular forms."""

from __future__ import annotations

from typing import Final

_COMMON: Final = """
a about above after again against all also am an and any are as at be because been before being
below between both but by can cannot could did do does doing don done down during each either else
ever few for from further get gets getting got had has have having he her here hers herself him
himself his how i if in into is it its itself just let may me might mine more most much must my
myself neither no nor not now of off on once one only or other our ours ourselves out over own per
quite rather really same shall she should so some such than that the their theirs them themselves
then there these they this those through to too under until up upon us very was we were what
whatever when where whether which while who whom whose why will with within without would yes yet
you your yours yourself yourselves
aren cant couldn didn doesn dont hadn hasn haven isn mightn mustn needn shan shouldn wasn weren won
wouldn wont ain ll ve re im ive
"""

STOP_WORDS: Final = frozenset(_COMMON.split())
"""Too common to say anything of what is looked for."""

_IRREGULAR: Final = """
arise arose arisen
awake awoke awoken
bear bore borne
beat beaten
become became
begin began begun
bend bent
bind bound
bite bitten
bleed bled
blow blew blown
break broke broken
breed bred
bring brought
build built
burn burnt
buy bought
catch caught
choose chose chosen
come came
creep crept
cry cried cries
dig dug
draw drew drawn
dream dreamt
drink drank drunk
drive drove driven
eat ate eaten
fall fell fallen
feed fed
feel felt
fight fought
find found
flee fled
fly flew flown flies
forbid forbade forbidden
forget forgot forgotten
forgive forgave forgiven
freeze froze frozen
give gave given
go went gone goes
grow grew grown
hang hung
hear heard
hide hid hidden
hold held
keep kept
kneel knelt
know knew known
lay laid
lead led
lean leant
leap leapt
learn learnt
leave left
lend lent
light lit
lose lost
make made
mean meant
meet met
pay paid
prove proven
ride rode ridden
ring rang rung
rise risen
run ran
say said says
see saw seen
seek sought
sell sold
send sent
sew sewn
shake shook shaken
shine shone
shoot shot
show shown
shrink shrank shrunk
sing sang sung
sink sank sunk
sit sat
sleep slept
slide slid
speak spoke spoken
speed sped
spend spent
spin spun
spring sprang sprung
stand stood
steal stole stolen
stick stuck
sting stung
strike struck
string strung
strive strove striven
swear swore sworn
sweep swept
swell swollen
swim swam swum
swing swung
take took taken
teach taught
tear tore torn
tell told
think thought
throw threw thrown
understand understood
wake woke woken
wear wore worn
weave wove woven
weep wept
win won
write wrote written
child children
man men
woman women
person people
foot feet
tooth teeth
mouse mice
goose geese
wife wives
knife knives
shelf shelves
half halves
wolf wolves
thief thieves
loaf loaves
good better best
bad worse worst
"""

IRREGULAR: Final = {
    form: forms[0]
    for forms in map(str.split, _IRREGULAR.strip().splitlines())
    for form in forms[1:]
}
"""The word that a form belongs to, where no rule says so."""
