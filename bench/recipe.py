"""Recipe: what a host has at the end, whichever tool made it; the same steps in bench/ansible and bench/pyinfra.

labfab's own setup.full is the measure: the other tools get the files that it wrote, and each of the three must find
nothing to do on a host that another one has set up.
"""

from __future__ import annotations

ACCOUNT, PORT = "lab", 292
HOME = f"/home/{ACCOUNT}"
PACKAGES = ["sudo", "ca-certificates", "curl", "tmux", "ufw"]
THEIRS = [
    *PACKAGES,
    "python3-venv",
]  # the others' modules for an environment want it; labfab takes the wheel of pip alone
REQUIREMENTS = ["jupyterlab>=4.6.4", "jupyter_server>=2.21"]
URL = "http://127.0.0.1:9999/api"
FILES = {
    "00-labfab.conf": "/etc/ssh/sshd_config.d/00-labfab.conf",
    "jupyter_server_config.json": f"{HOME}/.jupyter/jupyter_server_config.json",
}
# HOME, because pyinfra keeps that of the account that logs in.
START = (
    f"export HOME={HOME}; tmux has-session -t =jupyter 2>/dev/null || {{ "
    "tmux new-session -d -s jupyter '~/jupyter-venv/bin/jupyter-lab --no-browser 2>&1 | tee -a ~/.jupyter/lab.log' && echo started; }"
)
STEPS = (
    "package lists are fresh",
    "system is upgraded",
    "packages are installed",
    "dpkg was not interrupted",
    "no reboot is pending",
    "account is there",
    "account is in the group sudo",
    "sudo asks for no password",
    "~/.ssh is private",
    "key may log in",
    "sshd reads its drop-ins",
    "sshd refuses passwords and root and has its port",
    "sshd is asked",
    "sshd says that it refuses passwords and root",
    "sshd says that it has its port",
    "port of sshd is open",
    "other incoming traffic is refused",
    "firewall is on",
    "environment is there",
    "uv is in it",
    "JupyterLab is in it",
    "login shells find it",
    "notebooks have a folder",
    "~/.jupyter is private",
    "Jupyter is configured",
    "programs outlive the login",
    "JupyterLab runs in tmux",
    "JupyterLab answers",
)
# What is compared between hosts that different tools have set up: asked past SSH, as root.
STATE = f"""\
/usr/sbin/sshd -T -C user=root,host=h,addr=192.0.2.1 | grep -E '^(port|(password|kbdinteractive)authentication|permitrootlogin) '
LC_ALL=C ufw status verbose | grep -E '^(Status|Default|[0-9]+/tcp  )'
id -nG {ACCOUNT}; getent passwd {ACCOUNT} | cut -d: -f6-; cat /etc/sudoers.d/90-labfab; stat -c '%a %n' /etc/sudoers.d/90-labfab
stat -c '%a %U %n' {HOME}/.ssh {HOME}/.ssh/authorized_keys {HOME}/.jupyter {HOME}/.jupyter/*.json {HOME}/notebooks
dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {" ".join(PACKAGES)}
ls /var/lib/systemd/linger; runuser -u {ACCOUNT} -- tmux has-session -t =jupyter && echo session
{HOME}/jupyter-venv/bin/uv pip freeze -q --python {HOME}/jupyter-venv/bin/python | grep -E '^jupyter'
runuser -l {ACCOUNT} -c 'command -v jupyter-lab'; curl -s -o /dev/null -w '%{{http_code}}\\n' {URL}
"""
