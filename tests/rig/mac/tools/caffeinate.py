"""caffeinate: stays as long as what it runs, waits for or was told."""

import getopt
import os
import signal
import subprocess
import time

from . import state

USAGE = "usage: caffeinate [-disu] [-t timeout] [-w Process ID] [command arguments...]"


def main(words: list[str]) -> int:
    try:
        options, command = getopt.getopt(words, "disumt:w:")
    except getopt.GetoptError as problem:
        return state.fail(f"caffeinate: illegal option -- {problem.opt[:1] or '-'}\n{USAGE}", 1)
    chosen = dict(options)
    if command:
        return subprocess.run(command, check=False).returncode
    if "-w" in chosen:
        while os.path.exists(f"/proc/{int(chosen['-w'])}"):
            time.sleep(0.1)
    elif "-t" in chosen:
        time.sleep(float(chosen["-t"]))
    else:
        signal.pause()
    return 0
