"""Settings of every test: one thread, no network, and a torchvision that can be imported."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tests import torchvision_repair

torchvision_repair.install()
