"""Questions about a melody. As with pictures, nobody who has not heard it can do better than chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from aa_lightning.data.shapes.language import NUMBERS, a, listing, plural, sentence, there_are
from aa_lightning.data.shapes.questions import Question, stated
from aa_lightning.data.shapes.scenes import other
from aa_lightning.data.shapes.sounds import GAPS, HERTZ, Band, Melody, Tone, make_melody

TURNS = ("rising", "falling")


def ask_pitch(band: Band, rng: Random) -> Question:
    """Ask "What pitch is the buzz?" Exactly one tone is a buzz."""
    tone, melody = _one_of_its_timbre(band, rng)
    wrong = other(rng, band.pitches, tone.pitch)
    return stated(melody, f"What pitch is the {tone.timbre}?", f"the {tone.timbre} is", tone.pitch, wrong)


def ask_timbre(band: Band, rng: Random) -> Question:
    """Ask "What sound is low?" Exactly one tone is low."""
    tone = band.tone(rng)
    others = [band.tone(rng, not_pitch=tone.pitch) for _ in range(band.count(rng) - 1)]
    wrong = other(rng, band.timbres, tone.timbre)
    melody = _shuffled([tone, *others], rng)
    return stated(melody, f"What sound is {tone.pitch}?", f"the {tone.pitch} sound is a", tone.timbre, wrong)


def ask_count(band: Band, rng: Random) -> Question:
    """Ask "How many beeps are there?" One to `max_tones`, uniformly."""
    timbre = rng.choice(band.timbres)
    count = rng.randint(1, band.max_tones)
    total = rng.randint(max(count, band.min_tones), band.max_tones)
    tones = [band.tone(rng, timbre=timbre) for _ in range(count)]
    tones += [band.tone(rng, not_timbre=timbre) for _ in range(total - count)]
    wrong = rng.choice([n for n in range(1, band.max_tones + 1) if n != count])
    return Question(
        scene=_shuffled(tones, rng),
        text=f"How many {plural(timbre)} are there?",
        answer=NUMBERS[count],
        wrong_answer=NUMBERS[wrong],
        right=sentence(there_are(count, timbre)),
        wrong=sentence(there_are(wrong, timbre)),
        critique=f"Wrong: {there_are(count, timbre)}, not {NUMBERS[wrong]}.",
    )


def ask_turn(band: Band, rng: Random) -> Question:
    """Is the sound rising or falling? Two tones or more, each higher than the one before, or each lower."""
    pitches = sorted(rng.sample(list(band.pitches), _steps(band, rng)), key=HERTZ.__getitem__)
    answer, wrong = rng.sample(TURNS, 2)
    told = pitches if answer == "rising" else pitches[::-1]
    melody = make_melody([band.tone(rng, pitch=pitch) for pitch in told], rng)
    return stated(melody, "Is the sound rising or falling?", "the sound is", answer, wrong)


def ask_pace(band: Band, rng: Random) -> Question:
    """Are the sounds fast or slow?"""
    answer, wrong = rng.sample(list(GAPS), 2)
    tones = [band.tone(rng) for _ in range(band.count(rng, at_least=2))]
    return stated(make_melody(tones, rng, answer), "Are the sounds fast or slow?", "the sounds are", answer, wrong)


def ask_first(band: Band, rng: Random) -> Question:
    """Ask "Which sound is first, the beep or the buzz?" The two in both orders, in the question too."""
    answer, wrong = rng.sample(list(band.timbres), 2)
    named = rng.sample([answer, wrong], 2)
    melody = make_melody([band.tone(rng, timbre=timbre) for timbre in (answer, wrong)], rng)
    text = f"Which sound is first, the {named[0]} or the {named[1]}?"
    return stated(melody, text, "first there is the", answer, wrong)


def ask_yesno(band: Band, rng: Random) -> Question:
    """Is the buzz low? Yes in half of the questions."""
    tone, melody = _one_of_its_timbre(band, rng)
    yes = rng.random() < 0.5
    asked = tone.pitch if yes else other(rng, band.pitches, tone.pitch)
    says = {"yes": f"Yes, the {tone.timbre} is {asked}.", "no": f"No, the {tone.timbre} is not {asked}."}
    answer, wrong = ("yes", "no") if yes else ("no", "yes")
    return Question(
        scene=melody,
        text=f"Is the {tone.timbre} {asked}?",
        answer=answer,
        wrong_answer=wrong,
        right=says[answer],
        wrong=says[wrong],
        critique=f"Wrong: the {tone.timbre} is {tone.pitch}, so the answer is {answer}.",
    )


def ask_caption(band: Band, rng: Random) -> Question:
    """Ask "Which sounds are there?" The wrong answer changes one pitch or one timbre."""
    melody = make_melody([band.tone(rng) for _ in range(band.count(rng))], rng)
    number, new = change_tone(melody, band, rng)
    right, wrong = heard(melody), heard(melody.with_tone(number, new))
    return Question(
        scene=melody,
        text="Which sounds are there, from first to last?",
        answer=right,
        wrong_answer=wrong,
        right=sentence(right),
        wrong=sentence(wrong),
        critique=f"Wrong: there is {_named(melody.tones[number])} where the answer says {_named(new)}.",
    )


def change_tone(melody: Melody, band: Band, rng: Random) -> tuple[int, Tone]:
    """The number of one tone of a melody, and the same tone with another pitch or another timbre."""
    number = rng.randrange(len(melody.tones))
    old = melody.tones[number]
    if rng.random() < 0.5:
        return number, replace(old, pitch=other(rng, band.pitches, old.pitch))
    return number, replace(old, timbre=other(rng, band.timbres, old.timbre))


def heard(melody: Melody) -> str:
    """`a low beep, a high buzz and a low hum`, in the order of time."""
    return listing([_named(tone) for tone in melody.tones])


def _named(tone: Tone) -> str:
    return a(f"{tone.pitch} {tone.timbre}")


def _one_of_its_timbre(band: Band, rng: Random) -> tuple[Tone, Melody]:
    tone = band.tone(rng)
    others = [band.tone(rng, not_timbre=tone.timbre) for _ in range(band.count(rng) - 1)]
    return tone, _shuffled([tone, *others], rng)


def _shuffled(tones: list[Tone], rng: Random) -> Melody:
    return make_melody(rng.sample(tones, len(tones)), rng)


def _steps(band: Band, rng: Random) -> int:
    return rng.randint(2, max(2, min(len(band.pitches), band.max_tones)))


SOUND_QUESTIONS: dict[str, Callable[[Band, Random], Question]] = {
    "pitch": ask_pitch,
    "timbre": ask_timbre,
    "count": ask_count,
    "turn": ask_turn,
    "pace": ask_pace,
    "first": ask_first,
    "yesno": ask_yesno,
    "caption": ask_caption,
}
