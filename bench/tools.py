"""Tools: ssh, labfab, pyinfra and Ansible, each with the command line that a user of it would type, and what it must say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.fab import BIN, Fab
from tests.rig.places import CACHE, REPO, RigError, locked, say

from . import recipe, table

HERE = Path(__file__).parent
PEERS = CACHE / "bench"
ANSIBLE, PYINFRA = "ansible", "pyinfra"
PATIENCE = 900  # seconds that one run of any tool may take


@dataclass
class Contender:
    """A command line to be measured."""

    name: str
    words: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)
    settled: str = ""  # what its output must match
    cwd: Path = REPO
    before: Callable[[], object] = lambda: None  # not timed
    after: Callable[[], object] = lambda: None  # not timed
    codes: tuple[int, ...] = (0,)

    def run(self, warming: bool = False) -> float:
        """Run it once; return the seconds of the whole process.

        warming: it may still find something to do, as apt's lists to fetch in its own way.
        Raises RigError where it failed or did not say what it must.
        """
        self.before()
        with tempfile.TemporaryFile("w+") as output:
            began = time.perf_counter()
            with subprocess.Popen(
                self.words,
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process:
                code = self.end_of(process)
            took = time.perf_counter() - began
            output.seek(0)
            said = output.read()
        self.after()
        (PEERS / "said").mkdir(parents=True, exist_ok=True)
        (PEERS / "said" / f"{self.name}.txt").write_text(said)  # of its last run, to look into
        if code not in self.codes or not (warming or re.search(self.settled, said)):
            raise RigError(
                f"{self.name} ended with {code} and did not say {self.settled!r}:\n{said[-3000:]}"
            )
        return took

    @staticmethod
    def end_of(process: subprocess.Popen) -> int:
        """Wait for the end without looking now and then, as wait(timeout) does, which would round the time up."""
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            watch.cancel()


def ensure(peer: str) -> Path:
    """Return the folder with a peer's programs, installed into an environment of its own if it is not there."""
    wanted, folder = (HERE / f"requirements-{peer}.txt").read_text(), PEERS / peer
    with locked("bench"):
        if not (folder / "installed").exists() or (folder / "installed").read_text() != wanted:
            say(f"installing {', '.join(wanted.split())} into {folder.relative_to(REPO)}")
            shutil.rmtree(folder, ignore_errors=True)
            install = ["-m", "pip", "install", "-q", "-r", str(HERE / f"requirements-{peer}.txt")]
            for command in (
                [sys.executable, "-m", "venv", str(folder)],
                [str(folder / "bin" / "python"), *install],
            ):
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    check=False,
                    env=compiled(dict(os.environ)),
                )
                if done.returncode:
                    raise RigError(
                        f"{peer} cannot be installed: {(done.stderr or done.stdout).strip()[-500:]}"
                    )
            (folder / "installed").write_text(wanted)
    return folder / "bin"


def compiled(env: dict[str, str]) -> dict[str, str]:
    """An environment in which Python keeps its bytecode, as it does for every user."""
    return {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass
class Kit:
    """What the command lines have in common: the laptop's home and the way to the hosts."""

    fab: Fab
    prefix: list[str]

    @property
    def folder(self) -> Path:
        """Where the inventories and files of the peers lie."""
        return self.fab.home / "bench"

    def environment(self, extra: dict[str, str]) -> dict[str, str]:
        return compiled(self.fab.environment(extra))

    def ssh(self, alias: str) -> Contender:
        """A login that does nothing: the floor."""
        home = self.fab.home / ".ssh"
        options = [
            "-F",
            str(home / "config"),
            "-o",
            f"UserKnownHostsFile={home / 'known_hosts'}",
            "-o",
            "BatchMode=yes",
        ]
        return Contender(
            table.SSH, [*self.prefix, "ssh", *options, alias, "true"], self.environment({})
        )

    # Each of these returns a run that is to find nothing to change, unless *settled* tells what it must say else.

    def labfab(
        self, name: str, *targets: str, settled: str = "nothing to change", **more
    ) -> Contender:
        """The real fab from this checkout."""
        env = {"LABFAB_PYTHON": "venv", "LABFAB_SUDO": "nopasswd", "LABFAB_ALIAS": "lab-{host}"}
        words = [*self.prefix, str(BIN / "fab"), "-H", ",".join(targets), "setup.full"]
        return Contender(name, words, self.environment(env), settled, **more)

    def pyinfra(
        self, name: str, addresses: Sequence[str], fresh: bool = False, settled: str = "", **more
    ) -> Contender:
        inventory = self.folder / f"pyinfra-{len(addresses)}{'-fresh' * fresh}.py"
        shared = {
            "ssh_user": "root" if fresh else recipe.ACCOUNT,
            "ssh_port": 22 if fresh else recipe.PORT,
            "ssh_key": str(self.fab.home / ".ssh" / "id_ed25519"),
            "ssh_known_hosts_file": str(self.fab.home / ".ssh" / "known_hosts"),
            "_sudo": not fresh,
            "again": not fresh,
            **self.values(),
        }
        inventory.write_text(f"hosts = ({list(addresses)!r}, {shared!r})\n")
        words = [
            *self.prefix,
            str(ensure(PYINFRA) / "pyinfra"),
            "-y",
            str(inventory),
            str(HERE / "pyinfra" / "deploy.py"),
        ]
        settled = settled or ("" if fresh else r"Grand total +\d+ +- +- +\d")
        return Contender(name, words, self.environment({}), settled, cwd=self.folder, **more)

    def ansible(
        self,
        name: str,
        addresses: Sequence[str],
        variant: str,
        mitogen: bool = False,
        fresh: bool = False,
        **more,
    ) -> Contender:
        inventory = self.folder / f"ansible-{variant}-{len(addresses)}{'-fresh' * fresh}.json"
        shared = {
            "ansible_user": "root" if fresh else recipe.ACCOUNT,
            "ansible_port": 22 if fresh else recipe.PORT,
            "ansible_ssh_private_key_file": str(self.fab.home / ".ssh" / "id_ed25519"),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={self.fab.home / '.ssh' / 'known_hosts'}",
            "environment_folder": f"{recipe.HOME}/jupyter-venv",
            **self.values(),
        }
        inventory.write_text(
            json.dumps({"all": {"hosts": dict.fromkeys(addresses, {}), "vars": shared}})
        )
        sockets = self.fab.home / "cp"
        programs = ensure(ANSIBLE)
        env = {
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_FORKS": "16",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s",
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
            "ANSIBLE_HOST_KEY_CHECKING": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }
        if mitogen:
            plugins = next(
                programs.parent.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy")
            )
            env |= {"ANSIBLE_STRATEGY_PLUGINS": str(plugins), "ANSIBLE_STRATEGY": "mitogen_linear"}
        words = [
            *self.prefix,
            str(programs / "ansible-playbook"),
            "-i",
            str(inventory),
            "-e",
            f"variant={variant}",
        ]
        words.append(str(HERE / "ansible" / "playbook.yml"))
        settled = r"failed=0" if fresh else r"changed=0 +unreachable=0 +failed=0"
        return Contender(
            name, words, self.environment(env), settled, before=lambda: hang_up(sockets), **more
        )

    def values(self) -> dict[str, object]:
        """What the recipe is told, whichever tool reads it."""
        return {
            "account": recipe.ACCOUNT,
            "home": recipe.HOME,
            "ssh_port_wanted": recipe.PORT,
            "packages": recipe.THEIRS,
            "requirements": recipe.REQUIREMENTS,
            "url": recipe.URL,
            "start": recipe.START,
            "public_key": self.fab.key,
            "assets": str(self.folder),
        }


def hang_up(sockets: Path) -> None:
    """End the shared connections of an earlier run, so that each one logs in anew."""
    for socket in sockets.glob("*"):
        subprocess.run(
            ["ssh", "-F", "none", "-S", str(socket), "-O", "exit", "nobody"],
            capture_output=True,
            check=False,
        )
