"""The main job: a bare machine becomes a private JupyterLab with one command, and stays as it is with the second."""

import random
import re
import shlex
import shutil
import subprocess
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from labfab.errors import SetupError
from labfab.laptop import kernel
from tests.conftest import booter, lent_fab
from tests.rig import Host, probes
from tests.rig.fab import Fab, Run

pytestmark = pytest.mark.host

ODD = "pä$'\"\\ s s"  # a login, sudo and JupyterLab take it; so must everything between
SIDE = "side-password"  # of an account that somebody made beside ours
CASES = {
    "debian12": {},
    "debian13": {  # in by password, with values that need care
        "LABFAB_LOGIN_PASSWORD": f"{ODD} login",
        "LABFAB_SUDO_PASSWORD": f"{ODD} sudo",
        "LABFAB_JUPYTER_PASSWORD": f"{ODD} lab",
        "LABFAB_ROOT_DIR": "my nötebooks $x 'y' \"z\"",
    },
    "ubuntu-like": {},
}


@dataclass
class Lab:
    """One machine that was set up, and what was seen meanwhile."""

    host: Host
    fab: Fab
    env: dict[str, str]
    runs: dict[str, Run] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    bare: dict[str, str] = field(default_factory=dict)
    planned: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str) -> Run:
        """Run fab with the command line of the first day."""
        return self.fab.on(self.host, *words, env=self.env)

    def later(self, *words: str) -> Run:
        """Run fab with the name that the host has now, and without a password: they are known."""
        settings = {
            name: value for name, value in self.env.items() if not name.endswith("_PASSWORD")
        }
        return self.fab("-H", "homelab", *words, env=settings)

    @property
    def password(self) -> str:
        return self.env.get("LABFAB_JUPYTER_PASSWORD") or self.stored("jupyter-password")

    def stored(self, name: str) -> str:
        """Read a secret that labfab keeps on the laptop."""
        return (self.fab.home / ".config" / "labfab" / "homelab" / name).read_text().strip("\n")

    @property
    def url(self) -> str:
        """Ask where the tunnel leads to."""
        said = self.later("tunnel.status").ok().out
        return re.search(r"http://127\.0\.0\.1:\d+", said).group()

    @property
    def secrets(self) -> set[str]:
        """List everything that must not be seen anywhere."""
        names = ("jupyter-password", "sudo-password")
        config = self.host.run("cat /home/lab/.jupyter/jupyter_server_config.json")
        tokens = re.findall(r'"token": "(\w{20,})"', config)
        assert len(tokens) == 1
        return (
            {self.stored(name) for name in names}
            | {v for k, v in self.env.items() if k.endswith("_PASSWORD")}
            | set(tokens)
        )


@pytest.fixture(scope="module", params=CASES)
def lab(request, engine, fab_log):
    """Set up one machine of each flavour with the command that a new user types."""
    with ExitStack() as stack:
        fab = stack.enter_context(contextmanager(lent_fab)(fab_log))
        # The account side has a password and no key, and nobody needs it.
        env = {"LABFAB_PYTHON": "venv", "LABFAB_ACCEPT": "passwords", **CASES[request.param]}
        logins = (
            {"password": env["LABFAB_LOGIN_PASSWORD"]}
            if "LABFAB_LOGIN_PASSWORD" in env
            else {"key": fab.key}
        )
        if "password" in logins:
            shutil.rmtree(fab.home / ".ssh")  # this user has no key of any kind yet
        lab = Lab(booter(engine, fab, stack)(request.param, request.param, **logins), fab, env)
        lab.host.run(f"useradd -m -s /bin/bash side && echo side:{SIDE} | chpasswd")
        with probes.watching(lab.host) as lab.seen:
            lab.bare = lab.host.checksums()
            lab.runs["dry"] = lab.run("--dry", "setup.full")
            lab.runs["too early"] = lab.run("tunnel.open")
            lab.planned = lab.host.checksums()
            lab.runs["first"] = lab.run("setup.full").ok()
        yield lab


def test_one_command_sets_everything_up(lab):
    said = lab.runs["first"].out
    assert re.search(r"JupyterLab\W+http://127\.0\.0\.1:\d+/lab", said) and re.search(
        r"\b\d\d changes", said
    )


def test_before_it_the_tunnel_named_this_very_command(lab):
    early = lab.runs["too early"].fails()
    if "LABFAB_LOGIN_PASSWORD" in lab.env:
        return  # ssh asks nobody, so there is no way in without a key
    assert probes.task_named(early.text) == "setup.full"


def test_the_same_command_again_changes_nothing(lab):
    lab.host.cut_off()
    try:
        before, tries, files = (
            lab.host.checksums(),
            lab.host.attempts_outside(),
            laptop_files(lab.fab.home),
        )
        lab.runs["again"] = lab.run("setup.full")
        again = lab.runs["again"].ok()
        assert "nothing to change" in again.out
        assert not re.search(r"\b\d+ changes?\b", again.out)
        assert lab.host.checksums() == before
        assert lab.host.attempts_outside() == tries
        assert laptop_files(lab.fab.home) == files
    finally:
        lab.host.reconnect()


def laptop_files(home: Path) -> dict[str, bytes]:
    """Read what labfab keeps on the laptop, without the locks and sockets."""
    return {
        str(path): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and "python" not in str(path)
    }


def test_the_checksums_would_have_shown_a_change(lab):
    """The proof above stands on them, so they have to see what matters."""
    seen = set(lab.host.checksums())
    wanted = {
        "etc/ssh/sshd_config.d/00-labfab.conf",
        "etc/passwd",
        "home/lab/.ssh/authorized_keys",
        "etc/ufw/user.rules",
    }
    assert wanted | {"home/lab/.jupyter/jupyter_server_config.json", "root/.bashrc"} <= seen


@pytest.mark.parametrize("user", ["root", "lab", "side", "nobody-at-all"])
def test_every_user_is_offered_keys_only(lab, user):
    assert probes.offered(lab.host.address, user, lab.host.next_port) == ["publickey"]


def test_the_key_opens_the_sudo_user_and_not_root(lab):
    assert probes.takes_key(lab.host.address, "lab", lab.host.next_port, lab.fab.home)
    assert not probes.takes_key(lab.host.address, "root", lab.host.next_port, lab.fab.home)


def test_no_password_opens_anything(lab):
    for user, password in (
        ("side", SIDE),
        ("lab", lab.stored("sudo-password")),
        ("root", lab.env.get("LABFAB_LOGIN_PASSWORD", "x")),
    ):
        assert not probes.takes_password(lab.host.address, user, lab.host.next_port, password)


def test_only_the_new_port_answers(lab):
    if lab.host.port != 22:
        pytest.skip("this engine shows the published ports only")
    serve = "nohup python3 -m http.server --bind 0.0.0.0 8765 >/dev/null 2>&1 & sleep 1; ss -Hltn 'sport = :8765'"
    assert "0.0.0.0:8765" in lab.host.run(serve)  # so that a closed port is the firewall's doing
    ports = [
        *range(1, 1030),
        292,
        8765,
        *range(8880, 8900),
        *range(9000, 10000, 9),
        *random.sample(range(10000, 65536), 100),
    ]
    assert probes.answering(lab.host.address, ports) == [292]


def test_lab_listens_on_loopback_only(lab):
    listening = [line.split()[3] for line in lab.host.run("ss -Hltn 'sport = :9999'").splitlines()]
    assert listening and set(listening) <= {"127.0.0.1:9999", "[::1]:9999"}


def computes(lab: Lab) -> bool:
    """Let a kernel behind the tunnel multiply two random numbers."""
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    with closing(kernel.login(lab.url, lab.password)) as client:
        return (
            kernel.execute(client, f"import getpass; print({a} * {b}, getpass.getuser())")
            == f"{a * b} lab"
        )


def test_a_kernel_computes_through_the_tunnel(lab):
    assert computes(lab)


def test_notebooks_lie_where_the_setting_says(lab):
    folder = lab.env.get("LABFAB_ROOT_DIR", "notebooks")
    with closing(kernel.login(lab.url, lab.password)) as client:
        header = {"X-XSRFToken": client.cookies.get("_xsrf", "")}
        answer = client.put(
            "api/contents/größe.txt",
            headers=header,
            json={"type": "file", "format": "text", "content": "1 m"},
        )
        assert answer.status_code == 201
    assert lab.host.run(f"cat {shlex.quote(f'/home/lab/{folder}/größe.txt')}") == "1 m"


def test_without_the_right_password_there_is_no_way_in(lab):
    url = lab.url
    with pytest.raises(SetupError, match="refuses the password"):
        kernel.login(url, lab.password + "x")
    for path, status in (("api/contents", 403), ("api/kernels", 403), ("lab", 302)):
        assert httpx.get(f"{url}/{path}", trust_env=False).status_code == status


def test_the_host_has_a_name_for_ssh_and_for_fab(lab):
    assert "answers on port 9999" in lab.later("lab.status").ok().out
    ssh = [
        "ssh",
        "-F",
        str(lab.fab.home / ".ssh/config"),
        "-o",
        f"UserKnownHostsFile={lab.fab.home / '.ssh/known_hosts'}",
    ]
    done = subprocess.run(
        [*ssh, "-o", "BatchMode=yes", "homelab", "whoami"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "lab\n", done.stderr


def test_sudo_asks_for_the_password_that_was_given(lab):
    given = lab.stored("sudo-password")
    assert given == lab.env.get("LABFAB_SUDO_PASSWORD", given)
    assert lab.host.run("runuser -u lab -- sudo -n true 2>&1 || echo asks").endswith("asks")
    assert lab.host.run("runuser -u lab -- sudo -S -p '' whoami", input=f"{given}\n") == "root"


def test_no_secret_was_in_an_argument_list(lab):
    told = "\n".join(lab.seen)
    assert (
        "setup.full" in told and "apt-get" in told and "jupyter-lab" in told
    )  # the watchers were awake on both sides
    for secret in lab.secrets:
        assert secret not in told
        assert secret.replace("'", "'\"'\"'") not in told


def test_no_secret_was_said(lab):
    for run in lab.runs.values():
        for secret in lab.secrets:
            assert secret not in run.text


def test_no_secret_lies_about_on_the_host(lab):
    """Only Jupyter's own private files hold its token."""
    folders = "/etc /home /root /var/lib /var/log /var/cache /run /tmp /var/tmp /dev/shm"
    search = f"cat >/run/wanted; grep -rlFf /run/wanted {folders} --exclude-dir=jupyter-venv --exclude=wanted 2>/dev/null"
    journal = "journalctl -q --no-pager | grep -Ff /run/wanted; rm /run/wanted"
    found = lab.host.run(f"{search}; {journal}", input="\n".join(lab.secrets)).splitlines()
    private = (".jupyter/jupyter_server_config.json", ".local/share/jupyter/runtime/jpserver")
    assert [line for line in found if not any(name in line for name in private)] == []
    assert any(private[0] in line for line in found)  # the search finds what is there
    assert lab.host.run(
        "stat -c %a:%U /home/lab/.jupyter /home/lab/.jupyter/jupyter_server_config.json"
    ).split() == ["700:lab", "600:lab"]


def test_the_tunnel_inherits_no_secret(lab):
    pid = re.search(r"pid (\d+)", lab.later("tunnel.status").ok().out).group(1)
    environ = Path(f"/proc/{pid}/environ")
    if not environ.exists():
        pytest.skip("this laptop does not show it")
    given = environ.read_text()
    assert f"HOME={lab.fab.home}" in given and "_PASSWORD" not in given


def test_the_plan_tells_what_the_first_run_does_and_changes_nothing(lab):
    dry = lab.runs["dry"].ok()
    assert lab.planned == lab.bare
    for why in ("add the account lab", "refuse passwords", "install .*ufw", "start JupyterLab"):
        assert re.search(f"would {why}", dry.out)
        assert re.search(f"] {why}", lab.runs["first"].out)  # there was everything left to do


def test_it_works_again_after_a_reboot(lab):
    lab.host.reboot(port=lab.host.next_port)
    assert "does not run" in lab.later("lab.status").ok().out
    lab.later("lab.start").ok()
    lab.later("tunnel.open").ok()
    assert computes(lab)
    assert probes.offered(lab.host.address, "root", lab.host.next_port) == ["publickey"]
    if lab.host.port == 22:
        assert probes.answering(lab.host.address, (22, 292, 9999)) == [292]
