"""What decoders do at their worst, done by harmless functions that the guarded process calls in their place."""

import os
import time

import numpy as np

from aa_lightning.media import MediaError


def dies(*arguments):
    os._exit(7)


def spins(*arguments):
    while True:
        pass


def sleeps(*arguments):
    time.sleep(60)


def devours(*arguments):
    return {"all": np.ones(2**31, np.uint8)}


def refuses(*arguments):
    raise MediaError("There is nothing in it.")


def stumbles(*arguments):
    raise ZeroDivisionError("of the decoder")


def writes(path):
    with open(path, "w") as file:
        file.write("a mark")
    return {}


def chatters(*arguments):
    os.write(1, b"{}\n")
    os.write(2, b"a warning\n")
    return {"own": np.array([os.getpid()])}


def echoes(array):
    return {"array": array, "twice": array * 2}
