"""How single changes are undone, run for real in a temporary folder, and which are chosen."""

import hashlib
import json
import os
import subprocess
from types import SimpleNamespace

import pytest

from labfab.errors import SetupError
from labfab.host import journal
from labfab.host.changes import fill
from labfab.host.journal import Entry
from labfab.local_state.ssh_config import Alias
from labfab.on_host import loader
from labfab.setup import undoing

pytestmark = pytest.mark.local


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def back(tmp_path):
    """Keep, change and undo: back("folder %s", path, keep=[path], change="mkdir …")."""

    def go(
        command: str,
        *values: object,
        path: str = "",
        keep=(),
        change: str = "true",
        force: bool = False,
    ) -> str:
        line = journal.entry("ssh", "why", path=path, keep=[str(name) for name in keep], number="7")
        lib, backups = str(tmp_path / "lib"), str(tmp_path / "backups")
        first = journal.command(line).replace(journal.FOLDER, lib)
        way = loader.script("undo", "Linux").replace("/var/backups/labfab", backups)
        way = way.replace("LETSENCRYPT=/etc", f"LETSENCRYPT={tmp_path}")
        first = loader.words("Linux") + first
        given = f"KEPT={lib}/before/7 FORCE={'yes' if force else ''}"
        script = f"{first}{change}\n{given}\n{way}\n{fill(command, *values)}"
        done = subprocess.run(["sh"], input=script, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return go


@pytest.mark.parametrize("old", ["old\n", ""])
def test_a_file_is_as_it_was(back, tmp_path, old):
    """Content and mode are restored; a file that was not there is removed."""
    path = tmp_path / "it's $a file"
    if old:
        path.write_text(old)
        path.chmod(0o640)
    said = back(
        "file %s %s",
        path,
        sha256("new"),
        path=str(path),
        change=fill("printf new >%s; chmod 600 %s", path, path),
    )
    assert said == ""
    assert (
        (path.read_text(), path.stat().st_mode & 0o777) == (old, 0o640)
        if old
        else not path.exists()
    )


@pytest.mark.parametrize(
    "was, now, found",
    [
        ("stock\n", "in ufw's words\n", "stock\n"),
        ("stock\n", "### tuple ### allow tcp 80\n", "### tuple ### allow tcp 80\n"),
        ("### tuple ### allow tcp 80\n", "in ufw's words\n", "in ufw's words\n"),
    ],
    ids=["no rule is left", "somebody added a rule", "somebody deleted a rule"],
)
def test_ufw_without_rules_has_the_files_it_came_with(back, tmp_path, was, now, found):
    ufw, stock = tmp_path / "ufw", tmp_path / "stock"
    for folder in (ufw, stock):
        folder.mkdir()
    for name in ("user.rules", "user6.rules"):
        (ufw / name).write_text(was)
        (stock / name).write_text("stock\n")
    change = fill("printf %s | tee %s/user.rules >%s/user6.rules", now, ufw, ufw)
    keep = [ufw / "user.rules", ufw / "user6.rules"]
    assert back("restore_no_rules %s %s", ufw, stock, keep=keep, change=change) == ""
    assert [path.read_text() for path in keep] == [found, found]


def test_a_file_that_was_changed_by_hand_is_kept_and_named(back, tmp_path):
    path = tmp_path / "f"
    said = back(
        "file %s %s", path, sha256("new"), path=str(path), change=fill("printf mine >%s", path)
    )
    assert (
        said.startswith("labfab-stays: ")
        and "changed by hand" in said
        and path.read_text() == "mine"
    )


def test_with_force_it_goes_but_is_not_lost(back, tmp_path):
    path = tmp_path / "f"
    said = back(
        "file %s %s",
        path,
        sha256("new"),
        path=str(path),
        change=fill("printf mine >%s", path),
        force=True,
    )
    assert not path.exists() and said.startswith("labfab-note: ")
    assert [kept.read_text() for kept in (tmp_path / "backups").iterdir()] == ["mine"]


def test_a_file_that_is_back_already_is_no_change_by_hand(back, tmp_path):
    """The guard may have restored it."""
    path = tmp_path / "f"
    path.write_text("old")
    assert (
        back("file %s %s", path, sha256("new"), path=str(path)) == "" and path.read_text() == "old"
    )


OURS, MINE = "ssh-ed25519 AAAA labfab", "ssh-ed25519 BBBB mine"


@pytest.mark.parametrize(
    "before, after, wanted",
    [
        (None, f"{OURS}\n", None),
        (None, f"{OURS}\n{MINE}\n", f"{MINE}\n"),
        (f"{MINE}\n", f"{MINE}\n{OURS}\n", f"{MINE}\n"),
        (f"{MINE}", f"{MINE}\n{OURS}\n", f"{MINE}"),
        (f"{MINE}\n", f"# note\n{MINE}\n{OURS}\n", f"# note\n{MINE}\n"),
    ],
)
def test_only_our_lines_go(back, tmp_path, before, after, wanted):
    """Keys that somebody added stay. A new file is removed if nothing else is in it."""
    path = tmp_path / "authorized_keys"
    if before is not None:
        path.write_text(before)
    assert (
        back(
            "lines %s %s", path, OURS, path=str(path), change=fill("printf %%s %s >%s", after, path)
        )
        == ""
    )
    assert (path.read_text() if path.exists() else None) == wanted


@pytest.mark.parametrize("aside", [False, True])
@pytest.mark.parametrize("more", ["", "mine\n"])
def test_a_linked_file_stays_a_link_and_keeps_its_content(back, tmp_path, aside, more):
    """~/.profile -> dotfiles/profile: the file behind the link changes, the link stays."""
    link, real = tmp_path / ".profile", tmp_path / "dotfiles" / "profile"
    real.parent.mkdir()
    real.write_text("old\n")
    real.chmod(0o640)
    link.symlink_to("dotfiles/profile")
    change = fill("printf 'ours\\n'%s >>%s", more, link)
    assert (
        back(
            "lines %s %s",
            link,
            "ours",
            path="" if aside else str(link),
            keep=[link] if aside else [],
            change=change,
        )
        == ""
    )
    assert (
        link.is_symlink()
        and real.read_text() == f"old\n{more}"
        and real.stat().st_mode & 0o777 == 0o640
    )
    assert sorted(path.name for path in real.parent.iterdir()) == ["profile"]


def test_a_link_that_a_written_file_replaced_comes_back(back, tmp_path):
    link, real = tmp_path / "authorized_keys", tmp_path / "real"
    real.write_text(f"{MINE}\n")
    link.symlink_to("real")
    change = fill("printf %%s %s >%s.new; mv %s.new %s", f"{MINE}\n{OURS}\n", link, link, link)
    assert back("lines %s %s", link, OURS, path=str(link), change=change) == ""
    assert link.is_symlink() and real.read_text() == f"{MINE}\n"


def test_a_link_to_what_is_somebody_elses_is_left_alone_and_named(back, tmp_path):
    link = tmp_path / ".profile"
    link.symlink_to("/etc/passwd") if os.getuid() else link.symlink_to(
        foreign(tmp_path / "foreign")
    )
    before = link.read_text()
    said = back("lines %s %s", link, before.splitlines()[0])
    assert (
        said.startswith(f"labfab-stays: {link} leads to ")
        and link.is_symlink()
        and link.read_text() == before
    )


def foreign(path):
    path.write_text("ours\n")
    os.chown(path, 65534, 65534)
    return path


def test_a_mode_is_never_changed_through_a_link(back, tmp_path):
    link, real = tmp_path / "f", tmp_path / "real"
    real.write_text("x"), link.write_text("x")
    link.chmod(0o644), real.chmod(0o600)
    assert back("mode %s", link, keep=[link], change=fill("ln -sf real %s", link)) == ""
    assert real.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "there, filled, stays", [(True, False, True), (False, False, False), (False, True, True)]
)
def test_a_folder_goes_if_it_was_not_there_and_is_empty(back, tmp_path, there, filled, stays):
    folder = tmp_path / "folder"
    if there:
        folder.mkdir(mode=0o750)
    change = fill("mkdir -p %s; chmod 700 %s", folder, folder) + f"; touch '{folder}/f'" * filled
    said = back("folder %s", folder, keep=[folder], change=change)
    assert folder.exists() == stays and ("stays" in said) == filled
    assert not there or folder.stat().st_mode & 0o777 == 0o750


def test_a_tree_that_was_there_before_is_never_deleted(back, tmp_path):
    ours, mine = tmp_path / "ours", tmp_path / "mine"
    mine.mkdir()
    for tree in (ours, mine):
        back("tree %s", tree, keep=[tree], change=fill("mkdir -p %s/bin", tree))
        subprocess.run(["rm", "-rf", tmp_path / "lib"], check=True)
    assert mine.exists() and not ours.exists()


@pytest.mark.parametrize(
    "name, text, moved",
    [
        ("envs/mine/bin/python", "x", True),
        ("lib/site-packages/mine.egg-link", "x", True),
        ("lib/site-packages/__editable__.mine-1.pth", "x", True),
        (
            "lib/site-packages/mine-1.dist-info/direct_url.json",
            '{"dir_info": {"editable": true}}',
            True,
        ),
        ("lib/site-packages/mine-1.dist-info/direct_url.json", '{"dir_info": {}}', False),
        ("envs/.conda_envs_dir_test", "", False),
        ("lib/site-packages/ours.py", "x", False),
    ],
)
def test_a_tree_with_work_in_it_is_moved_instead_of_deleted(back, tmp_path, name, text, moved):
    tree = tmp_path / "miniforge3"
    (tree / name).parent.mkdir(parents=True)
    (tree / name).write_text(text)
    said = back("tree %s", tree)
    kept = list((tmp_path / "backups").glob(f"miniforge3-*/{name}"))
    assert not tree.exists() and len(kept) == moved and said.startswith("labfab-note: ") == moved


@pytest.mark.parametrize(
    "names, data",
    [
        ([], False),
        (["empty/folder/"], False),
        ([".cache/uv/a", ".jupyter/lab.log", ".local/share/jupyter/runtime/x.json"], False),
        (["notebooks/a.ipynb"], True),
        ([".ssh/authorized_keys"], True),
        ([".jupyter/custom.css"], True),
        (["a b\tc"], True),
    ],
)
def test_a_home_holds_data_when_in_doubt(back, tmp_path, names, data):
    home = tmp_path / "home"
    home.mkdir()
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).mkdir() if name.endswith("/") else (home / name).write_text("x")
    assert back("if holds_data %s; then echo data; fi", home) == "data\n" * data


# Which -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["", "[sshd]\nport = 2200\n"])
def test_fail2bans_jail_is_as_it_was(back, tmp_path, before):
    """A jail of ours that was there is restored, a new one goes, and fail2ban need not be there."""
    jail = tmp_path / "zz-labfab.local"
    if before:
        jail.write_text(before)
    assert back("jail %s", jail, keep=[jail], change=fill("echo new >%s", jail)) == ""
    assert (jail.read_text() if jail.exists() else "") == before


def entries(*stages: str) -> list[Entry]:
    return [
        Entry(str(number), number, stage, f"do {stage}", ["folder /x"])
        for number, stage in enumerate(stages)
    ]


def test_an_undo_goes_back_to_a_stage_with_all_that_came_after(monkeypatch):
    made = entries("user", "ssh", "lab", "ssh", "jupyter")
    assert undoing.chosen(made, "") == made
    assert undoing.chosen(made, "ssh") == made[1:]
    assert undoing.chosen(made, "jupyter") == made[4:]
    assert undoing.chosen(made, "python") == []
    with pytest.raises(
        SetupError,
        match="--to sshd: there is no such stage: one of backup, files, firewall, https, ",
    ):
        undoing.chosen(made, "sshd")


def test_what_is_undone_or_has_no_way_back_is_not_chosen():
    lines = [
        journal.entry("system", "upgrade"),
        journal.entry("ssh", "a", ["x"], number="1"),
        journal.entry("ssh", "b", ["x"], number="2"),
    ]
    text = "\n".join(map(json.dumps, [*lines, {"undone": "1", "time": 1}])) + '\n{"number": "hal'
    read = journal.parse(text)
    assert [entry.state for entry in read] == ["stays", "undone", "done"]
    assert [entry.why for entry in undoing.chosen(read, "")] == ["b"]


PEMS = ("key.pem", "cert.pem", "ca.pem")


@pytest.mark.parametrize("before", [True, False])
def test_a_certificate_goes_with_its_key_and_its_ca(back, tmp_path, before):
    """Earlier files are restored with their modes; if there were none, none are left."""
    files = [tmp_path / name for name in PEMS]
    for path in files if before else []:
        path.write_text(f"old {path.name}")
        path.chmod(0o600 if path.name == "key.pem" else 0o644)
    write = "".join(
        fill("rm -f %s; printf %s >%s; ", path, f"new {path.name}", path) for path in files
    )
    assert (
        back("certificate %s %s", tmp_path, sha256("new cert.pem"), keep=files, change=write) == ""
    )
    if before:
        assert [path.read_text() for path in files] == [f"old {name}" for name in PEMS]
        assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o644, 0o644]
    else:
        assert not any(path.exists() for path in files)


def test_a_certificate_that_somebody_put_there_since_is_kept(back, tmp_path):
    """So is its key, because neither is useful alone. With --force both are moved away, not lost."""
    files = [tmp_path / name for name in PEMS]
    write = "".join(fill("printf mine >%s; ", path) for path in files)
    said = back("certificate %s %s", tmp_path, sha256("new cert.pem"), keep=files, change=write)
    assert (
        said.startswith("labfab-stays: ") and [path.read_text() for path in files] == ["mine"] * 3
    )
    for path in files:
        path.unlink()
    back(
        "certificate %s %s", tmp_path, sha256("new cert.pem"), keep=files, change=write, force=True
    )
    assert (
        not any(path.exists() for path in files)
        and len(list((tmp_path / "backups").iterdir())) == 3
    )


NOTED = (
    'find {0} >"$KEPT.letsencrypt"; mkdir -p {0}/live/labfab {0}/archive/labfab '
    "{0}/accounts/new/dir {0}/renewal-hooks/post; "
)
MADE = (
    NOTED
    + "touch {0}/live/labfab/cert.pem {0}/accounts/new/dir/key {0}/renewal-hooks/post/of-mine "
    "{0}/live/README"
)


@pytest.fixture
def letsencrypt(tmp_path):
    """Return the folder of a certbot that was in use before."""
    for name in ("accounts/old/key", "renewal/mine.conf", "live/mine/cert.pem"):
        path = tmp_path / "letsencrypt" / name
        path.parent.mkdir(parents=True)
        path.touch()
    return tmp_path / "letsencrypt"


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_of_certbots_folder_only_what_came_with_ours_goes(back, letsencrypt):
    """Earlier files stay, and so does a hook that somebody has written since."""
    before = files(letsencrypt)
    assert back("lineage", change=MADE.format(letsencrypt)) == ""
    assert files(letsencrypt) == before | {"renewal-hooks/post/of-mine"}
    assert not (letsencrypt / "accounts/new").exists() and not (letsencrypt / "archive").exists()


def test_the_account_stays_for_a_certificate_that_somebody_got_since(back, letsencrypt):
    """That certificate is renewed with the account that was created for ours."""
    back("lineage", change=f"{MADE.format(letsencrypt)}; touch {letsencrypt}/renewal/later.conf")
    assert {"accounts/new/dir/key", "renewal/later.conf"} <= files(letsencrypt) and not (
        letsencrypt / "live/labfab"
    ).exists()


def test_certbot_stays_where_it_renews_what_is_not_ours(back, letsencrypt):
    """Without certbot that certificate would expire weeks later."""
    said = back("certbot_packages", change=': >"$KEPT.packages"')
    assert (
        said == "labfab-stays: the package certbot: it renews mine\n"
        and "renewal/mine.conf" in files(letsencrypt)
    )
    assert (
        back("certbot_packages", change='echo "installed certbot" >"$KEPT.packages"') == ""
    )  # then it was not ours to remove


@pytest.mark.parametrize("before", [True, False])
def test_what_was_served_before_is_served_again(back, tmp_path, before):
    """Even if it has been renewed since."""
    paths = [tmp_path / name for name in PEMS]
    for path in paths if before else []:
        path.write_text("old")
    back(
        "handed %s",
        tmp_path,
        keep=paths,
        change="".join(fill("printf new >%s; ", path) for path in paths),
    )
    assert [path.read_text() for path in paths if path.exists()] == ["old"] * 3 * before


def test_the_original_login_is_the_first_that_labfab_did_not_make():
    c = SimpleNamespace(user="lab", port=2222)
    block = Alias(
        "homelab",
        "203.0.113.5",
        "lab",
        2222,
        former_logins="root@203.0.113.5:22 lab@203.0.113.5:22",
    )
    assert undoing.original_login(c, block, ["lab"])[:2] == ("root", 22)
    turned = Alias(
        "homelab",
        "203.0.113.5",
        "root",
        22,
        former_logins="lab@203.0.113.5:22 lab@203.0.113.5:2222",
    )
    assert undoing.original_login(SimpleNamespace(user="root", port=22), turned, ["lab"])[:2] == (
        "root",
        22,
    )
    assert undoing.original_login(c, None, ["lab"]) is None


def test_the_accounts_that_were_made_are_read_from_their_ways_back():
    made = [
        Entry("1", 1, "user", "add", ["account lab"]),
        Entry("2", 1, "user", "join", ["group lab sudo"]),
    ]
    assert undoing.made_accounts(made) == ["lab"]


MACOS = ("macos", "launchd", "pmset", "mac_programs", "softwareupdate")  # of platforms/
LINUX = ("fail2ban", "firewall", "proxy")  # of stages/


@pytest.mark.parametrize("kernel", ["Linux", "Darwin"])
def test_every_way_back_in_the_code_exists(kernel):
    """A name in an undo= that the scripts do not define would fail only during an undo."""
    import re
    from pathlib import Path

    script = (
        loader.words(kernel)
        + loader.script("undo", kernel)
        + (undoing.APACHE if kernel == "Linux" else "")
    )
    known = set(re.findall(r"^([a-z_]+)\(\) ", script, re.MULTILINE)) | {journal.SSHD_READS}
    sources = [
        path
        for folder in ("stages", "platforms")
        for path in (Path(undoing.__file__).parents[1] / folder).rglob("*.py")
    ]
    others = [
        path
        for path in sources
        if path.parent.name == "platforms"
        and (path.stem == "base" or (path.stem in MACOS) != (kernel == "Darwin"))
    ]
    others += [path for path in sources if kernel == "Darwin" and path.stem in LINUX]
    text = "".join(path.read_text() for path in sources if path not in others)
    named = set(re.findall(r"undo(?:, keep|: str)? ?(?:=|or) ?\(*\"([a-z_]+)", text))
    assert (
        {"account", "folder", "lines", "tree"} | ({"packages"} if kernel == "Linux" else set())
        <= named
        <= known
    )
