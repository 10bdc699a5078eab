"""Rows of our own in the public format of each benchmark, what is said to them, and the main number that follows by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PICTURE, SOUND = "red.png", "tone.wav"


@dataclass(frozen=True)
class Case:
    """Attributes:
    rows: of the file.
    asked: the first prompt.
    right, wrong: answers to each row.
    constant: one answer to all rows.
    numbers: the main number of the right answers, the wrong ones, empty ones, and the constant one.
    unparsed: of the empty answers.
    """

    rows: list[dict[str, Any]]
    asked: str
    right: list[str]
    wrong: list[str]
    constant: str
    numbers: tuple[float, float, float, float]
    unparsed: int | None = None


def people(*answers: str) -> list[str]:
    """Ten answers: the first ones, and the last one again and again."""
    return [*answers, *[answers[-1]] * (10 - len(answers))]


LETTER = "\nAnswer with the option's letter from the given choices directly."
WORD = "\nAnswer the question using a single word or phrase."
FOUR = {"A": "red", "B": "blue", "C": "nan", "D": "nan"}
COLOURS, TURNED = ["red", "blue", "green", "white"], ["white", "red", "blue", "green"]
LISTED = "A. red\nB. blue\nC. green\nD. white"

CASES = {
    "pope": Case(
        rows=[
            {
                "question_id": str(i),
                "question": f"Is there a {thing} in the image?",
                "answer": answer,
                "image_source": "one",
                "image": PICTURE,
                "category": category,
            }
            for i, (category, thing, answer) in enumerate(
                [
                    ("adversarial", "cup", "yes"),
                    ("adversarial", "fork", "no"),
                    ("random", "cup", "yes"),
                    ("random", "cow", "no"),
                ]
            )
        ],
        asked="[red]Is there a cup in the image?" + WORD,
        right=["Yes", "No, there is not.", "yes", "no"],
        wrong=["No", "Yes", "no", "yes"],
        constant="Yes",
        numbers=(1, 0, 2 / 3, 2 / 3),
        unparsed=0,  # silence is yes
    ),
    "mme": Case(
        rows=[
            {
                "question_id": f"{category}/{n}.png",
                "category": category,
                "image": PICTURE,
                "question": f"Is it {colour}? Please answer yes or no.",
                "answer": answer,
            }
            for category, n in (("color", 1), ("OCR", 2))
            for colour, answer in (("red", "Yes"), ("blue", "No"))
        ],
        asked="[red]Is it red? Please answer yes or no." + WORD,
        right=["Yes", "No", "yes.", "no"],
        wrong=["No", "Yes", "no", "yes"],
        constant="Yes",
        numbers=(400, 0, 0, 100),  # of two categories: half of the questions and no picture
    ),
    "mmbench": Case(
        rows=[
            {
                "index": index,
                "question": "Which colour?",
                "hint": hint,
                "answer": answer,
                "category": "attribute",
                "L2-category": "fine",
                "source": "own",
                "split": "dev",
                "image": PICTURE,
                **texts,
            }
            for index, hint, answer, texts in (
                (7, "Look.", "A", FOUR),
                (1_000_007, "Look.", "B", {**FOUR, "A": "blue", "B": "red"}),
                (8, "nan", "A", FOUR),
                (1_000_008, "nan", "B", {**FOUR, "A": "blue", "B": "red"}),
            )
        ],
        asked="[red]Look.\nWhich colour?\nA. red\nB. blue" + LETTER,
        right=["A", "The answer is B.", "red", "B"],
        wrong=["B", "A", "B", "A"],
        constant="A",
        numbers=(1, 0, 0, 0),
    ),
    "mmstar": Case(
        rows=[
            {
                "index": i,
                "question": "Which colour?\nOptions: A: red, B: blue, C: green, D: white",
                "image": PICTURE,
                "answer": answer,
                "category": "coarse perception",
                "l2_category": f"l{i % 2}",
            }
            for i, answer in enumerate("ABCD")
        ],
        asked="[red]Which colour?\nOptions: A: red, B: blue, C: green, D: white" + LETTER[:-1],
        right=["A", "B.", "(C)", "D"],
        wrong=["B", "C", "D", "The answer is D"],
        constant="A",
        numbers=(1, 0, 0, 0.25),
    ),
    "scienceqa": Case(
        rows=[
            {"image": image, "question": "Which colour?", "choices": ["red", "blue"], "answer": answer, "hint": hint}
            for image, answer, hint in ((PICTURE, 0, "A wall."), (PICTURE, 1, ""), (None, 1, ""), (None, 1, ""))
        ],
        asked="[red]Context: A wall.\nWhich colour?\nA. red\nB. blue" + LETTER,
        right=["A", "B", "b", "B. blue"],
        wrong=["B", "A", "blue", "A"],
        constant="A",
        numbers=(1, 0, 0, 0.25),
    ),
    "mmmu": Case(
        rows=[
            {
                "id": f"validation_Art_{i}",
                "question": question,
                "options": options,
                "answer": answer,
                "question_type": "open" if options == "[]" else "multiple-choice",
                "subfield": "Colours",
                "topic_difficulty": "Easy",
                **{f"image_{n}": PICTURE if n <= shown else None for n in range(1, 8)},
            }
            for i, (question, options, answer, shown) in enumerate(
                [
                    ("In <image 1>, which colour?", "['red', 'blue']", "A", 1),
                    ("Which one is like <image 2>?", "['<image 1>', 'it\\'s none']", "B", 2),
                    ("How many are in <image 1>?", "[]", "3", 1),
                    ("What is in <image 1>?", "[]", "['wall', 'brick wall']", 1),
                ]
            )
        ],
        asked="In [red], which colour?\nA. red\nB. blue" + LETTER,
        right=["A", "(B)", "So the answer is 3", "It is a brick wall."],
        wrong=["B", "(A)", "4", "a door"],
        constant="A",
        numbers=(1, 0, 0, 0.25),
    ),
    "mathvista": Case(
        rows=[
            {
                "pid": str(i),
                "query": "Hint: Please answer.\nQuestion: How much?",
                "question": "How much?",
                "choices": choices,
                "unit": None,
                "precision": precision,
                "question_type": "multi_choice" if choices else "free_form",
                "answer_type": kind,
                "answer": answer,
                "decoded_image": PICTURE,
                "metadata": {"task": "figure question answering", "skills": ["arithmetic reasoning"]},
            }
            for i, (choices, precision, kind, answer) in enumerate(
                [
                    (["1", "2"], None, "text", "2"),
                    (None, None, "integer", "1"),
                    (None, 1.0, "float", "0.5"),
                    (None, None, "list", "[1, 2]"),
                ]
            )
        ],
        asked="[red]Hint: Please answer.\nQuestion: How much?",
        right=["(B) 2", "It is 1", "0.52", "The numbers are [1, 2]"],
        wrong=["(A) 1", "It is 2", "0.61", "[2, 1]"],
        constant="1",
        numbers=(1, 0, 0, 0.25),
    ),
    "textvqa": Case(
        rows=[
            {"image": PICTURE, "question": "what IS written?", "answers": people(*answers), "ocr_tokens": ["STOP"]}
            for answers in (("stop",), ("go", "stop"), ("two", "two", "two", "no"), ("no",))
        ],
        asked="[red]What is written?" + WORD,
        right=["Stop.", "stop", "no", "No"],
        wrong=["go", "turn", "one", "yes"],
        constant="2",
        numbers=(1, 0, 0, 0.9 / 4),  # three of ten say two
    ),
    "vizwiz": Case(
        rows=[
            {"image": PICTURE, "question": "What is this?", "answers": people(*answers), "category": category}
            for answers, category in ((("unanswerable",), "unanswerable"), (("a cup",), "other"), (("cup",), "other"))
        ],
        asked="[red]What is this?\nWhen the provided information is insufficient, respond with 'Unanswerable'." + WORD,
        right=["Unanswerable", "cup", "The cup"],
        wrong=["cup", "fork", "fork"],
        constant="unanswerable",
        numbers=(1, 0, 0, 1 / 3),
    ),
    "a_okvqa": Case(
        rows=[
            {
                "question": "Which colour?",
                "choices": COLOURS,
                "correct_choice_idx": i,
                "direct_answers": "['red']",
                "image": PICTURE,
            }
            for i in range(4)
        ],
        asked=f"[red]Which colour?\n{LISTED}{LETTER}",
        right=["A", "blue", "C", "D."],
        wrong=["B", "red", "D", "I do not know"],
        constant="A",
        numbers=(1, 0, 0, 0.25),
    ),
    "q_bench": Case(
        rows=[
            {
                "question": "How sharp is it?",
                "option0": "Sharp",
                "option1": "Blurred",
                "option2": None,
                "option3": None,
                "correct_choice": letter,
                "question_type": 0,
                "question_concern": 1,
                "image": PICTURE,
            }
            for letter in "AB"
        ],
        asked="[red]How sharp is it?\nA. Sharp\nB. Blurred" + LETTER,
        right=["A", "B"],
        wrong=["B", "A"],
        constant="A",
        numbers=(1, 0, 0, 0.5),
    ),
    "mmt_bench": Case(
        rows=[
            {
                "question": "Which colour?",
                **dict(zip("ABCDEFGHI", [*COLOURS, *[None] * 5], strict=True)),
                "answer": letter,
                "category": "colour",
                "l2-category": "look",
                "image": PICTURE,
            }
            for letter in "ABCD"
        ],
        asked="Question: [red]Which colour?\nA: red\nB: blue\nC: green\nD: white\n"
        "Answer the question using a single character from the given options.",
        right=["A", "(B)", "C", "D"],
        wrong=["B", "(A)", "no idea", "C"],
        constant="A",
        numbers=(1, 0, 0, 0.25),
    ),
    "blink": Case(
        rows=[
            {
                "idx": f"val_{i}",
                "sub_task": "Counting",
                "question": "How many?",
                "prompt": "How many?\n(A) one\n(B) two",
                "choices": ["one", "two"],
                "image_1": PICTURE,
                "image_2": PICTURE if i else None,
                "image_3": None,
                "image_4": None,
                "answer": answer,
            }
            for i, answer in enumerate(["(A)", "(B)"])
        ],
        asked="[red]How many?\n(A) one\n(B) two",
        right=["(A)", "two"],
        wrong=["(B)", "one"],
        constant="A",
        numbers=(1, 0, 0, 0.5),
    ),
    "hallusion_bench": Case(
        rows=[
            {
                "category": category,
                "subcategory": "chart",
                "visual_input": "1" if shown else "0",
                "set_id": "0",
                "figure_id": figure,
                "sample_note": "own",
                "question_id": "0",
                "question": "Is it red?",
                "gt_answer_details": "…",
                "gt_answer": truth,
                "filename": "own.png",
                "image": shown,
            }
            for category, figure, truth, shown in (
                ("VD", "0", "1", PICTURE),
                ("VD", "1", "0", PICTURE),
                ("VS", "0", "0", None),
                ("VS", "1", "1", PICTURE),
            )
        ],
        asked="[red]Is it red?\nPlease answer yes or no.",
        right=["Yes", "No.", "no", "Yes, it is"],
        wrong=["No", "Yes", "yes", "no and yes"],
        constant="No",
        numbers=(1, 0, 0, 0.5),
    ),
    "amber": Case(
        rows=[
            {
                "id": 1005 + i,
                "image": PICTURE,
                "query": "Is the wall blue in this image?",
                "type": "discriminative-attribute-state",
                "truth": truth,
            }
            for i, truth in enumerate(["no", "yes", "no", "yes"])
        ],
        asked="[red]Is the wall blue in this image?",
        right=["No", "Yes", " No\n", "Yes"],
        wrong=["Yes", "No", "No.", "No"],  # a full stop is one word too many
        constant="No",
        numbers=(1, 0, 0, 2 / 3),
    ),
    "gsm8k": Case(
        rows=[
            {"question": "Two pairs?", "answer": "2 * 2 = <<2*2=4>>4\n#### 4"},
            {"question": "How much money?", "answer": "It is\n#### 1,250"},
        ],
        asked="Question: Two pairs?\nAnswer:",
        right=["2 and 2 are 4.", "#### $1,250."],
        wrong=["4 or 5", "1250.5"],
        constant="The answer is 4.",
        numbers=(1, 0, 0, 0.5),
    ),
    "mmlu": Case(
        rows=[
            {"question": "Which colour?", "subject": "high_school_art", "choices": COLOURS, "answer": i}
            for i in range(4)
        ],
        asked="The following are multiple choice questions (with answers) about high school art.\n\n"
        f"Which colour?\n{LISTED}\nAnswer:",
        right=["A", "B", "C. green", "D"],
        wrong=["B", "A", "", "C"],
        constant="A",
        numbers=(1, 0, 0, 0.25),
    ),
    "mmlu_pro": Case(
        rows=[
            {
                "question_id": i,
                "question": "Which colour?",
                "options": COLOURS,
                "answer": letter,
                "answer_index": i,
                "cot_content": "",
                "category": "art",
            }
            for i, letter in enumerate("AB")
        ],
        asked="The following are multiple choice questions (with answers) about art. Think step by step and then finish your "
        f'answer with "the answer is (X)" where X is the correct letter choice.\n\nQuestion: Which colour?\nOptions:\n'
        f"{LISTED}\nAnswer:",
        right=["It is red, so the answer is (A).", "the answer is B"],
        wrong=["the answer is (B)", "B"],
        constant="the answer is (A)",
        numbers=(1, 0, 0, 0.5),
    ),
    **{
        name: Case(
            rows=[
                {
                    "id": f"own_{i}",
                    "question": "Which colour?",
                    "choices": {"text": COLOURS, "label": labels},
                    "answerKey": labels[i],
                }
                for i, labels in enumerate((["A", "B", "C", "D"], ["1", "2", "3", "4"]))
            ],
            asked=f"Question: Which colour?\n{LISTED}\nAnswer:",
            right=["A", "B"],
            wrong=["B", "A"],
            constant="A",
            numbers=(1, 0, 0, 0.5),
        )
        for name in ("arc_challenge", "arc_easy")
    },
    "mmau": Case(
        rows=[
            {
                "id": str(i),
                "question": "What is heard?",
                "choices": '["A dog", "A bell", "Rain"]',
                "answer": answer,
                "task": task,
                "difficulty": "easy",
                "sub-category": "own",
                "audio": SOUND,
            }
            for i, (answer, task) in enumerate((("A dog", "sound"), ("Rain", "music")))
        ],
        asked="[sound]What is heard?\n(A) A dog\n(B) A bell\n(C) Rain\nAnswer with the words of the right option.",
        right=["a dog", "(C) It is rain"],
        wrong=["a bell", "a dog in the rain"],
        constant="(A) A dog",
        numbers=(1, 0, 0, 0.5),
    ),
    "muchomusic": Case(
        rows=[
            {
                "question": "Which metre?",
                "choices": ["Waltz", "March"],
                "answer": answer,
                "dataset": "own",
                "audio": SOUND,
            }
            for answer in ("Waltz", "March")
        ],
        asked="[sound]Which metre?\n(A) Waltz\n(B) March" + LETTER,
        right=["A", "a march"],
        wrong=["B", "a waltz"],
        constant="A",
        numbers=(1, 0, 0, 0.5),
    ),
    "video_mme": Case(
        rows=[
            {
                "video_id": "001",
                "videoID": "clip",
                "duration": "short",
                "domain": "Knowledge",
                "sub_category": "Art",
                "task_type": "Counting",
                "question_id": f"001-{i}",
                "question": "Which colour?",
                "options": ["A. Red.", "B. Blue.", "C. Green.", "D. White."],
                "answer": letter,
            }
            for i, letter in enumerate("AD")
        ],
        asked="[clip]Select the best answer to the following multiple-choice question based on the video and the subtitles. "
        "Respond with only the letter (A, B, C, or D) of the correct option.\nWhich colour?\nA. Red.\nB. Blue.\nC. Green.\n"
        "D. White." + LETTER,
        right=["The best answer is: A", "D. White."],
        wrong=["B", "A"],
        constant="A",
        numbers=(1, 0, 0, 0.5),
    ),
}
