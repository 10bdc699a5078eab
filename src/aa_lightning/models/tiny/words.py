"""The words that the tiny tokenizers know as one token: the language of the Shapes world and of a few plain chats."""

from __future__ import annotations

_COLOURS = "red green blue yellow purple orange white black grey gray cyan pink brown magenta"
_SHAPES = "circle square triangle star cross diamond ring bar heart hexagon disk shape object thing figure"
_NUMBERS = "zero one two three four five six seven eight nine ten once twice"
_RELATIONS = """
    left right above below over under beside between inside outside near far next top bottom middle centre center
    corner upper lower side same different more fewer most least than bigger smaller larger first second third
    last before after
"""
_SIZES = "small big large tiny medium high low mid loud quiet long short fast slow"
_MOTION = """
    move moves moving still stays rests goes go up down rises falls turns bounces leftward rightward upward
    downward towards away
"""
_SOUND = """
    sound sounds tone tones note pitch hear heard play plays beep beeps noise silence rising falling buzz hum
    piano click tick
"""
_MEDIA = """
    picture image photo video clip audio scene frame background drawing shows show shown see seen look appears
    contains
"""
_QUESTIONS = """
    what which where when who why how many much is are does do was were can there any describe name count tell say
    answer question
"""
_GRAMMAR = """
    a an the it its this that these those and or not no yes but of in on at to from with by for as so if be been
    has have only also both all none neither nor each other another only exactly some very just then while because
    instead should true false
"""
_FEEDBACK = """
    correct wrong right incorrect good bad better worse response reply claims claim says said actually really
    mistake error missing colour color number position place direction order size fine fully partly invents adds
    leaves out must please
"""
_CHAT = """
    you are helpful assistant user system hello sentence word words short brief draw make paint write i you your
    my we me in one
"""
_PLURALS = """
    circles squares triangles stars crosses diamonds rings bars hearts hexagons disks shapes objects things
    figures
"""

_GROUPS = (
    *(_COLOURS, _SHAPES, _NUMBERS, _RELATIONS, _SIZES, _MOTION, _SOUND, _MEDIA),
    *(_QUESTIONS, _GRAMMAR, _FEEDBACK, _CHAT),
)
VOCABULARY: tuple[str, ...] = tuple(dict.fromkeys(" ".join(_GROUPS).split()))


def corpus() -> list[str]:
    """Corpus of the tokenizers: each word alone, after a space, capitalised; and openers of sentences."""
    words = [*VOCABULARY, *_PLURALS.split()]
    openers = f"{_QUESTIONS} {_GRAMMAR} {_FEEDBACK} {_CHAT}".split()
    return [
        *(form for word in words for form in (word, f" {word}", word.capitalize())),
        *(f" {word.capitalize()}" for word in openers),
        *("user\n", "assistant\n", "system\n"),
    ]
