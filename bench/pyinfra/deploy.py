"""The recipe of bench/recipe.py as people write it for pyinfra."""

from pyinfra import host
from pyinfra.api import DeployError
from pyinfra.facts.files import File
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, pip, server

data = host.data
ACCOUNT, HOME, PORT = data.account, data.home, data.ssh_port_wanted
ENVIRONMENT = f"{HOME}/jupyter-venv"
OWN = {"user": ACCOUNT, "group": ACCOUNT}


def check(name: str, command: str, *expected: str) -> None:
    """Ask the host, and stop where the answer is wrong."""
    lines = (host.get_fact(Command, command=f"{command} || true") or "").splitlines()
    if (missing := set(expected) - set(lines)) or (lines and not expected):
        raise DeployError(f"{name}: {missing or lines}")


apt.update(name="package lists are fresh", cache_time=86400)
apt.upgrade(name="system is upgraded", auto_remove=True)
apt.packages(name="packages are installed", packages=data.packages, no_recommends=True)
check("dpkg was not interrupted", "dpkg --audit")
check("no reboot is pending", "ls /run/reboot-required 2>/dev/null")
server.user(name="account is there", user=ACCOUNT, home=HOME, shell="/bin/bash", create_home=True)
server.user(name="account is in the group sudo", user=ACCOUNT, groups=["sudo"], append=True)
files.put(
    name="sudo asks for no password",
    src=f"{data.assets}/90-labfab",
    dest="/etc/sudoers.d/90-labfab",
    mode="440",
    user="root",
    group="root",
)

files.directory(name="~/.ssh is private", path=f"{HOME}/.ssh", mode="700", **OWN)
server.user_authorized_keys(name="key may log in", user=ACCOUNT, public_keys=[data.public_key])
included = files.line(
    name="sshd reads its drop-ins",
    path="/etc/ssh/sshd_config",
    line=r"Include /etc/ssh/sshd_config.d/\*.conf",
)
hardened = files.put(
    name="sshd refuses passwords and root and has its port",
    src=f"{data.assets}/00-labfab.conf",
    dest="/etc/ssh/sshd_config.d/00-labfab.conf",
    mode="644",
    user="root",
    group="root",
)
server.shell(
    name="restart sshd",
    commands="/usr/sbin/sshd -t && systemctl restart ssh",
    _if=lambda: included.did_change() or hardened.did_change(),
)
SSHD = "/usr/sbin/sshd -T -C user=root,host=h,addr=192.0.2.1"
if (
    data.again
):  # pyinfra asks before it changes anything, so on a bare host there is nothing to check yet
    check("sshd is asked", SSHD, "usepam yes")
    check(
        "sshd says that it refuses passwords and root",
        SSHD,
        "passwordauthentication no",
        "permitrootlogin no",
    )
    check("sshd says that it has its port", SSHD, f"port {PORT}")

UFW = "LC_ALL=C ufw status verbose 2>/dev/null"
status = host.get_fact(Command, command=f"{UFW} || true") or ""
server.shell(
    name="port of sshd is open",
    commands=f"ufw allow {PORT}/tcp",
    _if=lambda: f"\n{PORT}/tcp " not in status,
)
server.shell(
    name="other incoming traffic is refused",
    commands="ufw default deny incoming",
    _if=lambda: "deny (incoming)" not in status,
)
server.shell(
    name="firewall is on", commands="ufw --force enable", _if=lambda: "Status: active" not in status
)

UV = f"cd {ENVIRONMENT} && bin/uv pip"
wanted = " ".join(f"'{one}'" for one in data.requirements)
pip.venv(name="environment is there", path=ENVIRONMENT, python="python3", _sudo_user=ACCOUNT)
server.shell(
    name="uv is in it",
    commands=f"cd {ENVIRONMENT} && bin/python -m pip install -q --disable-pip-version-check uv",
    _sudo_user=ACCOUNT,
    _if=lambda: not host.get_fact(File, path=f"{ENVIRONMENT}/bin/uv"),
)
missing = host.get_fact(
    Command,
    command=f"({UV} install --dry-run --offline --python bin/python {wanted} 2>&1 || true) | grep -q 'no changes' || echo missing",
    _sudo_user=ACCOUNT if data.again else None,
)
server.shell(
    name="JupyterLab is in it",
    commands=f"{UV} install -q --python bin/python {wanted}",
    _sudo_user=ACCOUNT,
    _if=lambda: missing,
)

files.line(
    name="login shells find it",
    path=f"{HOME}/.profile",
    line='PATH="$HOME/jupyter-venv/bin:$PATH"',
    escape_regex_characters=True,
)
files.directory(name="notebooks have a folder", path=f"{HOME}/notebooks", mode="700", **OWN)
files.directory(name="~/.jupyter is private", path=f"{HOME}/.jupyter", mode="700", **OWN)
files.put(
    name="Jupyter is configured",
    src=f"{data.assets}/jupyter_server_config.json",
    dest=f"{HOME}/.jupyter/jupyter_server_config.json",
    mode="600",
    **OWN,
)
server.shell(
    name="programs outlive the login",
    commands=f"loginctl enable-linger {ACCOUNT}",
    _if=lambda: not host.get_fact(File, path=f"/var/lib/systemd/linger/{ACCOUNT}"),
)
session = host.get_fact(
    Command,
    command=f"runuser -u {ACCOUNT} -- tmux has-session -t =jupyter 2>/dev/null && echo yes || true",
)
server.shell(
    name="JupyterLab runs in tmux",
    commands=f'runuser -l {ACCOUNT} -c "{data.start}"',
    _if=lambda: not session,
)
if data.again:
    check("JupyterLab answers", f"curl -s -o /dev/null -w '%{{http_code}}' {data.url}", "200")
else:
    server.shell(
        name="JupyterLab answers",
        commands=f"for i in $(seq 240); do curl -sf {data.url} && exit; sleep 0.25; done; exit 1",
    )
