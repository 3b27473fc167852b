"""Each stage alone, on a machine that nobody has touched: it does its work, or names the one task that must come first."""

import json
import random
import re
from contextlib import closing

import pytest

from labfab.laptop import kernel
from labfab.local_state import keypair
from tests.rig import probes

pytestmark = pytest.mark.host

VENV = {"LABFAB_PYTHON": "venv"}
# A repository on the host's own disk: an update with a changed conffile, a new dependency, and a package nobody needs.
REPOSITORY = r"""
set -eu
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*; mkdir -p /srv/repo; cd /srv
make() { # name version dependencies
    mkdir -p pkg/DEBIAN pkg/etc
    printf 'Package: %s\nVersion: %s\nDepends: %s\n' "$1" "$2" "$3" >pkg/DEBIAN/control
    printf 'Architecture: all\nMaintainer: x <x@example.com>\nDescription: x\n' >>pkg/DEBIAN/control
    echo "from $2" >pkg/etc/$1.conf; echo /etc/$1.conf >pkg/DEBIAN/conffiles
    dpkg-deb --build pkg repo/$1_$2.deb >/dev/null; rm -r pkg
}
make demo-leaf 1 ''; make demo-tool 1 demo-leaf; dpkg -i repo/*.deb >/dev/null 2>&1; apt-mark -qq auto demo-leaf
echo mine >/etc/demo-tool.conf; rm repo/*.deb
make demo-new 2 ''; make demo-tool 2 demo-new
for deb in repo/*.deb; do
    dpkg-deb --field $deb; echo "Filename: ./${deb#repo/}"; stat -c 'Size: %s' $deb; echo "SHA256: $(sha256sum <$deb | cut -d' ' -f1)"; echo
done >repo/Packages
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
"""


def installed(host) -> dict[str, str]:
    """List the demo packages that are on the host."""
    rows = host.run(
        "dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\\n' 'demo-*'"
    ).splitlines()
    return {
        name: version for status, name, version in map(str.split, rows) if status == "installed"
    }


def test_update_upgrades_and_removes_only_what_it_may(host, fab):
    box, may = host("debian12"), {"LABFAB_AUTOREMOVE": "true"}
    box.run(REPOSITORY)
    assert installed(box) == {"demo-tool": "1", "demo-leaf": "1"}
    named = "upgrade the system (2 packages; upgraded: demo-tool; new: demo-new)"
    assert named in fab.on(box, "system.update").ok().out
    assert installed(box) == {"demo-tool": "2", "demo-new": "2", "demo-leaf": "1"}
    assert box.run("cat /etc/demo-tool.conf") == "mine"
    assert "nothing to change" in fab.on(box, "system.update").ok().out
    removed = "upgrade the system (1 package; removed: demo-leaf)"
    assert removed in fab.on(box, "setup.plan", env=may).out
    assert removed in fab.on(box, "system.update", env=may).ok().out
    assert installed(box) == {"demo-tool": "2", "demo-new": "2"}
    assert box.run("cat /etc/demo-leaf.conf") == "from 1"  # removed, not purged
    box.run("rm -r /srv/repo")  # a mirror that is gone is not missed
    assert "nothing to change" in fab.on(box, "system.update").ok().out
    box.run("touch /run/reboot-required")
    before = box.boot_id()
    assert "a reboot is pending" in fab.on(box, "system.update").ok().out
    assert box.boot_id() == before
    fab.on(box, "system.update", env={"LABFAB_REBOOT": "true"}).ok()
    assert box.boot_id() != before


def test_a_repository_that_cannot_be_fetched_is_named(host, fab):
    """Lists that apt could not fetch do not count as fetched; a foreign one does not stop the rest."""
    box = host("debian12", "lists")
    box.run("rm -rf /var/lib/apt/lists/*; cp /etc/apt/sources.list /root/")
    box.run("sed -i 's,http://[^/]*/,http://no.such.invalid/,' /etc/apt/sources.list")
    failed = fab.on(box, "system.update")
    failed.fails("could not fetch the package lists: /etc/apt/sources.list: http://no.such.invalid")
    assert "resol" in failed.err
    box.run("cp /root/sources.list /etc/apt/")
    assert "fetch the package lists" in fab.on(box, "system.update").ok().out  # not for 24 h
    dead = "http://127.0.0.1:9/x"
    box.run(f"echo 'deb {dead} stable main' >/etc/apt/sources.list.d/old.list")
    run = fab.on(box, "system.update", env={"LABFAB_UPDATE_MAX_AGE": "0"}).ok()
    assert f"apt cannot fetch /etc/apt/sources.list.d/old.list: {dead}: " in run.out + run.err


def test_reboot_comes_back_only_after_the_new_boot(host, fab):
    box = host("ubuntu-like")
    before = box.boot_id()
    said = fab.on(box, "system.reboot", "user.add").ok().out  # the run goes on in the new boot
    assert "add the account lab" in said
    assert box.boot_id() != before and "reboot" in said
    assert probes.takes_key(box.address, "root", box.port, fab.home)  # no waiting: it has answered
    fab.on(box, "system.release-upgrade").fails("backup")


def test_user_add_makes_accounts_and_keeps_those_that_are_there(host, fab):
    box = host("debian13")
    fab.on(box, "user.add", env={"LABFAB_SUDO_PASSWORD": 'it\'s a "pass" wörd $x'}).ok()
    assert box.run("id -nG lab").split() == ["lab", "sudo"]
    assert box.run("runuser -u lab -- sudo -n id 2>&1 || echo asks").endswith("asks")
    assert (
        box.run("runuser -u lab -- sudo -S -p '' whoami", input='it\'s a "pass" wörd $x\n')
        == "root"
    )
    assert "nothing to change" in fab.on(box, "user.add").ok().out

    box.run(
        "useradd -m -s /bin/dash -G video -c 'Ada L' -d /home/ada ada && echo ada:hers-alone | chpasswd"
    )
    entry, shadow = box.run("getent passwd ada"), box.run("getent shadow ada")
    ada = {"LABFAB_USER": "ada", "LABFAB_SUDO_PASSWORD": "another-one"}
    fab.on(box, "user.add", env=ada).fails("the account ada exists already", "take_over: [ada]")
    fab.on(box, "user.add", env=ada | {"LABFAB_TAKE_OVER": "ada"}).ok()
    assert (box.run("getent passwd ada"), box.run("getent shadow ada")) == (entry, shadow)
    assert set(box.run("id -nG ada").split()) == {"ada", "video", "sudo"}

    fab.on(
        box,
        "user.add",
        env={"LABFAB_USER": "bob", "LABFAB_SUDO": "nopasswd", "LABFAB_LAB_USER": "nb"},
    ).ok()
    assert box.run("runuser -u bob -- sudo -n whoami") == "root"
    assert box.run("visudo -c >/dev/null && stat -c %a:%U /etc/sudoers.d/90-labfab") == "440:root"
    assert box.run("id -nG nb") == "nb"
    assert box.run("runuser -u nb -- sudo -n whoami 2>&1 || echo refused").endswith("refused")
    before = box.checksums()
    fab.on(box, "user.add", env={"LABFAB_LAB_USER": "ada"}).fails("ada", "may use sudo")
    assert box.checksums() == before


def test_a_login_may_have_any_shell_and_the_host_rules_for_passwords(host, fab):
    """Neither tcsh nor fish is like sh, and both may say things as they start; PAM may be strict."""
    box = host("debian12", "shells")
    box.run(
        "apt-get -q update && apt-get -q -y install --no-install-recommends tcsh fish libpam-pwquality cracklib-runtime",
        timeout=300,
    )
    box.run(r"printf 'minlen = 14\nminclass = 4\nenforce_for_root\n' >/etc/security/pwquality.conf")
    box.run("echo 'echo hello' >>/root/.cshrc; mkdir -p /root/.config/fish")
    box.run("echo 'echo hello' >/root/.config/fish/config.fish; chsh -s /usr/bin/tcsh root")
    weak = {"LABFAB_SUDO_PASSWORD": "weak-and-short"}
    fab.on(box, "user.add", env=weak).fails("character classes", "LABFAB_SUDO_PASSWORD")
    assert not (fab.home / ".config/labfab/homelab/sudo-password").exists()
    box.run("chsh -s /usr/bin/fish root")
    fab.on(box, "user.add").ok()
    assert "nothing to change" in fab.on(box, "user.add").ok().out


def test_keys_copy_merges_what_may_log_in(host, fab, tmp_path):
    box = host("debian12")
    lines = [
        keypair.public_line(keypair.generate(tmp_path / name, comment=name))
        for name in ("root", "mine", "file", "text")
    ]
    forced = "no-port-forwarding,command=\"echo 'Please login as the user';sleep 10\" " + lines[
        0
    ].replace("AAAA", "AAAAB", 1)
    box.run("cat >>/root/.ssh/authorized_keys", input=f'{forced}\nfrom="*" {lines[0]}\n')
    box.run("useradd -m -s /bin/bash lab && cd /home/lab && mkdir .ssh && chmod 777 . .ssh")
    box.run("cat >/home/lab/.ssh/authorized_keys", input=f"# mine\n{lines[1]}")
    given = {"LABFAB_PUBLIC_KEYS": f"{tmp_path}/file.pub,{lines[3]}", "LABFAB_TAKE_OVER": "lab"}
    fab.on(box, "keys.copy", env=given).ok()
    text = box.run("cat /home/lab/.ssh/authorized_keys")
    assert text.startswith(f"# mine\n{lines[1]}\n")  # the old last line had no end
    for line in (fab.key, f'from="*" {lines[0]}', lines[2], lines[3]):
        assert text.splitlines().count(line) == 1
    assert "command=" not in text
    assert box.run("stat -c %a:%U /home/lab/.ssh /home/lab/.ssh/authorized_keys").split() == [
        "700:lab",
        "600:lab",
    ]
    assert int(box.run("stat -c %a /home/lab"), 8) & 0o022 == 0
    assert probes.takes_key(box.address, "lab", box.port, fab.home)
    assert (
        "nothing to change"
        in fab.on(box, "keys.copy", env={"LABFAB_PUBLIC_KEYS": f"{tmp_path}/file.pub"}).ok().out
    )
    assert (
        "host-key" not in (fab.home / ".ssh/config").read_text()
        and "Host homelab\n" in (fab.home / ".ssh/config").read_text()
    )


@pytest.mark.parametrize("flavour", ["debian13", "ubuntu-like"])
def test_disable_passwords_refuses_them_for_everybody(host, fab, flavour):
    box = host(flavour, key=fab.key, password="r00t-password")
    box.run("useradd -m side && echo side:side-password | chpasswd")
    assert "password" in probes.offered(box.address, "side", box.port)
    # A deadline that came just as its window was closed: the unit is still loaded, as failed.
    box.run(
        "systemd-run -q --unit=labfab-deadline false; sleep 0.5; systemctl is-failed labfab-deadline"
    )
    fab.on(box, "ssh.disable-passwords", env={"LABFAB_ACCEPT": "passwords"}).ok()
    for user in ("root", "lab", "side", "nobody-at-all"):
        assert probes.offered(box.address, user, box.port) == ["publickey"]
    assert not probes.takes_password(box.address, "root", box.port, "r00t-password")
    assert probes.takes_key(box.address, "root", box.port, fab.home)  # not this stage's business
    assert "nothing to change" in fab.on(box, "ssh.disable-passwords").ok().out


def test_disable_root_leaves_another_way_in(host, fab):
    box = host("debian12")
    fab.on(box, "ssh.disable-root").ok()
    assert not probes.takes_key(box.address, "root", box.port, fab.home)
    assert probes.takes_key(box.address, "lab", box.port, fab.home)
    assert "nothing to change" in fab.on(box, "ssh.disable-root").ok().out


@pytest.mark.parametrize(
    "flavour, words, port", [("ubuntu-like", (), 292), ("debian12", ("--port", "2300"), 2300)]
)
def test_change_port_moves_sshd_for_good(host, fab, flavour, words, port):
    box = host(flavour)
    if box.port != 22:
        pytest.skip("this engine shows the published ports only")
    box.cut_off()
    tries = box.attempts_outside()
    fab.on(box, "ssh.change-port", *words).ok()
    assert probes.answering(box.address, (22, port)) == [port]
    assert box.attempts_outside() == tries
    assert "nothing to change" in fab.on(box, "ssh.change-port", *words).ok().out
    box.reboot(port=port)
    assert probes.answering(box.address, (22, port)) == [port]
    assert probes.takes_key(box.address, "root", port, fab.home)


UDP = 'import socket, time; s = socket.socket(2, 2); s.bind(("0.0.0.0", 8767)); time.sleep(600)'


def test_firewall_lets_in_ssh_and_what_you_publish(host, fab):
    box = host("debian13")
    if box.port != 22:
        pytest.skip("this engine shows the published ports only")
    box.run(
        "for port in 8765 8766; do nohup python3 -m http.server $port >/dev/null 2>&1 & done; sleep 1"
    )
    box.run(f"nohup python3 -c '{UDP}' >/dev/null 2>&1 & sleep 0.5")
    assert probes.answering(box.address, (22, 8765, 8766)) == [22, 8765, 8766]
    opened = {"LABFAB_OPEN_PORTS": "8765"}
    for run in (
        fab.on(box, "setup.plan", env=opened),
        fab.on(box, "firewall.enable", env=opened).ok(),
    ):
        named = re.findall(r"this will end: (\S+) answers others on (.*?);", run.out + run.err)
        assert named == [("python3", "port 8766"), ("python3", "UDP port 8767")]
    assert probes.answering(box.address, (22, 8765, 8766)) == [22, 8765]
    assert (
        "nothing to change"
        in fab.on(box, "firewall.enable", env={"LABFAB_OPEN_PORTS": "8765"}).ok().out
    )


def test_init_shell_brings_its_own_python_and_puts_it_first(host, fab):
    box = host("debian12")
    fab.on(box, "python.init-shell", env=VENV).ok()
    found = box.run("runuser -l lab -c 'command -v jupyter python'").split()
    assert found == ["/home/lab/jupyter-venv/bin/jupyter", "/home/lab/jupyter-venv/bin/python"]
    assert "nothing to change" in fab.on(box, "python.init-shell", env=VENV).ok().out
    more = VENV | {"LABFAB_PACKAGES": "humanize"}
    fab.on(box, "python.install", env=more).ok()
    assert (
        box.run(
            "runuser -l lab -c 'python -c \"import humanize; print(humanize.naturalsize(3000))\"'"
        )
        == "3.0 kB"
    )
    assert "nothing to change" in fab.on(box, "python.install", env=more).ok().out


def jupyter_config(box) -> dict:
    return json.loads(box.run("cat /home/lab/.jupyter/jupyter_server_config.json"))


def test_jupyter_is_configured_without_losing_what_was_there(host, fab):
    box = host("debian13")
    fab.on(
        box,
        "jupyter.configure",
        env={"LABFAB_JUPYTER_OPTIONS": '{"ServerApp": {"max_body_size": 1000}}'},
    ).ok()
    first = jupyter_config(box)
    assert first["ServerApp"]["ip"] == "127.0.0.1" and first["ServerApp"]["max_body_size"] == 1000
    assert (
        first["IdentityProvider"]["hashed_password"].startswith("argon2:")
        and len(first["IdentityProvider"]["token"]) >= 40
    )
    assert box.run(
        "stat -c %a:%U /home/lab/.jupyter /home/lab/.jupyter/jupyter_server_config.json"
    ).split() == ["700:lab", "600:lab"]
    first["ServerApp"]["port"] = 1
    own = {**first, "LabApp": {"collaborative": True}}
    box.run("cat >/home/lab/.jupyter/jupyter_server_config.json", input=json.dumps(own))
    fab.on(box, "jupyter.configure").ok()
    own["ServerApp"]["port"] = 9999
    assert jupyter_config(box) == own
    assert "nothing to change" in fab.on(box, "jupyter.configure").ok().out


def test_jupyter_password_alone_sets_and_keeps_it(host, fab):
    box = host("ubuntu-like")
    one, two = (
        {"LABFAB_JUPYTER_PASSWORD": "pä$'\"\\ one"},
        {"LABFAB_JUPYTER_PASSWORD": "my-2nd-pass-word"},
    )
    fab.on(box, "jupyter.password", env=one).ok()
    first = jupyter_config(box)
    assert "nothing to change" in fab.on(box, "jupyter.password", env=one).ok().out
    assert "nothing to change" in fab.on(box, "jupyter.configure", env=one).ok().out
    fab.on(box, "jupyter.password", env=two).ok()
    second = jupyter_config(box)
    assert (
        second["IdentityProvider"]["hashed_password"]
        != first["IdentityProvider"]["hashed_password"]
    )
    assert second["IdentityProvider"]["token"] == first["IdentityProvider"]["token"]
    assert (
        fab.home / ".config/labfab/homelab/jupyter-password"
    ).read_text() == "my-2nd-pass-word\n"
    fab.on(box, "jupyter.password").fails("LABFAB_JUPYTER_PASSWORD")


def kernel_says(url: str, password: str) -> str:
    """Let a kernel multiply and name its account."""
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    with closing(kernel.login(url, password)) as client:
        said = kernel.execute(client, f"import getpass; print({a} * {b}, getpass.getuser())")
    product, user = said.split()
    assert int(product) == a * b
    return user


def test_lab_and_tunnel_name_what_comes_first_and_then_work(host, fab):
    """JupyterLab runs as an account without sudo here."""
    box, env = (
        host("debian12"),
        VENV | {"LABFAB_LAB_USER": "nb", "LABFAB_JUPYTER_PASSWORD": "open sésame"},
    )
    before = box.checksums()
    said = fab.on(box, "lab.start", env=env).fails()
    assert box.checksums() == before
    fab.on(box, probes.task_named(said.text), env=env).ok()
    fab.on(box, "lab.start", env=env).ok()
    assert "nothing to change" in fab.on(box, "lab.start", env=env).ok().out
    assert "runs as nb" in fab.on(box, "lab.status", env=env).ok().out
    assert set(box.run("ps -o user= -C jupyter-lab").split()) == {"nb"}
    assert (
        box.run("id -nG nb") == "nb"
        and box.run("stat -c %a:%U /home/nb/.jupyter/jupyter_server_config.json") == "600:nb"
    )

    fab.on(box, "keys.copy", env=env).ok()
    url = re.search(
        r"http://127\.0\.0\.1:\d+", fab.on(box, "tunnel.open", env=env).ok().out
    ).group()
    assert kernel_says(url, "open sésame") == "nb"
    assert url in fab.on(box, "tunnel.open", env=env).ok().out  # the same one again
    assert "is open" in fab.on(box, "tunnel.status", env=env).ok().out

    fab.on(box, "lab.stop", env=env).ok()
    assert "nothing to change" in fab.on(box, "lab.stop", env=env).ok().out
    assert box.run("pgrep -u nb -c -f jupyter-lab || true") == "0"
    assert "does not run" in fab.on(box, "lab.status", env=env).ok().out
    said = fab.on(box, "tunnel.open", env=env).fails()
    assert "no tunnel is open" in fab.on(box, "tunnel.status", env=env).ok().out
    fab.on(box, probes.task_named(said.text), env=env).ok()
    url = re.search(
        r"http://127\.0\.0\.1:\d+", fab.on(box, "tunnel.open", env=env).ok().out
    ).group()
    assert kernel_says(url, "open sésame") == "nb"

    box.pause()
    try:
        assert (
            "nothing answers" in fab("-H", "homelab", "tunnel.status", env=env, timeout=20).ok().out
        )
        assert "is closed" in fab("-H", "homelab", "tunnel.close", env=env, timeout=20).ok().out
        assert (
            "no tunnel was open"
            in fab("-H", "homelab", "tunnel.close", env=env, timeout=20).ok().out
        )
    finally:
        box.resume()


ACCESS = ("ssh.disable-passwords", "ssh.disable-root", "ssh.change-port")


def test_a_cloud_image_is_entered_as_its_own_user(host, fab):
    box = host("ubuntu-like", user="ubuntu", key=fab.key)
    fab.on(box, *ACCESS, user="ubuntu").ok()
    assert probes.offered(box.address, "ubuntu", box.next_port) == ["publickey"]
    for user, opens in (("lab", True), ("ubuntu", True), ("root", False)):
        assert probes.takes_key(box.address, user, box.next_port, fab.home) is opens
    keys = box.run("cat /home/lab/.ssh/authorized_keys")
    assert fab.key in keys and "command=" not in keys
    again = fab.on(box, *ACCESS, user="ubuntu").ok().out
    assert again.count("nothing to change") == 3 and not re.search(r"\b\d+ changes?\b", again)


def test_a_sudo_password_is_used_where_sudo_asks(host, fab):
    box = host("debian12", user="debian", key=fab.key, password="sudo it's $me", nopasswd=False)
    before = box.checksums()
    fab.on(box, "keys.copy", user="debian").fails("LABFAB_SUDO_PASSWORD")
    fab.on(box, "keys.copy", user="debian", env={"LABFAB_SUDO_PASSWORD": "wrong-one"}).fails(
        "wrong sudo password"
    )
    assert box.checksums() == before
    with probes.watching(box) as seen:
        fab.on(box, "keys.copy", user="debian", env={"LABFAB_SUDO_PASSWORD": "sudo it's $me"}).ok()
    assert not any("it's $me" in line for line in seen)
    assert probes.takes_key(box.address, "lab", box.port, fab.home)
    assert "nothing to change" in fab("-H", "homelab", "keys.copy").ok().out
