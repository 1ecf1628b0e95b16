"""The heap keeps what was freed: counted in page faults, in a process of its own since it is for good."""

import subprocess
import sys

FAULTS = """
import resource, sys, threading
from pipeline.heap import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def fetch_again_and_again():
    for _ in range(20):
        [b"x" * (8 << 20) for _ in range(3)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

fetch_again_and_again()
before = faults()
thread = threading.Thread(target=fetch_again_and_again)
thread.start()
thread.join()
print(faults() - before)
"""
PAGES = 3 * (8 << 20) // 4096


def _faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True).stdout)


def test_pages_that_were_freed_are_not_asked_for_again() -> None:
    assert _faults("kept") < 3 * PAGES
    assert _faults("as glibc has it") > 10 * PAGES
