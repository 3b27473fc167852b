"""The demo: your own JupyterLab on a disposable machine, proven by a computation, gone without a trace."""

import contextlib
import json
import os
import random
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from labfab.laptop import kernel
from labfab.platforms.installers import BASES

from . import dockerd, image, network
from .engine import find, running
from .fab import BIN, Fab, end_processes, make_key
from .host import Host
from .places import CACHE, REPO, RigError, say

OWNER = "demo"  # of the host, its alias, and the recipe config/demo.yaml
FOLDER = CACHE / "demo"
HOME = FOLDER / "home"  # never the user's own ~/.ssh
OWN_ENGINE = FOLDER / "engine-is-ours"


def start() -> None:
    """Get a machine, run the real `fab setup.full` on it, prove the result and say how to use it."""
    began = time.monotonic()
    make_key(HOME)
    host = machine()
    set_up(host)
    url, proof = prove()
    print(
        f"\nJupyterLab computes: {proof} (asked through the tunnel, {time.monotonic() - began:.0f} s in all)\n{how_to_use(url)}"
    )


def machine() -> Host:
    """Take the demo's machine, booted if it is not there."""
    before = running()
    engine = before or find()
    if not before and dockerd.PID.exists():
        OWN_ENGINE.touch()
    found = Host.existing(engine, OWNER)
    if found:
        say("the demo's machine is there already")
        found[0].switch_on()
        return found[0]
    return Host.boot(
        image.demo_flavour(engine), OWNER, key=Fab(HOME).key, owner=OWNER, engine=engine
    )


def set_up(host: Host) -> None:
    """Run the command a user types, with its output as it comes."""
    port = f":{host.port}" if host.port != 22 else ""
    words = ["fab", "-H", f"root@{host.address}{port}", "setup.full"]
    choices = settings(host)
    print(
        f"\n$ {' '.join(f'{name}={shlex.quote(value)}' for name, value in choices.items())} {' '.join(words)}",
        flush=True,
    )
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]], cwd=REPO, env=Fab(HOME).environment(choices), check=False
    )
    if done.returncode:
        raise RigError(
            "the demo stopped at the line above: the same command goes on, `inv demo --stop` clears away"
        )


def settings(host: Host) -> dict[str, str]:
    """Choose what a demo needs; LABFAB_* variables given by the user win."""
    chosen = {"LABFAB_RECIPE": OWNER, "LABFAB_HOST_KEY": host.host_key_fingerprint()}
    if host.next_port != 292:
        chosen["LABFAB_SSH_PORT"] = str(host.next_port)
    given = {name: value for name, value in os.environ.items() if name.startswith("LABFAB_")}
    if "LABFAB_PYTHON" not in given:
        chosen["LABFAB_PYTHON"] = python()
    return chosen | given


def python() -> str:
    """Choose where Python comes from; the same again for a machine that has it."""
    note = FOLDER / "python"
    if not note.exists():
        reached = answers(BASES["miniforge"].split("/releases")[0])
        if not reached:
            say(
                "conda's downloads do not answer here: Python comes from the package index instead (LABFAB_PYTHON=venv)"
            )
        note.write_text("miniforge" if reached else "venv")
    return note.read_text()


def answers(address: str) -> bool:
    """Tell whether a web server answers at all."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=3):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def prove() -> tuple[str, str]:
    """Log in through the tunnel and have a kernel multiply two random numbers."""
    folder = HOME / ".config" / "labfab" / OWNER
    url = f"http://127.0.0.1:{json.loads((folder / 'tunnel.json').read_text())['local_port']}"
    given = os.environ.get("LABFAB_JUPYTER_PASSWORD")
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    with contextlib.closing(
        kernel.login(url, given or password_file().read_text().strip())
    ) as client:
        answer = kernel.execute(client, f"{a} * {b}")
    if answer != str(a * b):
        raise RigError(f"the kernel says that {a} * {b} is {answer!r}")
    return url, f"{a} * {b} = {answer}"


def password_file() -> Path:
    return HOME / ".config" / "labfab" / OWNER / "jupyter-password"


def how_to_use(url: str) -> str:
    """Tell where everything is."""
    ssh = f"ssh -F {shown(HOME)}/.ssh/config -o UserKnownHostsFile={shown(HOME)}/.ssh/known_hosts {OWNER}"
    return (
        f"  open      {url}/lab\n"
        f"  password  cat {shown(password_file())}\n"
        f"  shell     {ssh}\n"
        f"  stop      .venv/bin/inv demo --stop"
    )


def shown(path: Path) -> str:
    return shlex.quote(str(path.relative_to(REPO)))


def stop() -> None:
    """Take everything away: tunnel, machine, network, home, and the engine if it is ours."""
    close_tunnel()
    engine = running()
    if engine:
        for host in Host.existing(engine, OWNER):
            host.stop()
        with contextlib.suppress(RigError):
            network.remove(engine)  # tests may be using it
    if OWN_ENGINE.exists() and not network_in_use(engine):
        dockerd.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    print(
        "the demo is gone; images stay in .cache for the next time (remove the folder to be rid of them)"
    )


def close_tunnel() -> None:
    """Close the tunnel the way a user does, then end what may still run with the demo's home."""
    if HOME.exists():
        words = [str(BIN / "fab"), "-H", OWNER, "tunnel.close"]
        subprocess.run(
            words,
            cwd=REPO,
            env=Fab(HOME).environment({"LABFAB_RECIPE": OWNER}),
            capture_output=True,
            check=False,
        )
        end_processes(HOME)


def network_in_use(engine) -> bool:
    return engine is not None and engine.ok("network", "inspect", network.NAME)
