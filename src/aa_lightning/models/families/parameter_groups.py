"""Parameters of each freeze group: vision, audio, projector, language, by the same names for every family.

Regular expressions on in-memory parameter names.
"""

TEXT = {"language": r"^(model|lm_head)\."}
LANGUAGE = r"^(model\.language_model|lm_head)\."
JOINED = {
    "vision": r"^model\.vision_tower\.",
    "projector": r"^model\.(multi_modal_projector\.|image_newline)",
    "language": LANGUAGE,
}
CONNECTED = {
    "vision": r"^model\.vision_model\.",
    "projector": r"^model\.connector\.",
    "language": r"^(model\.text_model|lm_head)\.",
}
CROSSED = {
    "vision": r"^model\.vision_model\.",
    "projector": r"^model\.multi_modal_projector\.",
    "language": LANGUAGE,
}
SPLIT = {
    "vision": r"^model\.vision_model\.",
    "projector": r"^model\.aligner\.",
    "language": r"^(model\.(language_model|generation_\w+)|lm_head)\.",
}
QWEN_VISION = {
    "vision": r"^model\.visual\.(?!merger|deepstack_merger)",
    "projector": r"^model\.visual\.(merger|deepstack_merger_list)\.",
    "language": LANGUAGE,
}
HEARING = {
    "audio": r"^model\.audio_tower\.",
    "projector": r"^model\.multi_modal_projector\.",
    "language": LANGUAGE,
}
OMNI = {
    "vision": r"^model\.visual\.(?!merger)",
    "audio": r"^model\.audio_tower\.(?!proj)",
    "projector": r"^model\.(visual\.(merger|merger_list)|audio_tower\.proj\d?)\.",
    "language": LANGUAGE,
}
SPEECH = {
    **{group: pattern.replace("^", r"^thinker\.") for group, pattern in OMNI.items()},
    "talker": r"^talker\.",
}
COMPOSED = {**HEARING, "vision": JOINED["vision"]}
