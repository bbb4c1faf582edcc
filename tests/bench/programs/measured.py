"""Runs a command and prints its seconds and its largest memory in MB.

A process's peak counts the memory of the one it was forked from: this one has little.
"""

import os
import subprocess
import sys
import time

begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
if status:
    sys.exit(f"{sys.argv[1:]} exited with {os.waitstatus_to_exitcode(status)}")
print(time.perf_counter() - begun, used.ru_maxrss / 1024)
