"""Memory of pictures and activations stays with the process."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from eyas.memory import keep
{keep}
def used():
    np.ones(2**26, np.uint8)  # 64 MB, written to and given back: more than the C library ever keeps by itself
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
used()
before = faults()
for _ in range(20):
    used()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="another C library than glibc is left as it is")
def test_what_is_given_back_is_used_again_and_not_asked_for_anew():
    told = {
        keep: int(subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in ("keep()", "")
    }
    assert told["keep()"] < 0.1 * told[""]
