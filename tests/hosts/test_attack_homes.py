"""What lies below a home is its account's: no link, pipe or name there makes root work for it, or wait for it."""

import base64
import itertools
import shlex
import time

import pytest

from labfab.certificates import renewal
from labfab.certificates.location import Location
from labfab.host import journal
from labfab.host.changes import fill
from labfab.on_host import loader
from labfab.stages.keys.authorized_keys import OWN_HOME

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_LAB_USER": "jupyter"}
HOME = "/home/jupyter"
KEPT = "/var/lib/labfab/attacks"  # instead of the journal's own files
NUMBERS = itertools.count()
# What root has and an account would like to have. /srv/roots is closed to nobody, so a link shows it.
ROOTS = """\
rm -rf /srv/roots; mkdir -p /srv/roots/sub/deep /srv/roots/empty; cd /srv/roots; umask 022
for name in key.pem cert.pem ca.pem next-key.pem next-cert.pem profile file lab.log sub/file; do
  echo "roots $name" >$name; echo ours >>$name
done
chmod 600 key.pem; chmod 640 file
"""
STATE = "cd /srv/roots; find . -printf '%p %u:%g %m %y %l\\n' | sort; find . -type f -exec sha256sum {} + | sort -k 2"
# Mode and owner of the folders that the attacks of old aimed at.
SYSTEM = "stat -c '%n %U:%G %a' / /etc /etc/ssh /usr /usr/lib /var/lib /var/lib/labfab /etc/passwd"


@pytest.fixture(scope="module")
def box(module_lab):
    host = module_lab("debian12", "box", env=ENV)
    host.run("useradd -m mallory; chmod 755 /home/jupyter")
    return host


@pytest.fixture(autouse=True)
def nothing_of_roots_changes(box):
    """Whatever a case does, root's own stays as it was."""
    box.run(ROOTS)
    before = box.run(STATE), box.run(SYSTEM)
    yield
    assert (box.run(STATE), box.run(SYSTEM)) == before


def theirs(script: str, account: str = "jupyter") -> str:
    """Return shell text that runs as an account, in its home."""
    return fill("(cd ~%s && runuser -u %s -- sh -c %s)\n", account, account, script)


def quiet(box) -> None:
    """End what an account does again and again, with the command that it has begun."""
    box.run("pkill -KILL -u jupyter -f '[w]hile :'; sleep 0.5; rm -rf /home/jupyter/s")


def undone(
    box,
    word: str,
    *,
    keep: tuple[str, ...] = (),
    path: str = "",
    kept: str = "",
    attack: str = "true",
    force: bool = False,
    timeout: float = 60,
) -> str:
    """Journal a change, let the account do something, and undo it.

    kept: shell text that makes the before-images, as an older version did; it finds $KEPT.
    """
    number = f"attack-{next(NUMBERS)}"
    line = journal.entry("files", "why", path=path, keep=keep, number=number)
    note = journal.command(line).replace(f"{journal.FOLDER}/", f"{KEPT}/")
    note = note.replace(f"700 {journal.FOLDER} ", f"700 {KEPT} ")
    given = f"KEPT={KEPT}/before/{number} FORCE={'yes' if force else ''}\n"
    script = f"{loader.words('Linux')}{note}{given}{kept}\n{attack}\n"
    script += f"{loader.script('undo', 'Linux')}\n{word}\n"
    return box.run("sh -s 2>&1", input=f"({script}\n) </dev/null; true", timeout=timeout)


def image(path: str, text: str = "", ids: str = "jupyter:jupyter", mode: str = "755") -> str:
    """Return shell text that makes a before-image with what an account chose; empty text: a folder."""
    copy = '"$KEPT.kept/"' + shlex.quote(path.replace("/", "%"))
    make = f"printf %s {shlex.quote(text)} >{copy}" if text else f"mkdir {copy}"
    return f'mkdir -p "$KEPT.kept"; {make}; chmod {mode} {copy}; chown {ids} {copy}\n'


LINK = theirs("rm -rf a; mkdir a; mv a b 2>/dev/null; rm -rf a b; ln -s /srv/roots a")
BELOW = f"{HOME}/a"
PEMS = "".join(image(f"{BELOW}/{name}.pem", "mine") for name in ("key", "cert", "ca"))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "word, kept",
    [
        (f"folder {BELOW}/sub", image(f"{BELOW}/sub", mode="777")),
        (f"folder {BELOW}/empty", ""),
        (f"mode {BELOW}/file", image(f"{BELOW}/file", "x", mode="777")),
        (f"mode {BELOW}/sub", image(f"{BELOW}/sub", mode="777")),
        (f"file {BELOW}/file 0", 'echo mine >"$KEPT"; chown jupyter: "$KEPT"'),
        (f"file {BELOW}/key.pem 0", ""),
        (f"file {BELOW}/file 0", 'ln -s /tmp/x "$KEPT"'),
        (f"lines {BELOW}/profile ours", image(f"{BELOW}/profile", "roots profile")),
        (f"lines {BELOW}/profile ours", ""),
        (f"restore {BELOW}/file", image(f"{BELOW}/file", "mine")),
        (f"tree {BELOW}/sub", ""),
        (f"next_key {BELOW}", ""),
        (f"handed {BELOW}", PEMS),
        (f"handed {BELOW}", ""),
        (f"certificate {BELOW} 0", PEMS),
        (f"session jupyter {BELOW}/lab.log", ""),
    ],
)
def test_no_way_back_leaves_the_home_through_a_link(box, word, kept, force):
    """A folder on the way is a link by now; the copies are as an older version made them."""
    undone(box, word, kept=kept, attack=LINK, force=force)


@pytest.mark.parametrize("target", ["/var/lib/labfab", "/usr/lib"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_folder_given_back_is_never_roots(box, target, depth):
    """~/var/lib/labfab, where one of the three is a link when it is undone; the copy is labfab's own."""
    way = target.strip("/").split("/")[:depth]
    first = theirs(f"rm -rf var usr old; mkdir -p .{target}; chmod 777 .{target}")
    box.run(first)
    cut = "/".join(way)
    swap = theirs(f"mv {cut} old; ln -s /{cut} {cut}")
    said = undone(box, f"folder {HOME}{target}", keep=(f"{HOME}{target}",), attack=swap)
    assert "labfab-stays" not in said
    box.run(theirs("rm -rf var usr old"))


def test_a_link_shows_root_nothing_that_the_account_may_not_read(box):
    """Neither the journal nor --force copies it, and what an older version copied is not given back."""
    secret = f"{BELOW}/key.pem"
    box.run(LINK)
    said = undone(box, f"ls -A {KEPT}/before/*.kept; cat {KEPT}/before/*/*", keep=(secret,))
    assert "roots key.pem" not in said
    box.run(theirs("rm -f a; mkdir a; echo x >a/key.pem; echo x >a/cert.pem; echo x >a/ca.pem"))
    copy = image(secret, "stolen", ids="root:root", mode="600")
    said = undone(box, f"handed {BELOW}", kept=copy)
    assert "labfab-stays" in said and "stolen" not in box.run(f"cat {BELOW}/*")


PIPES = {
    "authorized_keys": (f"lines {HOME}/p/authorized_keys ours", "authorized_keys"),
    "a file": (f"file {HOME}/p/file 0", "file"),
    "a profile": (f"lines {HOME}/p/.profile ours", ".profile"),
    "lab.log": (f"session jupyter {HOME}/p/lab.log", "lab.log"),
    "key": (f"certificate {HOME}/p 0", "cert.pem"),
    "direct_url.json": (f"tree {HOME}/p", "direct_url.json"),
    ".bashrc": ("conda_shell jupyter none", "../.bashrc"),
    "a home": (f"if holds_data {HOME}/p; then echo data; fi", ".bashrc"),
}


@pytest.mark.parametrize("case", PIPES)
def test_nobody_waits_for_a_pipe(box, case):
    word, name = PIPES[case]
    path = f"{HOME}/p/{name}"
    aside = "[ ! -f ../.bashrc ] || mv ../.bashrc ../bashrc"
    box.run(theirs(f"rm -rf p; mkdir p; cd p; {aside}; mkfifo {name}"))
    began = time.monotonic()
    kept = image(f"{HOME}/.bashrc", "x") if case == ".bashrc" else ""
    undone(box, word, keep=(path,), kept=kept, force=True)
    assert time.monotonic() - began < 15
    box.run(theirs("rm -rf p; [ ! -f bashrc ] || mv -f bashrc .bashrc"))


def test_a_file_that_becomes_a_pipe_is_waited_for_ten_seconds(box):
    """Between the look and the read. The limits of time hold, whatever is found first."""
    swap = "while :; do rm -f p; mkfifo p; rm -f p; echo text >p; done"
    box.run(theirs(f"setsid sh -c {shlex.quote(swap)} >/dev/null 2>&1 &"))
    began = time.monotonic()
    for _ in range(3):
        undone(box, f"file {HOME}/p 0", force=True, timeout=120)
    assert time.monotonic() - began < 75
    quiet(box)
    box.run(f"rm -f {HOME}/p")


# Whose a path is -------------------------------------------------------------------------------


def keeper(box, path: str) -> str:
    script = f'{loader.words("Linux")}locate {shlex.quote(path)}; echo "$keeper $place"'
    return box.run("sh -s", input=script)


def test_a_path_is_its_homes_accounts(box):
    """Also in a home on another disk, in a home within a home, and in one that belongs to nobody."""
    box.run(
        "mkdir -p /srv/disk/far /srv/disk/old && useradd -d /home/far far && useradd -d /srv/disk/old old && "
        "useradd -d /home/jupyter/inner inner && mkdir -p /home/jupyter/inner && "
        "ln -sfn /srv/disk/far /home/far && chown far /srv/disk/far && chown inner /home/jupyter/inner && "
        "chown 4321 /srv/disk/old && mkdir -p /srv/open && chmod 1777 /srv/open"
    )
    assert keeper(box, "/home/far/.ssh/x") == "far /srv/disk/far/.ssh/x"
    assert keeper(box, "/home/far") == "root /home/far"
    assert keeper(box, f"{HOME}/inner/.ssh/x") == f"inner {HOME}/inner/.ssh/x"
    assert keeper(box, f"{HOME}/inner") == f"inner {HOME}/inner"
    assert keeper(box, f"{HOME}/innermost/x").startswith("jupyter ")
    assert keeper(box, "/srv/disk/old/x") == "old /srv/disk/old/x"
    assert keeper(box, "/etc/ssh/sshd_config") == "root /etc/ssh/sshd_config"
    assert keeper(box, "/var/backups/labfab") == "root /var/backups/labfab"
    assert keeper(box, "/srv/open/new") == "nobody /srv/open/new"
    box.run("mkdir /srv/open/roots; mkdir -m 777 /srv/wide; mkdir /srv/wide/roots; umask 022")
    assert keeper(box, "/srv/open/roots/x") == "root /srv/open/roots/x"
    assert keeper(box, "/srv/wide/roots/x") == "nobody /srv/wide/roots/x"
    box.run(theirs("mkdir /srv/open/of-jupyter"))
    assert keeper(box, "/srv/open/of-jupyter/x") == "jupyter /srv/open/of-jupyter/x"
    box.run(
        "for i in far old inner; do userdel $i; done; rm -rf /srv/open /srv/wide /srv/disk /home/far"
    )
    box.run(f"rm -rf {HOME}/inner")


# Lets an account write to a folder of root's, as setfacl does; a bare host lacks that program.
ACCESS_LIST = """
import os, pwd, struct, sys
folder, account = sys.argv[1:]
entry = lambda tag, may, id=0xFFFFFFFF: struct.pack("<HHI", tag, may, id)
user = entry(2, 7, pwd.getpwnam(account).pw_uid)
all = struct.pack("<I", 2) + entry(1, 7) + user + entry(4, 5) + entry(16, 7) + entry(32, 5)
os.setxattr(folder, "system.posix_acl_access", all)
"""


def test_a_list_of_access_makes_a_folder_of_roots_an_accounts(box):
    """mallory may write to root:root; the mode shows the list's mask where the group's rights were."""
    box.run("umask 022; mkdir -p /srv/listed/of-root /srv/plain/of-root; chmod 775 /srv/plain")
    listed = ("runuser", "-u", "mallory", "--", "touch")
    box.run("python3 - /srv/listed mallory", input=ACCESS_LIST)
    box.run(f"{' '.join(listed)} /srv/listed/by-mallory; ! {' '.join(listed)} /srv/plain/x 2>&1")
    assert box.run("stat -c '%U:%G %a' /srv/listed /srv/plain") == "root:root 775\nroot:root 775"
    assert keeper(box, "/srv/plain/of-root/x") == "root /srv/plain/of-root/x"
    assert keeper(box, "/srv/listed/of-root/x") == "nobody /srv/listed/of-root/x"
    assert keeper(box, "/srv/listed/new") == "nobody /srv/listed/new"
    assert keeper(box, "/srv/listed/by-mallory") == "mallory /srv/listed/by-mallory"
    box.run("rm -rf /srv/listed /srv/plain")


def test_a_home_that_root_cannot_look_at_is_nobodys(box):
    """As one that an account has mounted (FUSE). A folder shut to a root without its usual rights stands in."""
    box.run("mkdir -p /srv/shut/home; chmod 0 /srv/shut")
    script = f'{loader.words("Linux")}locate /srv/shut/home/.ssh/x; echo "$keeper $place"'
    rights = "-dac_override,-dac_read_search"
    said = box.run(f"setpriv --bounding-set {rights} sh -s", input=script)
    assert said == "nobody /srv/shut/home/.ssh/x"
    assert keeper(box, "/srv/shut/home/.ssh/x") == "root /srv/shut/home/.ssh/x"
    box.run("rm -rf /srv/shut")


def test_what_nobody_may_read_in_a_shared_folder_is_explained(box):
    """root:jupyter 2775, as a group shares it: root reads there what everybody can read."""
    box.run("umask 022; mkdir /srv/shared; chown root:jupyter /srv/shared; chmod 2775 /srv/shared")
    box.run("echo x >/srv/shared/closed; chmod 600 /srv/shared/closed; echo x >/srv/shared/open")
    script = f"{loader.words('Linux')}for i in open closed; do keep /srv/shared/$i /root/kept.$i; done; true"
    said = box.run("sh -s 2>&1; ls /root/kept.*; rm -rf /root/kept.* /srv/shared", input=script)
    assert said.splitlines()[-1] == "/root/kept.open"
    assert "/srv/shared/closed is in a folder that others can write to" in said
    assert "no file that nobody can read" not in said


def test_a_home_that_is_not_given_away_says_why(box):
    """mallory could put something else in its place meanwhile."""
    box.run("umask 022; mkdir -p /srv/shared/home; chown mallory /srv/shared")
    home = "/srv/shared/home"
    script = loader.words("Linux") + fill(OWN_HOME, home, home, "jupyter", "jupyter", home)
    said = box.run("sh -s 2>&1; echo $?; stat -c %U /srv/shared/home", input=script)
    assert "others can write to a folder above it" in said and said.split()[-2:] == ["1", "root"]
    box.run("rm -rf /srv/shared")


def test_what_is_an_honest_accounts_comes_back(box):
    """In a home on another disk: content, mode, group; a new file goes; a tree with work is moved."""
    box.run(
        "useradd -m -d /home/far far && mkdir -p /srv/disk && mount -t tmpfs -o size=20m tmpfs /srv/disk && "
        "mv /home/far /srv/disk/far && ln -s /srv/disk/far /home/far && usermod -aG games far"
    )
    box.run(theirs("echo mine >f; chgrp games f; chmod 640 f; mkdir -m 750 d", "far"))
    spoil = theirs("rm f; echo new >f; chmod 700 d; echo new >g", "far")
    box.run("sha256sum </home/far/f")
    new = box.run("printf 'new\\n' | sha256sum").split()[0]
    undone(box, f"file /home/far/f {new}", path="/home/far/f", attack=spoil)
    undone(box, f"file /home/far/g {new}", path="/home/far/g2")
    undone(box, "folder /home/far/d", kept=image("/home/far/d", ids="far:far", mode="750"))
    box.run(
        "mkdir -p /srv/disk/far/env/envs/mine; echo work >/srv/disk/far/env/envs/mine/x; chown -R far: /srv/disk/far/env"
    )
    said = undone(box, "tree /home/far/env")
    told = box.run(
        "cd /home/far && stat -c '%n %U:%G %a' f d; ls; cat f; cat /var/backups/labfab/env-*/envs/mine/x"
    )
    assert told.split("\n") == ["f far:games 640", "d far:far 750", "d", "f", "mine", "work"]
    assert "has environments that labfab did not make" in said
    said = undone(box, "account far")
    assert "/home/far is now /var/backups/labfab/far-" in said
    assert box.run("cat /var/backups/labfab/far-*/f; id far 2>&1 || true").startswith("mine")
    box.run("umount /srv/disk; rm -rf /srv/disk /home/far /var/backups/labfab")


# A file system of an account's --------------------------------------------------------------------

# Below this folder, whoever looks waits for an answer that never comes: automount's file system stands in
# for one that an account brings (FUSE) and stops.
STUCK = """
import ctypes, os, sys, time
os.setsid()
ends, (place,) = os.pipe(), sys.argv[1:]
given = f"fd={ends[1]},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"stuck", place.encode(), b"autofs", 0, given.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
open("/run/stuck", "w").close()
time.sleep(600)
"""
HASTE = 'as_account() { as_within 2 8388608 "$@"; }\n'  # the limit itself is not what is tried


FREED = "pkill -f '[/]tmp/stuck.py'; umount -l %s"


def get_stuck(box, place: str) -> None:
    box.run(f"mkdir -p {place}; rm -f /run/stuck; cat >/tmp/stuck.py", input=STUCK)
    box.run(
        f"python3 /tmp/stuck.py {place} >/tmp/stuck.log 2>&1 & "
        "for i in $(seq 50); do [ ! -e /run/stuck ] || exit 0; sleep 0.1; done; cat /tmp/stuck.log; exit 1"
    )


@pytest.fixture
def stuck(box):
    """A folder in the home that does not answer, and links to it: stuck(".ssh", ...)."""
    made = []

    def link(*names: str) -> None:
        for name in names:
            made.append(name)
            box.run(theirs(f"[ ! -e {name} ] || mv {name} .aside-{name}; ln -s stuck/x {name}"))

    get_stuck(box, f"{HOME}/stuck")
    yield link
    box.run(f"{FREED % (f'{HOME}/stuck',)}; rmdir {HOME}/stuck")
    for name in made:
        box.run(theirs(f"rm -f {name}; [ ! -e .aside-{name} ] || mv .aside-{name} {name}"))


def test_a_file_system_that_does_not_answer_keeps_no_reader_of_facts_waiting(box, stuck):
    """Also if an account's whole home is there. What was not answered is not taken for missing."""
    box.run(f"useradd -M -d {HOME}/stuck/home stuck")
    stuck(".jupyter", "jupyter-venv", ".profile", ".config")
    given = {"USERS": "jupyter stuck root", "LAB_URL": "http://127.0.0.1:9999/", "PUBLISH": "https"}
    given |= {"ROOT_DIR": "stuck/notebooks", "LAB_SOCKET": "stuck/socket"}
    sections = "accounts", "python", "jupyter", "lab", "https"
    began = time.monotonic()
    found = read_facts(box, *sections, words=HASTE, **given)
    assert time.monotonic() - began < 60
    assert {"root.home_stat", "jupyter.uid", "stuck.uid"} <= found.keys()
    assert not {"jupyter.home_stat", "stuck.home_stat"} & found.keys()
    box.run("userdel stuck 2>&1 || true")


def read_facts(box, *sections: str, words: str = "", **given: str) -> dict[str, str]:
    """Read sections of the facts as labfab does; return all keys and values."""
    variables = {"USERS": "jupyter", "LAB_USER": "jupyter", "PREFIX": "jupyter-venv"}
    variables |= {"LAB_PORT": "9999", "ROOT_DIR": "notebooks", "PUBLISH": "tunnel"} | given
    head = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    facts = f"{head}set -- {' '.join(sections)}\n{loader.script('facts', 'Linux')}"
    said = box.run("sh -s", input=loader.words("Linux") + words + facts, timeout=90)
    return dict(line.split("=", 1) for line in said.split("\n") if "=" in line)


def test_of_a_huge_file_a_part_is_read_and_never_written_back(box, module_fab):
    """Of two bytes a letter, with your key at its end: without it, nobody could log in any more."""
    keys = "/home/lab/.ssh/authorized_keys"
    box.run(f"cp -p {keys} /root/keys")
    fill_up = "import sys; sys.stdout.write(('# ' + '\u00e9' * 500 + '\\n') * 1500)"
    box.run(theirs(f'cp {keys} k; {{ python3 -c "{fill_up}"; cat k; }} >{keys}; rm k', "lab"))
    before = box.run(f"sha256sum {keys}")
    found = read_facts(box, "accounts", USERS="lab")
    assert found["lab.keys.cut"] == "yes"
    assert len(base64.b64decode(found["lab.keys.text"])) == 1 << 20
    module_fab("-H", "homelab", "keys.copy", env=ENV).fails("only a part of", keys)
    assert box.run(f"sha256sum {keys}") == before
    box.run(f"cp -p /root/keys {keys} && rm /root/keys")


def test_any_number_of_packages_is_read_within_a_limit(box):
    """The account makes as many folders there as it likes, with long names."""
    lib = "jupyter-venv/lib/python3.99/site-packages"
    make = f"import os; os.makedirs('{lib}'); [os.mkdir(f'{lib}/{{i}}' + 'x' * 230 + '-1.dist-info') for i in range(9000)]"
    box.run(theirs(f'python3 -c "{make}"'))
    found = read_facts(box, "python")
    assert {"prefix", "python", "lab"} <= found.keys() and "version.jupyter_server" in found
    assert len(found) > 1_000 and sum(map(len, found)) < 1_200_000
    box.run(f"rm -rf {HOME}/jupyter-venv/lib/python3.99")


def test_a_folder_in_the_place_of_the_configuration_is_not_searched(box):
    """It may hold a huge tree. The file in it is newer than the program, the folder is not."""
    box.run(theirs("mkdir -p p/tree; touch p/tree/new; touch -d 2001-01-01 p/tree p"))
    script = f"{loader.words('Linux')}LAB_USER=jupyter; for i in p p/tree/new; do newer_than 1 {HOME}/$i && echo $i; done"
    assert box.run(f"{{ sh -s; rm -rf {HOME}/p; }}", input=script) == "p/tree/new"


def test_a_mode_comes_back_without_what_lends_rights(box):
    """A file of the account's with root's group, which root had run with its rights before."""
    path = f"{HOME}/lent"
    box.run(theirs("echo x >lent") + f"chgrp root {path}; chmod 6755 {path}")
    seen = f'stat -c "%a %U:%G" "$KEPT.kept/{path.replace("/", "%")}"'
    attack = theirs("rm lent; echo x >lent; chmod 600 lent")
    said = undone(box, f"{seen}; mode {path}", keep=(path,), attack=attack)
    assert said == "755 jupyter:jupyter"
    assert box.run(f"stat -c '%a %U:%G' {path}; rm {path}") == "755 jupyter:jupyter"


# The hook that certbot runs ----------------------------------------------------------------------

# Holds on to what the hook's program of the account writes to, and stops it.
HOLD = """
while :; do
  for pid in $(pgrep -u jupyter -f next-key.pem); do
    exec 7>>/proc/$pid/fd/1 8>>/proc/$pid/fd/2
    kill -STOP $pid
  done
done
"""


def test_an_account_that_stops_certbots_hook_keeps_nobody_waiting(box, stuck):
    """certbot reads what the hook says until nobody holds it any more. An honest account gets all."""
    box.run(
        "mkdir -p /srv/live/labfab; cd /srv/live/labfab; echo key >privkey.pem; echo c >fullchain.pem"
    )
    box.run(theirs("rm -rf tls; mkdir tls"))
    hook = renewal.hook(Location(f"{HOME}/tls", "jupyter")).replace("within 30", "within 2")
    box.run("cat >/srv/live/hook", input=hook)
    run = "(RENEWED_LINEAGE=/srv/live/labfab sh /srv/live/hook 2>&1; echo code $?) </dev/null | cat"
    assert box.run(run) == "code 0"
    assert (
        box.run(f"cd {HOME}/tls; stat -c '%n %U %a' *")
        == "cert.pem jupyter 644\nkey.pem jupyter 600"
    )
    stuck("tls")
    box.run(theirs(f"setsid sh -c {shlex.quote(HOLD)} >/dev/null 2>&1 &"))
    began = time.monotonic()
    said = box.run(run, timeout=60)
    assert time.monotonic() - began < 20
    assert "took more than 2 s" in said and "code 124" in said
    quiet(box)
    box.run(theirs("rm tls; rm -r .aside-tls") + "rm -r /srv/live")


# The guard -------------------------------------------------------------------------------------

GUARD = "/var/lib/labfab/guard"
SSHD = "/etc/ssh/sshd_config"


class Window:
    """A window of the guard, opened as labfab opens it."""

    def __init__(self, box, account: str = "jupyter") -> None:
        self.box = box
        self.home = box.run(f"getent passwd {account} | cut -d: -f6")
        self.before = box.run(f"sha256sum {SSHD}")

    def arm(self, seconds: int = 600) -> None:
        text = loader.words("Linux") + loader.script("guard", "Linux")
        self.box.run(f"mkdir -p -m 700 {GUARD} && cat >{GUARD}/guard.sh", input=text)
        given = {
            "PATHS": f"/etc/ssh /etc/sudoers.d {self.home}/.ssh/authorized_keys",
            "FOLDERS": f"{self.home} {self.home}/.ssh",
            "RUN_SSHD": "touch /run/sshd-was-told",
            "SECONDS_LEFT": str(seconds),
            "WHY": "try",
        }
        values = " ".join(f"{name}={shlex.quote(value)}" for name, value in given.items())
        self.box.run(f"rm -f /run/sshd-was-told; {values} sh {GUARD}/guard.sh arm one", timeout=60)

    def revert(self, cause: str = "asked") -> str:
        """Break sshd's file, revert, and see that root's files are back, quickly."""
        self.box.run(f"echo Broken >>{SSHD}")
        began = time.monotonic()
        said = self.box.run(f"sh {GUARD}/guard.sh revert {cause} one 2>&1; true", timeout=90)
        took = time.monotonic() - began
        self.ended()
        assert took < 20, said
        return said

    def ended(self) -> None:
        assert self.box.run(f"sha256sum {SSHD}") == self.before
        self.box.run(
            f"test ! -e {GUARD} && test -e /run/sshd-was-told && rm -f /var/lib/labfab/reverted"
        )


@pytest.fixture
def window(box):
    box.run(
        theirs(
            "rm -rf .ssh p; mkdir -m 700 .ssh; echo mine >.ssh/authorized_keys; chmod 600 .ssh/*"
        )
    )
    yield Window(box)
    box.run(f"rm -rf {HOME}/.ssh {HOME}/p {GUARD}.left")


def test_a_revert_gives_no_folder_of_roots_away(box, window):
    """~/.ssh is a link when the window opens; where it leads is somewhere else at the end."""
    box.run(theirs("rm -rf .ssh; mkdir -p p/etc; ln -s p/etc .ssh"))
    window.arm()
    box.run(theirs("mv p q; ln -s / p"))
    window.revert()
    box.run(theirs("rm -rf p q .ssh"))


@pytest.mark.parametrize("name", ["authorized_keys.labfab-new", "authorized_keys"])
def test_a_revert_writes_through_no_link(box, window, name):
    """The account puts links to a file of root's there, again and again."""
    loop = f"while :; do ln -sf /srv/roots/profile .ssh/{name}; rm -f .ssh/{name}; done"
    for _ in range(5):
        box.run(theirs("rm -rf .ssh; mkdir -m 700 .ssh; echo mine >.ssh/authorized_keys"))
        window.arm()
        box.run(
            theirs(
                f"echo else >.ssh/authorized_keys; setsid sh -c {shlex.quote(loop)} >/dev/null 2>&1 &"
            )
        )
        window.revert()
        quiet(box)


@pytest.mark.parametrize("when", ["before", "in the window"])
@pytest.mark.parametrize("cause", ["asked", "deadline", "boot"])
def test_a_pipe_keeps_no_revert_waiting(box, window, when, cause):
    """The others' way in is restored, and the window is closed for good."""
    pipe = theirs("rm -f .ssh/authorized_keys; mkfifo .ssh/authorized_keys")
    if when == "before":
        box.run(pipe)
    window.arm()
    box.run(pipe)
    window.revert(cause)
    if when != "before":
        assert box.run(f"cat {HOME}/.ssh/authorized_keys") == "mine"


def test_the_deadline_needs_nobody(box, window):
    """systemd reverts by itself while the account swaps files, folders and pipes."""
    swap = "while :; do mv .ssh s; ln -s /etc .ssh; rm -f .ssh; mv s .ssh; rm -f .ssh/authorized_keys; mkfifo .ssh/authorized_keys; done"
    window.arm(seconds=2)
    box.run(f"echo Broken >>{SSHD}")
    box.run(theirs(f"setsid sh -c {shlex.quote(swap)} >/dev/null 2>&1 &"))
    box.run(
        f"for i in $(seq 300); do [ -e {GUARD} ] || exit 0; sleep 0.1; done; exit 1", timeout=60
    )
    quiet(box)
    window.ended()


def test_an_account_that_does_not_let_it_is_named(box, window):
    """What cannot be put back is told, once, and its copy is kept."""
    window.arm()
    box.run(theirs("rm -f .ssh/authorized_keys; mkdir -p .ssh/authorized_keys/in-the-way"))
    said = window.revert()
    assert f"labfab-lost: {HOME}/.ssh/authorized_keys" in said
    assert box.run(f"cat {GUARD}.left/before{HOME}/.ssh/authorized_keys") == "mine"
    box.run(f"rm -rf {HOME}/.ssh/authorized_keys")


def test_a_folder_of_an_account_in_roots_is_left_to_it(box, window):
    """/etc/ssh/keys/jupyter, where the keys of an account lie on some hosts."""
    box.run(
        "mkdir -p /etc/ssh/keys/jupyter && echo mine >/etc/ssh/keys/jupyter/keys && chown -R jupyter /etc/ssh/keys/jupyter"
    )
    window.arm()
    box.run(
        theirs(
            "cd /etc/ssh/keys/jupyter && rm keys && ln -s /srv/roots/profile keys && mkfifo pipe && ln -s /srv/roots roots"
        )
    )
    window.revert()
    assert box.run("ls /etc/ssh/keys/jupyter").split() == ["keys", "pipe", "roots"]
    box.run("rm -rf /etc/ssh/keys")


@pytest.mark.parametrize("full", [False, True])
def test_an_honest_accounts_keys_come_back_byte_for_byte(box, window, full):
    """Also on a disk that is full by now."""
    if full:
        box.run(f"mount -t tmpfs -o size=64k,mode=700,uid=$(id -u jupyter) tmpfs {HOME}/.ssh")
        box.run(
            theirs(
                "head -c 20000 /dev/urandom | base64 >.ssh/authorized_keys; chmod 640 .ssh/authorized_keys"
            )
        )
    state = f"stat -c '%n %U:%G %a' {HOME} {HOME}/.ssh {HOME}/.ssh/*; sha256sum {HOME}/.ssh/*"
    before = box.run(state)
    window.arm()
    box.run(
        theirs(
            "cd .ssh; tr A-Z a-z <authorized_keys >n; cat n >authorized_keys; rm n; "
            "chmod 666 authorized_keys; chmod 755 .; chmod 711 .."
        )
    )
    if full:  # one copy fits, no two
        box.run(theirs("cat /dev/zero >.ssh/filler; true"))
    said = window.revert()
    box.run(f"rm -f {HOME}/.ssh/filler")
    assert (box.run(state), said) == (before, "")
    if full:
        box.run(f"umount {HOME}/.ssh")


def test_sshd_is_restored_before_a_home_that_does_not_answer(box, window, stuck):
    """~/.ssh leads into it. The others get in again before anybody waits for it."""
    window.arm()
    stuck(".ssh")
    box.run(f"echo Broken >>{SSHD}; sh {GUARD}/guard.sh revert asked one >/tmp/said 2>&1 &")
    told = "for i in $(seq 40); do [ ! -e /run/sshd-was-told ] || exit 0; sleep 0.1; done; exit 1"
    box.run(told)
    assert box.run(f"sha256sum {SSHD}") == window.before
    assert box.run(f"ls {GUARD}") != ""  # the accounts' part is still waited for
    box.run(
        f"for i in $(seq 200); do [ -e {GUARD} ] || exit 0; sleep 0.1; done; exit 1", timeout=60
    )
    window.ended()
    assert f"labfab-lost: {HOME}/.ssh/authorized_keys" in box.run("cat /tmp/said")


def test_a_whole_home_that_does_not_answer_keeps_no_revert_waiting(box):
    """Root cannot even find out whose it is: it gives up, and the window is closed for good."""
    box.run("mkdir -p /srv/gone; useradd -m -d /srv/gone/home gone")
    window = Window(box, "gone")
    window.arm()
    try:
        get_stuck(box, "/srv/gone")
        assert "labfab-lost: /srv/gone/home" in window.revert()
    finally:
        box.run(f"{FREED % ('/srv/gone',)}; userdel gone; rm -rf /srv/gone {GUARD}.left")


# Owners ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made, reason",
    [
        ("echo x >/home/x; ln /home/x %s", "another name elsewhere"),
        ("echo secret >%s; chmod 600 %s", "only its owner can read it"),
        ("mkdir -m 700 %s; touch %s/secret", "only its owner can read it"),
        ("mkfifo %s", "it is no file"),
        ("ln -s /srv/roots/profile %s", "it is a link"),
    ],
)
def test_what_is_roots_is_given_to_no_account(box, made, reason):
    """A second name of a file of root's, and what root keeps to itself in the account's home."""
    path = f"{HOME}/.jupyter/given"
    box.run(made.replace("%s", path))
    script = fill(
        loader.as_command("chown_in_home", 4), HOME, f"{HOME}/.jupyter", "given", "jupyter"
    )
    assert reason in box.run("sh -s 2>&1 || true", input=script)
    assert box.run(f"stat -c %U {path}") == "root"
    box.run(f"rm -rf {path} /home/x")


# certbot's hook --------------------------------------------------------------------------------

HOOK = "sh /root/hook"
# Takes fd 1 of each program of this account that has to do with the new key, for a minute.
GRAB = """\
import ctypes, os, pathlib, time
end, held = time.monotonic() + 60, []
while time.monotonic() < end:
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if place.stat().st_uid == os.getuid() and b"next-key" in (place / "cmdline").read_bytes():
                taken = ctypes.CDLL(None).syscall(438, os.pidfd_open(int(place.name)), 1, 0)
                if taken >= 0 and len(held) < 100:
                    held.append(taken)
                    open("/tmp/grabbed", "w").close()
        except OSError:
            pass
"""
CHALLENGE = "CERTBOT_TOKEN=token CERTBOT_VALIDATION=proof "


@pytest.fixture
def hook(box):
    text = renewal.hook(Location(f"{HOME}/.jupyter/tls", "jupyter"))
    box.run("cat >/root/hook", input=text)
    box.run(theirs("rm -rf www; mkdir www"))
    yield
    box.run(f"rm -rf /root/hook /root/labfab {HOME}/www")


def test_an_acme_server_is_answered_by_the_account_whose_folder_it_is(box, hook):
    """certbot --webroot would make .well-known there as root, and give it to the folder's owner."""
    loop = "while :; do rm -rf .well-known; ln -s /srv/roots .well-known; rm -f .well-known; mkdir .well-known; done"
    box.run(theirs(f"cd www; setsid sh -c {shlex.quote(loop)} >/dev/null 2>&1 &"))
    for verb in ("answer", "clean") * 5:
        box.run(f"{CHALLENGE} {HOOK} {HOME}/www {verb} 2>&1; true", timeout=60)
    quiet(box)
    box.run(theirs("rm -rf www; mkdir www"))
    box.run(f"{CHALLENGE} {HOOK} {HOME}/www answer")
    look = f"cd {HOME}/www/.well-known; stat -c '%U %a' . acme-challenge; cd acme-challenge; cat token; stat -c '%U %a' token"
    assert box.run(look).split("\n") == ["jupyter 755", "jupyter 755", "proofjupyter 644"]
    box.run(f"{CHALLENGE} {HOOK} {HOME}/www clean")
    assert box.run(f"ls -A {HOME}/www") == ""


def test_a_folder_that_does_not_take_the_answer_is_named(box, hook):
    box.run("rm -rf /srv/wide; mkdir -m 777 /srv/wide; chown :games /srv/wide; chmod 775 /srv/wide")
    for folder, account in ((f"{HOME}/none", "jupyter"), ("/srv/wide", "nobody")):
        said = box.run(f"{CHALLENGE} {HOOK} {folder} answer 2>&1; echo $?")
        assert f"labfab-webroot: {account} cannot write to {folder}: " in said
        assert said.endswith("\n1")
    box.run("rm -rf /srv/wide")


def test_an_account_gets_no_hold_of_what_certbots_hook_prints_to(box, hook):
    """It takes the output of the program that the hook runs as the account, and keeps it."""
    box.run(
        "mkdir -p /root/labfab; cd /root/labfab; echo cert >fullchain.pem; truncate -s 40M privkey.pem"
    )
    box.run(theirs("mkdir -p -m 700 .jupyter/tls"))
    box.run("cat >/tmp/grab.py", input=GRAB)
    box.run("setsid runuser -u jupyter -- python3 /tmp/grab.py >/dev/null 2>&1 &")
    box.run("sleep 0.5")
    began = time.monotonic()
    box.run(f"RENEWED_LINEAGE=/root/labfab {HOOK} 2>&1 | cat", timeout=90)
    took = time.monotonic() - began
    box.run("pkill -KILL -u jupyter -f '[/]tmp/grab.py'; ls /tmp/grabbed; rm -f /tmp/grab*")
    assert box.run(f"cat {HOME}/.jupyter/tls/cert.pem") == "cert"
    assert took < 40
    box.run(f"rm -rf {HOME}/.jupyter/tls")


# The end of an account -------------------------------------------------------------------------

# As a login's own program is called; one forks and exits all the time, one ends whoever would end it.
SPIN = """\
import ctypes, os
ctypes.CDLL(None).prctl(15, b"systemd", 0, 0, 0)
while True:
    if os.fork():
        os._exit(0)
"""
KILLER = """\
import ctypes, os
ctypes.CDLL(None).prctl(15, b"systemd", 0, 0, 0)
while True:
    try:
        os.kill(-1, 9)
    except OSError:
        pass
"""


@pytest.mark.parametrize("program", [SPIN, KILLER], ids=["spin", "killer"])
def test_nothing_of_an_account_lives_on_as_the_next_one(box, program):
    """The next account may get its number, and all that still runs or lies about with it."""
    for _ in range(2):
        box.run("useradd -m goer; cat >/home/goer/run.py", input=program)
        box.run("cp /bin/sh /tmp/lent; chown goer /tmp/lent; chmod 4755 /tmp/lent")
        # A folder that its owner may not write to keeps what is in it from being deleted.
        box.run("mkdir /var/tmp/shut; cp -p /tmp/lent /var/tmp/shut; chown -R goer /var/tmp/shut")
        box.run("chmod 4755 /var/tmp/shut/lent; chmod 555 /var/tmp/shut")
        uid = box.run("id -u goer")
        for _ in range(3 if program is SPIN else 1):
            box.run("setsid runuser -u goer -- python3 /home/goer/run.py >/dev/null 2>&1 &")
        box.run("sleep 0.5")
        said = undone(box, "account goer")
        assert "labfab-stays" not in said, said
        alive = f"for i in 1 2 3 4 5 6 7 8 9; do ps -eo uid= | grep -cx ' *{uid}'; done; ls /tmp/lent; true"
        assert set(box.run(f"{alive} 2>&1").split("\n")[:-1]) == {"0"}
        assert "No such file" in box.run("ls /tmp/lent 2>&1; true")
        assert "No such file" in box.run("ls -d /var/tmp/shut 2>&1; true")
        assert "no such user" in box.run("id goer 2>&1; true")
        # What it left behind would fail if it ran as a new account: nothing does.
        box.run("useradd -m next; sleep 0.3")
        assert box.run("ps -u next -o pid= || true") == ""
        box.run("userdel -r next 2>/dev/null; rm -rf /var/backups/labfab")


def test_an_account_whose_processes_cannot_be_ended_stays_locked(box):
    """Its number is not given away. Here ps says so."""
    box.run("useradd -m goer")
    blind = "alive() { echo 'D 1234'; }"
    said = undone(box, f"{blind}; account goer")
    assert "labfab-stays: the account goer: its processes cannot be ended; it stays, locked" in said
    assert box.run("getent shadow goer | cut -d: -f8") == "1"
    undone(box, "account goer")
    assert "no such user" in box.run("id goer 2>&1; true")


def test_force_moves_what_an_account_owns_elsewhere_and_names_it(box):
    """A crontab would be run again for the next account of that name."""
    box.run(
        "useradd -m goer; mkdir -p /srv/of-goer /srv/spool; chmod 1777 /srv/spool; echo x >/srv/of-goer/x"
    )
    box.run("echo x >/srv/spool/goer; chown goer /srv/spool/goer /srv/of-goer /srv/of-goer/x")
    said = undone(box, "account goer")
    assert "labfab-stays: the account goer owns /srv/" in said and "or --force" in said
    for path in ("/srv/of-goer", "/srv/spool/goer"):
        assert path in said
    assert box.run("id -un goer; getent shadow goer | cut -d: -f8") == "goer"
    said = undone(box, "account goer", force=True)
    assert "labfab-note: /srv/of-goer is now /var/backups/labfab/goer-" in said
    assert "no such user" in box.run("id goer 2>&1; true")
    assert box.run("ls -A /srv/spool; cat /var/backups/labfab/goer-*/x") == "x"
    box.run("rm -rf /srv/spool /var/backups/labfab")


def test_a_line_break_in_a_name_leads_force_to_nothing_of_roots(box):
    """Another account lends a folder whose name ends a line: what follows would look like root's."""
    box.run("useradd -m goer; echo roots >/etc/roots-own; mkdir -p /srv/spool/x")
    # find prints two lines for the first of these: /srv/spool/x and /etc/roots-own.
    box.run(
        'cd /srv/spool; d="x\n/etc"; mkdir -p "$d"; echo y | tee "$d/roots-own" x/y; chown -R goer .'
    )
    box.run('cd /srv/spool; chown mallory . x "x\n" "x\n/etc"; chmod 777 . x "x\n" "x\n/etc"')
    said = undone(box, "account goer", force=True)
    assert box.run("cat /etc/roots-own") == "roots"
    assert "note: /etc/roots-own" not in said
    box.run("userdel -rf goer 2>/dev/null; rm -rf /srv/spool /etc/roots-own /var/backups/labfab")


# tmux's folder in /tmp --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    ["mkdir $place", "mkdir $place; touch $place/x", "touch $place", "ln -s /srv/roots $place"],
)
def test_a_folder_made_first_keeps_no_tmux_from_starting(box, made):
    """Whoever runs first knows its name: /tmp/tmux-UID. That account's tmux would refuse it."""
    place = f"/tmp/tmux-{box.run('id -u jupyter')}"
    box.run(f"pkill -KILL -u jupyter tmux; rm -rf {place}")
    box.run(theirs(made.replace("$place", place), "mallory"))
    start = fill(loader.as_command("start_in_tmux", 2), "jupyter-venv", "/usr/bin:/bin")
    said = box.run(
        "sh -s 2>&1; true", input=loader.words("Linux") + fill("run_script_as jupyter %s", start)
    )
    assert f"{place} belongs to mallory, so tmux cannot start" in said
    told = box.run("sh -s", input=loader.words("Linux") + "foreign_tmux jupyter; own_tmux jupyter")
    assert told == f"{place} mallory"
    assert box.run(f"stat -c '%F %U %a' {place}") == "directory jupyter 700"
    box.run("runuser -u jupyter -- tmux new-session -d -s here 'sleep 60'")
    box.run("pkill -KILL -u jupyter tmux; rm -rf /tmp/labfab-aside.*")


def test_whoever_makes_the_folder_again_and_again_loses(box):
    place = f"/tmp/tmux-{box.run('id -u jupyter')}"
    loop = f"while :; do mkdir {place} && touch {place}/x; done 2>/dev/null"
    for _ in range(5):
        box.run(f"rm -rf {place}")
        box.run(f"setsid runuser -u mallory -- sh -c {shlex.quote(loop)} >/dev/null 2>&1 &")
        box.run("sleep 0.3")
        box.run("sh -s", input=loader.words("Linux") + "own_tmux jupyter")
        assert box.run(f"stat -c '%U %a' {place}; ls -A {place}") == "jupyter 700"
        box.run("pkill -KILL -u mallory; rm -rf /tmp/labfab-aside.*")


# The whole chain, last: it takes the lab back ----------------------------------------------------


def test_an_undo_in_a_home_full_of_traps_ends_and_gives_root_to_nobody(box, module_fab, tmp_path):
    """lab.submit, files.push, links where folders were, pipes where files were; then setup.undo."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file").write_text("pushed")
    box.run(
        theirs("mkdir -p .local/share/labfab notebooks/project/lib; chmod 000 .local/share/labfab")
    )
    fab = lambda *words: module_fab("-H", "homelab", *words, env=ENV, timeout=300)  # noqa: E731
    fab("keys.copy").ok()  # the tests above took them away
    fab("files.push", str(tmp_path / "x"), "--to", "project/lib").ok()
    fab("lab.submit", "none.ipynb", "--there")
    box.run(
        theirs(
            "mkdir -p .local/share; rm -rf .local/old; mv .local/share .local/old; ln -s /var/lib .local/share"
        )
    )
    box.run(theirs("mv notebooks/project notebooks/old; ln -s /usr notebooks/project"))
    box.run(
        theirs(
            "mkdir -p .ssh; rm -f .ssh/authorized_keys .profile; mkfifo .ssh/authorized_keys .profile"
        )
    )
    box.run(
        theirs(
            "mkfifo jupyter-venv/direct_url.json; rm -f .jupyter/lab.log; mkfifo .jupyter/lab.log"
        )
    )
    uid = box.run("id -u jupyter")
    began = time.monotonic()
    said = fab("setup.undo", "--yes")
    if said.rc:
        said = fab("setup.undo", "--yes")
    assert time.monotonic() - began < 240
    owned = f"find / -xdev -uid {uid} -not -path '/home/*' -not -path '/proc/*' -not -path '/var/backups/*'"
    said.ok()
    assert box.run(f"{owned} 2>/dev/null || true") == ""
    box.run("mkdir -p /var/lib/labfab && chmod 700 /var/lib/labfab")  # for the comparison
