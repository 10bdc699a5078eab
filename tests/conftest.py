"""Settings of every test: one thread, no network, and our package before torchvision."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import aa_lightning  # noqa: F401  repairs torchvision's import first
