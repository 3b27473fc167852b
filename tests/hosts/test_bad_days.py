"""Bad days: whatever goes wrong, one line says what, on which host and what to type next, and the host is as it was."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.rig import Host, installer, network
from tests.rig.fab import BIN, Fab, Run, fab_with_home
from tests.rig.places import REPO
from tests.rig.terminal import heed_ctrl_c, terminal

pytestmark = pytest.mark.host

PASSWORD = "root pässword"
SUDO = "sudo pässword"
WRONG = "quite-wrong"
VENV = {"LABFAB_PYTHON": "venv"}
GUARD = "/var/lib/labfab/guard"
BACK_SOON = VENV | {"LABFAB_REVERT_AFTER": "15"}
HOLD = """\
import fcntl, sys, time
with open(sys.argv[1], "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def box(module_host, module_fab):
    """A bare machine that root opens by key and by password."""
    return module_host("debian12", key=module_fab.key, password=PASSWORD)


@pytest.fixture(scope="module")
def cloud(module_host, module_fab):
    """A cloud image: root sends to the user debian, whose sudo asks for a password; two more accounts."""
    host = module_host("debian13", key=module_fab.key, user="debian", nopasswd=False, password=SUDO)
    for name in ("plain", "expired"):
        host.let_in(name, module_fab.key, SUDO)
    host.run("gpasswd -d plain sudo; chage -d 0 expired; rm -f /etc/sudoers.d/90-cloud-init-users")
    return host


@pytest.fixture
def unchanged():
    """Hold that a host is the same at the end: files, accounts, and that its old login works."""
    before = {}

    def watch(host: Host, fab: Fab, **login) -> Host:
        before[host] = host.checksums(), fab, login
        return host

    yield watch
    for host, (sums, fab, login) in before.items():
        now = host.checksums()
        assert {path for path in sums | now if sums.get(path) != now.get(path)} == set()
        fab.on(host, "lab.status", **login).ok()


@pytest.fixture
def stranger(fab_log):
    """Another laptop: a home with a key that nobody knows."""
    with fab_with_home(fab_log) as fab:
        yield fab


def refused(run: Run, *says: str) -> Run:
    """Insist on one line of error that has these words."""
    run.fails()
    assert len(run.err.strip().splitlines()) == 1, run.err
    assert [word for word in says if word not in run.err] == [], run.err
    return run


def without_key(fab: Fab) -> Fab:
    for path in (fab.home / ".ssh").glob("id_*"):
        path.unlink()
    return fab


def address(host: Host, user: str = "root") -> str:
    return f"{user}@{host.address}" + (f":{host.port}" if host.port != 22 else "")


# The door: who may not come in, and why.


def test_key_is_refused(unchanged, box, stranger, module_fab):
    unchanged(box, module_fab)
    key = str(stranger.home / ".ssh" / "id_ed25519")
    refused(
        stranger.on(box, "setup.full"),
        box.address,
        "Permission denied (publickey,password)",
        key,
        "fab -i KEY",
    )


def test_no_key_at_all(unchanged, box, stranger, module_fab):
    unchanged(box, module_fab)
    refused(
        without_key(stranger).on(box, "setup.full"),
        box.address,
        "no key in ~/.ssh",
        "--prompt-for-login-password",
    )


def test_garbled_key(unchanged, box, stranger, module_fab):
    unchanged(box, module_fab)
    key = stranger.home / ".ssh" / "id_ed25519"
    key.write_text(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    refused(stranger.on(box, "setup.full"), box.address, str(key), "fab -i KEY")


def test_absent_key(box, module_fab):
    refused(
        module_fab.on(box, "-i", "/absent", "setup.full"),
        box.address,
        "cannot read the key /absent",
        "fab -i",
    )


def test_wrong_login_password(unchanged, box, stranger, module_fab):
    unchanged(box, module_fab)
    env = {"LABFAB_LOGIN_PASSWORD": WRONG}
    refused(
        without_key(stranger).on(box, "setup.full", env=env),
        address(box),
        "wrong password",
        "--prompt-for-login-password",
    )


def test_locked_key_without_a_terminal(unchanged, box, stranger, module_fab):
    unchanged(box, module_fab)
    lock(stranger)
    refused(
        stranger.on(box, "setup.full"),
        address(box),
        "has a passphrase",
        "ssh-add",
        "--prompt-for-passphrase",
    )


def lock(fab: Fab) -> None:
    """Put a passphrase on the home's key."""
    key = str(fab.home / ".ssh" / "id_ed25519")
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "the passphrase", "-f", key],
        check=True,
        capture_output=True,
    )


def test_locked_key_on_a_terminal(box, stranger):
    lock(stranger)
    box.let_in("root", stranger.key, None)
    trust = {"LABFAB_HOST_KEY": box.host_key_fingerprint()}
    with terminal(stranger, "-H", address(box), "lab.status", env=trust) as tty:
        tty.sees("passphrase of your key").types(WRONG).sees("passphrase of your key").types(
            "the passphrase"
        )
        assert tty.ends() == 0, tty.seen
    with terminal(
        stranger, "--prompt-for-passphrase", "-H", address(box), "lab.status", env=trust
    ) as tty:
        tty.sees("passphrase").types("the passphrase")
        assert tty.ends() == 0, tty.seen


def test_password_on_a_terminal(unchanged, box, stranger, module_fab):
    unchanged(box, module_fab)
    words = ("-H", address(box), "lab.status")
    trust = {"LABFAB_HOST_KEY": box.host_key_fingerprint()}
    with terminal(without_key(stranger), *words, env=trust) as tty:
        tty.sees("password of").types(WRONG).sees("password of").types(PASSWORD)
        assert tty.ends() == 0, tty.seen
        assert PASSWORD not in tty.seen and WRONG not in tty.seen
    for key, code in (("\x03", 130), ("\x04", 1)):  # Ctrl-C, Ctrl-D
        with terminal(stranger, *words, env=trust) as tty:
            tty.sees("password of").presses(key)
            assert tty.ends() == code and "Traceback" not in tty.seen, tty.seen


@pytest.mark.parametrize("answer, code", [("no", 1), ("", 1), ("\x04", 1), ("yes", 0)])
def test_unknown_host_key_on_a_terminal(box, module_fab, stranger, answer, code):
    shutil.copytree(module_fab.home / ".ssh", stranger.home / ".ssh", dirs_exist_ok=True)
    known = stranger.home / ".ssh" / "known_hosts"
    known.unlink(missing_ok=True)
    with terminal(stranger, "-H", address(box), "lab.status") as tty:
        tty.sees(box.host_key_fingerprint()).sees("[y/N]")
        tty.presses(answer) if answer == "\x04" else tty.types(answer)
        assert tty.ends() == code, tty.seen
    assert known.exists() == (answer == "yes") and "Traceback" not in tty.seen


def test_unknown_host_key_without_a_terminal(box, stranger):
    run = stranger("-H", address(box), "setup.full")
    refused(run, box.address, f"type LABFAB_HOST_KEY={box.host_key_fingerprint()} in front")
    env = {"LABFAB_HOST_KEY": "SHA256:" + "A" * 43}
    refused(
        stranger("-H", address(box), "setup.full", env=env), box.address, "this is another machine"
    )
    assert not (stranger.home / ".ssh" / "known_hosts").exists()


# What answers is no SSH server, or nothing does.


def test_a_web_server_on_the_port(module_fab):
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        run = module_fab("-H", f"root@127.0.0.1:{server.server_port}", "setup.full")
    finally:
        server.shutdown(), server.server_close()
    refused(
        run,
        "127.0.0.1",
        f"port {server.server_port} is not an SSH server",
        "fab -H root@127.0.0.1:PORT",
    )


def test_nobody_is_there(box, module_fab):
    refused(
        module_fab("-H", f"root@{box.address}:3", "setup.full"),
        "nothing listens on port 3",
        f"root@{box.address}:PORT",
    )
    refused(module_fab("-H", "root@no-such-host.invalid", "setup.full"), "no such host name", "-H")


def test_host_is_down(unchanged, box, module_fab):
    unchanged(box, module_fab)
    box.pause()
    try:
        began = time.monotonic()
        run = module_fab("-H", address(box), "setup.full", env={"LABFAB_CONNECT_TIMEOUT": "2"})
        refused(run, box.address, "no answer on port 22 within 2 s", "switched on")
        assert time.monotonic() - began < 5
    finally:
        box.resume()


def test_one_of_two_hosts_is_down(box, cloud, module_fab):
    both = {
        "LABFAB_ALIAS": "lab-{host}",
        "LABFAB_CONNECT_TIMEOUT": "2",
        "LABFAB_SUDO_PASSWORD": SUDO,
    }
    for host, user in ((box, "root"), (cloud, "debian")):
        module_fab.on(host, "lab.status", user=user, env=both).ok()
    box.pause()
    try:
        run = module_fab("-H", f"{address(box)},{address(cloud, 'debian')}", "lab.status", env=both)
    finally:
        box.resume()
    run.fails(
        "JupyterLab does not run",
        "1 of 2 hosts done",
        f"failed on {address(box)}",
        f"fab -H {address(box)}",
    )


# sudo, in two dialects.


def sudo_cases(cloud, fab):
    """What must happen with any sudo."""
    given, wrong = {"LABFAB_SUDO_PASSWORD": SUDO}, {"LABFAB_SUDO_PASSWORD": WRONG}
    me = {"user": "debian"}
    refused(
        fab.on(cloud, "setup.full", **me),
        "debian@",
        "sudo asks for a password",
        "LABFAB_SUDO_PASSWORD",
    )
    refused(
        fab.on(cloud, "setup.full", env=wrong, **me),
        "debian@",
        "wrong sudo password",
        "--prompt-for-sudo-password",
    )
    refused(
        fab.on(cloud, "setup.full", env=given, user="plain"),
        "plain@",
        "may not use sudo",
        "log in as root",
    )
    fab.on(cloud, "lab.status", env=given, **me).ok()


def test_sudo(unchanged, cloud, module_fab):
    unchanged(cloud, module_fab, user="debian", env={"LABFAB_SUDO_PASSWORD": SUDO})
    sudo_cases(cloud, module_fab)


def test_sudo_on_a_terminal(cloud, module_fab):
    trust = {"LABFAB_HOST_KEY": cloud.host_key_fingerprint()}
    with terminal(module_fab, "-H", address(cloud, "debian"), "lab.status", env=trust) as tty:
        tty.sees("sudo password of").types(WRONG).sees("sudo password of").types(SUDO)
        assert tty.ends() == 0 and SUDO not in tty.seen, tty.seen


def test_sudo_rs(unchanged, cloud, module_fab):
    cloud.run(
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y sudo-rs >/dev/null 2>&1"
    )
    cloud.run("ln -s /usr/bin/sudo-rs /usr/local/bin/sudo")
    unchanged(cloud, module_fab, user="debian", env={"LABFAB_SUDO_PASSWORD": SUDO})
    try:
        assert "sudo-rs" in cloud.run("readlink -f $(command -v sudo) && sudo --version 2>&1")
        sudo_cases(cloud, module_fab)
    finally:
        cloud.run("rm /usr/local/bin/sudo")


def test_no_sudo_and_not_root(cloud, module_fab):
    cloud.run("mv /usr/bin/sudo /usr/bin/sudo.away")
    try:
        refused(
            module_fab.on(cloud, "setup.full", user="debian"),
            "debian@",
            "sudo is not installed: log in as root",
        )
    finally:
        cloud.run("mv /usr/bin/sudo.away /usr/bin/sudo")


def test_expired_password(unchanged, cloud, module_fab, stranger):
    unchanged(cloud, module_fab, user="debian", env={"LABFAB_SUDO_PASSWORD": SUDO})
    refused(
        module_fab.on(cloud, "setup.full", user="expired"),
        "expired@",
        "the password has expired",
        "log in once with ssh",
    )
    run = without_key(stranger).on(
        cloud, "setup.full", user="expired", env={"LABFAB_LOGIN_PASSWORD": SUDO}
    )
    refused(run, "expired@", "the password has expired")


def test_cloud_root_names_its_user(unchanged, cloud, module_fab):
    unchanged(cloud, module_fab, user="debian", env={"LABFAB_SUDO_PASSWORD": SUDO})
    began = time.monotonic()
    refused(module_fab.on(cloud, "setup.full"), cloud.address, "log in as debian: fab -H debian@")
    assert time.monotonic() - began < 8  # the image makes one wait for ten seconds


# Input that only shows on the host.


def test_unsupported_system(unchanged, box, module_fab):
    unchanged(box, module_fab)
    box.run("cp -a /usr/lib/os-release /root/kept")
    box.run(
        "printf 'ID=fedora\\nVERSION_ID=42\\nPRETTY_NAME=\"Fedora Linux 42\"\\n' >/usr/lib/os-release"
    )
    try:
        for task in ("setup.full", "system.update", "python.install", "firewall.enable"):
            refused(module_fab.on(box, task), box.address, "Fedora Linux 42", "Debian 12")
    finally:
        box.run("mv /root/kept /usr/lib/os-release")


@pytest.mark.parametrize(
    "given, says",
    [
        ("/absent/key.pub", "there is no public key file /absent/key.pub"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAgarbled me@home", "damaged or cut off"),
        ("HOME/.ssh/id_ed25519", "private half"),
    ],
)
@pytest.mark.parametrize("task", ["setup.full", "keys.copy"])
def test_public_key_that_is_none(unchanged, box, module_fab, task, given, says):
    unchanged(box, module_fab)
    env = {"LABFAB_PUBLIC_KEYS": f'["{given.replace("HOME", str(module_fab.home))}"]'}
    refused(module_fab.on(box, task, env=env), says)


@pytest.mark.parametrize("port", ["0", "70000", "ssh"])
def test_port_that_is_none(unchanged, box, module_fab, port):
    unchanged(box, module_fab)
    refused(module_fab.on(box, "ssh.change-port", "--port", port), "ssh_port cannot be", port)


@pytest.mark.parametrize("task", ["setup.full", "ssh.change-port"])
def test_port_is_taken(unchanged, box, module_fab, task):
    unchanged(box, module_fab)
    box.run("systemd-run -q --unit=thief python3 -m http.server 2345")
    box.run("for i in $(seq 50); do ss -Hltn | grep -q :2345 && break; sleep 0.1; done")
    try:
        env = {"LABFAB_SSH_PORT": "2345"}
        refused(
            module_fab.on(box, task, env=env),
            box.address,
            "port 2345 is taken by python3",
            "choose another ssh_port",
        )
    finally:
        box.run("systemctl stop thief")


@pytest.mark.parametrize("task", ["setup.full", "ssh.change-port"])
def test_another_port_line(unchanged, box, module_fab, task):
    unchanged(box, module_fab)
    box.run("echo 'Port 22' >/etc/ssh/sshd_config.d/50-mine.conf")
    try:
        refused(
            module_fab.on(box, task), box.address, "50-mine.conf", "Port 22", "delete that line"
        )
    finally:
        box.run("rm /etc/ssh/sshd_config.d/50-mine.conf")


# From here on the machine gets its account, and things break under the work.


@pytest.fixture(scope="module")
def ready(box, module_fab):
    """The machine with its account and your key, known as homelab."""
    module_fab.on(box, "keys.copy").ok()
    return box


@contextlib.contextmanager
def mounted(host: Host, folder: str, kilobytes: int):
    """Put a small disk with the same content over a folder."""
    host.run(
        f"mkdir -p {folder}; cp -a {folder} /var/tmp/kept; mount -t tmpfs -o size={kilobytes}k tmpfs {folder}"
    )
    host.run(f"cp -a /var/tmp/kept/. {folder}/; rm -rf /var/tmp/kept")
    try:
        yield
    finally:
        host.run(f"umount -l {folder}")


def test_a_match_block_gives_passwords_back(unchanged, ready, module_fab):
    unchanged(ready, module_fab)
    ready.run(
        "printf 'Match User root\\n  PasswordAuthentication yes\\n' >/etc/ssh/sshd_config.d/99-match.conf; systemctl restart ssh"
    )
    try:
        run = module_fab("-H", "homelab", "ssh.disable-passwords")
        refused(
            run,
            "homelab",
            "99-match.conf:2 says 'PasswordAuthentication yes' in the block `Match User root`",
            "delete that line",
        )
        without = without_password(ready, "lab")
        assert "password" in without, "sshd still runs with the file that was taken back"
    finally:
        ready.run("rm /etc/ssh/sshd_config.d/99-match.conf; systemctl restart ssh")


def without_password(host: Host, user: str) -> list[str]:
    from tests.rig.probes import offered

    return offered(host.address, user, host.port)


def test_read_only_etc(unchanged, ready, module_fab):
    unchanged(ready, module_fab)
    ready.run("mount --bind /etc /etc && mount -o remount,ro,bind /etc")
    try:
        refused(module_fab("-H", "homelab", "ssh.disable-passwords"), "homelab", "ead-only")
    finally:
        # Whatever is just reading a file there, the end of a login for example, keeps it busy.
        ready.run(
            "for i in $(seq 100); do umount /etc && exit; sleep 0.1; done 2>/dev/null; exit 1"
        )


def test_no_space_for_the_journal(unchanged, ready, module_fab):
    unchanged(ready, module_fab)
    with mounted(ready, "/var/lib/labfab", 2000):
        ready.run("dd if=/dev/zero of=/var/lib/labfab/full bs=1k count=9999 2>/dev/null || true")
        refused(
            module_fab("-H", "homelab", "ssh.disable-passwords"),
            "homelab",
            "no space left",
            "run this again",
        )


def test_alias_of_another_host(unchanged, cloud, ready, module_fab):
    env = {"LABFAB_SUDO_PASSWORD": SUDO}
    run = module_fab.on(cloud, "setup.full", user="debian", env=env)
    refused(
        run,
        cloud.address,
        "the alias homelab already stands for",
        ready.address,
        "LABFAB_ALIAS=NAME",
    )
    unchanged(cloud, module_fab, user="debian", env=env | {"LABFAB_ALIAS": "cloud"})


def test_ssh_config_is_read_only(ready, stranger, module_fab):
    for folder in (".ssh", ".config"):
        shutil.copytree(module_fab.home / folder, stranger.home / folder, dirs_exist_ok=True)
    config = stranger.home / ".ssh" / "config"
    config.write_text("Host other\n  User me\n")
    config.chmod(0o400)
    refused(stranger.on(ready, "keys.copy"), str(config), "read-only", "chmod u+w")
    assert config.read_text() == "Host other\n  User me\n"
    config.chmod(0o600)
    stranger.on(ready, "keys.copy").ok()


def held(host: Host, path: str, seconds: float) -> subprocess.Popen:
    """Hold one of apt's locks for a while."""
    words = [host.engine.command, "exec", "-i", host.id, "python3", "-c", HOLD, path, str(seconds)]
    process = subprocess.Popen(
        words, env=host.engine.env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_apt_is_busy(ready, module_fab):
    ready.run("rm -rf /var/cache/labfab; apt-get remove -qq -y tmux >/dev/null 2>&1 || true")
    with (
        held(ready, "/var/lib/apt/lists/lock", 6),
        terminal(module_fab, "-H", "homelab", "system.update") as tty,
    ):
        tty.sees("waiting for another apt")
        assert tty.ends() == 0, tty.seen
    with (
        held(ready, "/var/lib/dpkg/lock-frontend", 4),
        terminal(module_fab, "-H", "homelab", "firewall.enable") as tty,
    ):
        tty.sees(
            "install ufw … 3."
        )  # apt tells of the lock now and then only; that it goes on is told each second
        assert tty.ends() == 0, tty.seen
    assert "Status: active" in ready.run("ufw status")


def test_dpkg_was_interrupted(ready, module_fab):
    ready.run("cd /root && apt-get download -qq cowsay && dpkg --unpack cowsay*.deb")
    assert "unpacked" in ready.run("dpkg -s cowsay | grep ^Status")
    module_fab("-H", "homelab", "system.update").ok()
    assert "install ok installed" in ready.run("dpkg -s cowsay | grep ^Status")


def test_small_disk_under_the_home(ready, module_fab):
    with mounted(ready, "/home", 20_000):
        refused(
            module_fab("-H", "homelab", "python.install", env=VENV),
            "homelab",
            "no space left on the host",
            "df -h",
        )
        ready.run("mount -o remount,size=1g /home")
        module_fab("-H", "homelab", "python.install", env=VENV).ok()
        assert (
            "nothing to change" in module_fab("-H", "homelab", "python.install", env=VENV).ok().out
        )
        ready.run("/home/lab/jupyter-venv/bin/jupyter lab --version")


def test_downloads_go_wrong(unchanged, ready, module_fab):
    unchanged(ready, module_fab)
    gateway = str(next(network.ensure(ready.engine).hosts()))
    with (
        tempfile.TemporaryDirectory() as folder,
        installer.serve(Path(folder), address=gateway) as server,
    ):
        named = installer.double("miniforge", server.url)
        file = Path(folder) / named.filename
        file.write_bytes(os.urandom(100_000))
        env = installer.settings("miniforge", server.url, file)
        wrong = env | {"LABFAB_PYTHON_CHECKSUM": "ab" * 32}
        refused(
            module_fab("-H", "homelab", "python.install", env=wrong),
            "homelab",
            "SHA-256",
            "python_mirror",
        )
        assert named.filename not in ready.run("ls /home/lab/.cache/labfab")
        server.missing = {named.filename}
        refused(
            module_fab("-H", "homelab", "python.install", env=env),
            "homelab",
            "404",
            named.url,
            "python_version",
        )
        server.missing = {"*"}
        refused(
            module_fab("-H", "homelab", "python.install", env=env),
            "homelab",
            named.filename,
            "python_version",
        )


@pytest.mark.parametrize("text", ["{ broken", "[1, 2]", '{"ServerApp": 3}'])
def test_broken_jupyter_configuration(unchanged, ready, module_fab, text):
    path = "/home/lab/.jupyter/jupyter_server_config.json"
    ready.run(
        f"install -d -o lab -g lab -m 700 /home/lab/.jupyter; cat >{path}; chown lab: {path}",
        input=text,
    )
    unchanged(ready, module_fab)
    refused(
        module_fab("-H", "homelab", "jupyter.configure"),
        "homelab",
        "~lab/.jupyter/jupyter_server_config.json",
        "correct it or move it away",
    )


def test_host_key_has_changed(unchanged, ready, module_fab):
    folder = "/etc/ssh"
    ready.run(
        f"mkdir /root/keys; mv {folder}/ssh_host_* /root/keys; ssh-keygen -A >/dev/null; systemctl restart ssh"
    )
    before = ready.checksums()
    try:
        env = {"LABFAB_HOST_KEY": ready.host_key_fingerprint(), "LABFAB_LOGIN_PASSWORD": PASSWORD}
        for words in (
            ("-H", "homelab", "setup.full"),
            ("-H", address(ready), "user.add"),
            ("-H", "homelab", "tunnel.open"),
        ):
            run = module_fab(*words, env=env)
            run.fails("HOST KEY HAS CHANGED", "ssh-keygen -R")
            assert len(run.err.strip().splitlines()) == 1
        assert ready.checksums() == before
    finally:
        ready.run(
            f"rm {folder}/ssh_host_*; mv /root/keys/* {folder}/; rmdir /root/keys; systemctl restart ssh"
        )
    module_fab("-H", "homelab", "lab.status").ok()


# The connection is cut, or one of the two machines dies.


def begin(fab: Fab, host: Host, env: dict[str, str], out) -> subprocess.Popen:
    """Start setup.full and leave it alone."""
    trust = {"LABFAB_HOST_KEY": host.host_key_fingerprint()}
    words = [str(BIN / "fab"), "-H", address(host), "setup.full"]
    return subprocess.Popen(
        words,
        cwd=REPO,
        env=fab.environment(trust | env),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )


def cut(host: Host, process: subprocess.Popen, how: str) -> None:
    """Break what goes on."""
    if how == "session":
        host.run("pkill -KILL -f '^sshd(-session)?: (root|lab)' || true")
    elif how == "laptop":
        process.kill()
    elif how == "ctrl-c":
        process.send_signal(signal.SIGINT)


def test_the_network_goes_away(ready, module_fab):
    """A cable that is pulled sends no goodbye; half a minute later the wait is over."""
    engine = ready.engine
    ready.run("rm -rf /var/cache/labfab")
    with (
        held(ready, "/var/lib/apt/lists/lock", 60),
        terminal(module_fab, "-H", "homelab", "system.update") as tty,
    ):
        tty.sees("waiting for another apt")
        engine.run("network", "disconnect", network.NAME, ready.id)
        try:
            assert (
                tty.ends() == 1 and "the connection broke: run the same command again" in tty.seen
            ), tty.seen
        finally:
            engine.run("network", "connect", "--ip", ready.address, network.NAME, ready.id)
    module_fab("-H", "homelab", "system.update").ok()


@pytest.mark.parametrize("seed", [1, 2])
def test_cut_at_any_moment(module_host, stranger, seed):
    """Cut again and again; each run goes on where the one before stopped, and the last one finds nothing to do."""
    rng = random.Random(seed)
    host = module_host("debian12" if seed % 2 else "ubuntu-like", f"cut{seed}", key=stranger.key)
    for how in rng.sample(["session", "laptop", "ctrl-c"] * 2, 6):
        with tempfile.TemporaryFile("w+") as out:
            process = begin(stranger, host, BACK_SOON, out)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.5, 6))
            cut(host, process, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(180)
            out.seek(0)
            said = out.read()
        assert process.returncode is not None, (how, said)
        assert "Traceback" not in said, (how, said)
        half = host.run(
            "find / -xdev -name '*.labfab-new' -not -path '/proc/*' 2>/dev/null || true"
        )  # uv may still be at work
        assert half == "" or how != "ctrl-c", half
    # A window that was left open reverts.
    host.run(f"for i in $(seq 85); do [ -e {GUARD} ] || break; sleep 0.2; done")
    stranger.on(host, "setup.full", env=BACK_SOON).ok()
    assert "nothing to change" in stranger.on(host, "setup.full", env=BACK_SOON).ok().out
    assert re.search(
        r"jupyter_server \S+ answers",
        stranger("-H", "homelab", "lab.status", env=BACK_SOON).ok().out,
    )
