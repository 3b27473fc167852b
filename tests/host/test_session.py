"""The only door: quoting, putting files, undoing, telling errors, planning."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from invoke import Config, Context

from labfab.errors import SetupError
from labfab.host import changes, journal, run_lock
from labfab.host.changes import ask, change, fill, put
from labfab.host.session import Host
from labfab.host.shell import ConnectionLost, Result, WrongSudoPassword
from labfab.local_state import keypair, secrets, ssh_config
from labfab.on_host import loader
from labfab.run import guard
from labfab.settings import Settings
from labfab.setup import sequences
from labfab.stages import firewall, lab, python, user
from labfab.stages.jupyter import config
from labfab.stages.keys import authorized_keys
from labfab.stages.ssh import hardening
from labfab.stages.system import updates
from tests import fake as models

alone, fake = models.alone, models.fake
HOSTILE = [
    "it's",
    'say "hi"',
    "$HOME `id` $(id)",
    "back\\slash\\n",
    "two\nlines\n",
    "  spaces  ",
    "Käse €",
    "-n",
    "%s %d %%",
    "",
    "a;b&c|d>e",
    "\t",
]
STAGES = [
    updates.update,
    updates.reboot,
    user.add,
    authorized_keys.copy,
    hardening.disable_passwords,
    hardening.disable_root,
    hardening.change_port,
    firewall.enable,
    python.install,
    python.init_shell,
    config.configure,
    lab.start,
    lab.stop,
]


def sh(script: str, folder, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | environment,
    )


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_one_word_for_the_shell(tmp_path, value):
    """A value with any characters reaches the command unchanged and runs nothing."""
    assert (
        sh(fill("printf '[%%s]' %s %s", value, "next"), tmp_path).stdout.decode()
        == f"[{value}][next]"
    )


def as_root(model, script: str) -> str:
    """Return a script without the commands that only root can run."""
    return loader.words("Linux") + (
        script.replace(journal.FOLDER, "lib")
        .replace("run_script_as lab ", "sh -c ")
        .replace("~lab", "$PWD")
    )


@pytest.mark.parametrize(
    "text, owner",
    [*((text, "lab") for text in HOSTILE), ("x" * 200_000, "lab"), ("\udcff", "root")],
)
def test_a_file_arrives_byte_for_byte(fake, tmp_path, monkeypatch, text, owner):
    """The script of put(), run for real, sets content and mode and leaves nothing else behind."""
    model, path = fake(), tmp_path / "new folder" / "it's $1 file"
    monkeypatch.setattr(model, "write", lambda script: Result(0, "", ""))
    user.refuse_admin_as_lab_user(model.c, user.Settings.of(model.c))
    put(model.c, str(path), text, why="write it", old=None, mode="640", owner=owner)
    script = as_root(model, model.told[-1])
    if len(script) < 100_000:
        done = sh(script, tmp_path)
        assert done.returncode == 0, done.stderr
    else:  # too long for an argument, as it may be on the wire
        subprocess.run(
            ["sh"], input=script.encode(errors="surrogateescape"), cwd=tmp_path, check=True
        )
    assert path.read_bytes() == text.encode(errors="surrogateescape")
    assert path.stat().st_mode & 0o777 == 0o640 and os.listdir(path.parent) == [path.name]


@pytest.fixture
def really(fake, tmp_path, monkeypatch):
    """A model that runs writes for real, in a temporary folder."""

    def run(script: str) -> Result:
        done = sh(as_root(None, script), tmp_path)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    model = fake()
    monkeypatch.setattr(model, "write", run)
    return model


def test_a_file_that_fails_its_check_changes_nothing(really, tmp_path):
    """The old file stays as it was, without a half-written one next to it."""
    (tmp_path / "f").write_text("old")
    with pytest.raises(SetupError, match="could not write it: bad new"):
        put(
            really.c,
            str(tmp_path / "f"),
            "new",
            why="write it",
            old=None,
            check='echo "bad $(cat "$NEW")" >&2; false',
        )
    assert (tmp_path / "f").read_text() == "old" and not (tmp_path / "f.labfab-new").exists()


def test_a_link_is_replaced_and_not_followed(really, tmp_path):
    """A link that an account has put there does not redirect root's write."""
    (tmp_path / "elsewhere").write_text("untouched")
    (tmp_path / "f").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "f.labfab-new").symlink_to(tmp_path / "elsewhere")
    put(really.c, str(tmp_path / "f"), "new", why="write it", old=None)
    assert (tmp_path / "elsewhere").read_text() == "untouched"
    assert (tmp_path / "f").read_text() == "new" and not (tmp_path / "f").is_symlink()


def test_a_file_is_kept_before_it_is_replaced(really, tmp_path):
    """Old content and mode are kept under the number of the line; a new file has none."""
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(0o640)
    for name in ("old", "new"):
        put(really.c, str(tmp_path / name), "changed", why="write it", old=None)
    lines = [json.loads(line) for line in (tmp_path / "lib/journal.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [str(tmp_path / "old"), str(tmp_path / "new")]
    kept = tmp_path / "lib/before" / lines[0]["number"]
    assert kept.read_text() == "old" and kept.stat().st_mode & 0o777 == 0o640
    assert list(kept.parent.iterdir()) == [kept]


def test_a_file_that_is_right_is_not_written(fake):
    """The same text, mode and owner are no change; a difference in any of them is one."""
    from labfab.host.remote_file import File

    model = fake()
    for old, count in (
        (File("644", "root", "text"), 0),
        (File("600", "root", "text"), 1),
        (File("644", "lab", "text"), 2),
        (File("644", "root", "t"), 3),
    ):
        put(model.c, "/etc/sudoers.d/90-labfab", "text", why="write it", old=old)
        assert len(model.writes) == count


def test_a_secret_goes_in_by_standard_input(really, tmp_path):
    """It reaches the command in full, and is neither in the journal nor in the undo command."""
    secret = 'it\'s "s3cret" $x\\n %s\nline two '
    change(really.c, "cat >got", why="take it", stdin=secret, undo=("rm %s", "got"))
    assert (tmp_path / "got").read_text() == secret
    assert "s3cret" not in (tmp_path / "lib" / "journal.jsonl").read_text()
    assert "s3cret" not in repr(Host.of(really.c).changes)


def test_a_change_is_journaled_before_it_is_made(really, tmp_path):
    """An interrupted run has left its line, with the stage and the undo command."""
    with pytest.raises(SetupError):
        change(really.c, "exit 9", why="fail", undo=("undo %s", "it's"))
    line = json.loads((tmp_path / "lib" / "journal.jsonl").read_text())
    assert (line["why"], line["undo"]) == ("fail", ["undo 'it'\"'\"'s'"])
    assert Host.of(really.c).changes == []


@pytest.mark.parametrize("code, yes", [(0, True), (1, False)])
def test_a_question_has_two_answers(fake, code, yes):
    """Exit code 0 means yes and 1 means no."""
    model = fake()
    model.answers = [("test -e", Result(code, "", ""))]
    assert ask(model.c, "test -e %s", "/a b").ok is yes
    assert model.questions == ["test -e '/a b'"]


def test_a_question_that_fails_is_an_error(fake):
    """Any other code is reported in the host's own words and is never taken for a no."""
    model = fake()
    model.answers = [("test", Result(127, "", "sh: 1: test: not found\n"))]
    with pytest.raises(
        SetupError,
        match=r"root@203\.0\.113\.5: a query on the host failed \(test\): sh: 1: test: not found",
    ):
        ask(model.c, "test -e %s", "/x")


def test_errors_are_one_line(fake):
    """The error is one line, however many lines the command prints."""
    model = fake()
    model.failing = {"ufw": "first\nsecond\nthird\nfourth\n"}
    with pytest.raises(SetupError) as error:
        change(model.c, "ufw allow %s/tcp", 1, why="open port 1")
    assert str(error.value) == "root@203.0.113.5: could not open port 1: second | third | fourth"


@pytest.mark.parametrize(
    "says, told",
    [
        ("write error: No space left on device", "df -h"),
        ("Disk quota exceeded", "df -h"),
        ("Read-only file system", "dmesg"),
    ],
)
def test_a_disk_in_trouble_says_what_to_look_at(fake, says, told):
    """A full disk, an exceeded quota and a read-only disk have messages of their own."""
    model = fake()
    model.failing = {"ufw": says}
    with pytest.raises(SetupError, match=told):
        change(model.c, "ufw allow %s/tcp", 1, why="open port 1")


def test_facts_are_read_anew_after_a_change(fake):
    """Facts from before a change are not used after it."""
    model = fake()
    platform_before = dict(model.sections["firewall"])
    firewall.enable(model.c)
    assert platform_before == {} and Host.of(model.c).planning is False
    assert Host.of(model.c).facts == {} or "allowed.22" in Host.of(model.c).facts["firewall"]


# The guard -------------------------------------------------------------------------------------------


def open_22(model) -> None:
    change(model.c, "ufw allow %s/tcp", 22, why="open port 22")


def test_nothing_changed_costs_nothing(fake):
    """A guarded block without a change neither arms nor connects."""
    model = fake()
    with guard.guarded(model.c, "try"):
        pass
    assert (model.guard, model.logins, model.told) == ([], [], [])


def test_the_way_back_is_armed_before_the_first_change(fake):
    """Arm, change, prove and disarm happen once, in this order."""
    model = fake()
    with guard.guarded(model.c, "try"):
        open_22(model)
        open_22(model)
    scripts = [
        "arm" if "guard.sh arm" in told else "change" if "ufw allow" in told else "disarm"
        for told in model.told
        if "[ -e" not in told or "guard.sh" in told
    ]
    assert [word for word in scripts if word != "disarm"][:2] == ["arm", "change"]
    assert model.guard == ["arm", "disarm"] and model.logins == [("root", 22)]


@pytest.mark.parametrize(
    "error", [SetupError("it broke"), OSError("it broke"), EOFError("it broke")]
)
def test_a_failure_inside_is_taken_back_and_told(fake, error):
    """The user sees the first error, in one line, with the state of the host."""
    model = fake()
    with (
        pytest.raises(
            SetupError, match="could not try: it broke; the host has reverted everything"
        ) as told,
        guard.guarded(model.c, "try"),
    ):
        open_22(model)
        raise error
    assert (
        model.guard == ["arm", "revert"]
        and model.sections["firewall"] == {}
        and "\n" not in str(told.value)
    )
    assert Host.of(model.c).changes == []


def test_a_proof_that_fails_is_taken_back(fake):
    """Without the fresh login, no change is kept."""
    model = fake()
    model.refused_logins = 1
    with pytest.raises(SetupError, match="could not try: .*refused"), guard.guarded(model.c, "try"):
        open_22(model)
    assert model.guard == ["arm", "revert"]


def test_a_host_that_cannot_be_armed_is_not_changed(fake):
    """If the revert cannot be armed, the change does not begin."""
    model = fake()
    model.cannot_arm = True
    with (
        pytest.raises(
            SetupError, match="no space left on the host, could not arm the automatic revert"
        ),
        guard.guarded(model.c, "try"),
    ):
        open_22(model)
    assert model.writes == []


def test_a_proof_that_comes_too_late_is_no_success(fake):
    """If the host has begun to revert the change, the task fails."""
    model = fake()
    model.too_late = True
    with pytest.raises(SetupError, match="the proof came too late"), guard.guarded(model.c, "try"):
        open_22(model)


def test_a_wrong_sudo_password_in_the_proof_is_told(fake, monkeypatch):
    """If sudo refuses the new account, the proof fails, and the message says why."""
    model = fake()

    def refuse(*args):
        raise WrongSudoPassword

    with (
        pytest.raises(SetupError, match="sudo refuses the password of root"),
        guard.guarded(model.c, "try"),
    ):
        open_22(model)
        monkeypatch.setattr(guard, "Shell", refuse)
        model.guard.clear()


# Plan mode -------------------------------------------------------------------------------------------


def everything(folder) -> dict:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", ["venv", "miniforge"])
@pytest.mark.parametrize(
    "stage", STAGES, ids=lambda stage: f"{stage.body.__module__.rpartition('.')[2]}.{stage.name}"
)
def test_every_stage_can_be_planned_on_a_bare_host(fake, alone, capsys, monkeypatch, stage, kind):
    """It raises nothing, sends only reads, writes nothing on the laptop and shows no secret."""
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", "s3cret-sudo")
    monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "s3cret-jupyter")
    model = fake(dry=True, python=kind, lab_user="jupyter")
    stage(model.c)
    assert model.writes == [] and model.guard == [] and model.logins == []
    assert everything(alone / "home") == {}
    said = capsys.readouterr()
    assert "s3cret" not in said.out + said.err and "argon2:" not in said.out


def chosen(publish: str) -> list:
    """Return the stages of a whole setup except the tunnel, which concerns the laptop."""
    want = Settings(publish=publish)
    return [
        stage
        for name, stage in sequences.DEBIAN
        if name != "tunnel" and not sequences.skipped(name, want)
    ]


@pytest.mark.parametrize(
    "publish, sudo", [("tunnel", "password"), ("tunnel", "nopasswd"), ("https", "password")]
)
def test_a_plan_tells_what_a_run_does(fake, alone, monkeypatch, publish, sudo):
    """The whole setup, planned and then run, makes the same changes in the same order."""
    monkeypatch.setattr("labfab.stages.tunnel.open_", lambda c: "")
    keypair.generate(alone / "home/.ssh/id_ed25519")
    stages = chosen(publish)
    whys = []
    for dry in (True, False):
        Host.sessions.clear()
        model = fake(dry=dry, python="venv", publish=publish, sudo=sudo)
        model.sections["updates"]["age"], model.sections["upgrades"]["pending"] = "999999", "3"
        for stage in stages:
            stage(model.c)
        whys.append([why for why in model.planned if not why.startswith("remember")])
    assert whys[0] == whys[1] and len(whys[0]) > 20


@pytest.mark.parametrize("publish", ["tunnel", "https"])
def test_a_second_run_of_everything_changes_nothing(fake, alone, publish):
    """The same command line again: no change, no question, one reading, and the new login is used."""
    model = fake(python="venv", publish=publish)
    stages = chosen(publish)
    for stage in stages:
        stage(model.c)
    first, model.sections["upgrades"]["pending"] = dict(model.sections["ssh"]), "0"
    model.again()
    for stage in stages:
        stage(model.c)
    assert model.planned == [] and model.writes == [] and model.guard == [] and model.logins == []
    assert model.sections["ssh"] == first
    assert len([told for told in model.told if "set -- " in told]) == 1
    assert (model.c.user, model.c.port) == ("lab", 292)


# Tasks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_without_a_host_nothing_runs_on_the_laptop(alone, stage):
    """Fabric would run it on the laptop; instead a message says what to type."""
    with pytest.raises(SetupError, match="needs a host: fab -H root@ADDRESS"):
        stage(Context(Config()))


def test_a_second_run_at_the_same_time_is_refused(fake):
    """The holder of the lock is named, and nothing is changed."""
    model = fake()
    model.at_work = "4711"
    with pytest.raises(SetupError, match=r"another run of labfab is at work there \(pid 4711\)"):
        user.add(model.c)
    assert model.writes == []


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (
            "breaks",
            r"is at work there \(pid 4711\), and this connection broke meanwhile: wait until",
        ),
        (
            "moves",
            r"has just changed how to log in there \(now lab@203.0.113.5:292\): type the same",
        ),
    ],
)
def test_a_second_run_is_told_what_the_first_did_meanwhile(fake, monkeypatch, ends, words):
    """It waits, and meanwhile its connection breaks, or its login moves; nothing is changed."""
    model = fake()
    model.at_work = "4711"

    def wait(seconds):
        if ends == "breaks":
            monkeypatch.setattr(run_lock.RunLock, "holder", broken)
        else:
            block = ssh_config.Alias("homelab", models.ADDRESS, "lab", 292)
            block = block._replace(former_logins=f"root@{models.ADDRESS}:22")
            ssh_config.write(Path.home() / ".ssh" / "config", block)
            model.at_work = ""

    monkeypatch.setattr(run_lock.time, "sleep", wait)
    monkeypatch.setattr(run_lock, "PATIENCE", 20)
    with pytest.raises(SetupError, match=words):
        user.add(model.c)
    assert model.writes == []


def broken(*values):
    raise ConnectionLost("the connection broke")


def test_after_a_reboot_the_lock_is_taken_anew(fake, monkeypatch):
    """A session that was closed on purpose need not find its mark in the lock again; one that broke must."""
    model = fake()
    user.add(model.c)
    host = Host.of(model.c)
    monkeypatch.setattr(model.c, "close", lambda: None)
    host.close()
    user.add(model.c)
    host.shell = None
    with pytest.raises(SetupError, match="another run worked there or the host was rebooted"):
        user.add(model.c)


def test_the_end_tells_how_much_was_changed(fake, capsys):
    """The outermost task reports it once, in words."""
    model = fake()
    hardening.disable_root(model.c)
    said = capsys.readouterr().out
    assert said.count("changes") == 1 and said.rstrip().endswith(f"{len(model.planned)} changes")
    hardening.disable_root(model.again())
    assert capsys.readouterr().out.rstrip().endswith("nothing to change")


def test_sudos_password_is_found_where_it_is(fake, monkeypatch):
    """From the environment, or the stored one. If it is wrong, the message says what to set."""
    secrets.store("homelab", "sudo-password", "right")
    secrets.note_sudo_account("homelab", "ada")
    model = fake("ada")
    model.sudo_passwords["ada"] = "right"
    assert Host.of(model.c).open() and Host.of(model.c).sudo_passwords == {"ada": "right"}
    model.sudo_passwords["ada"] = "changed meanwhile"
    with pytest.raises(SetupError, match="wrong sudo password for ada: set LABFAB_SUDO_PASSWORD"):
        Host.of(model.again()).open()
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", "changed meanwhile")
    assert Host.of(model.again()).open()
    assert "LABFAB_SUDO_PASSWORD" not in os.environ


@pytest.mark.parametrize("noted", ["lab", ""], ids=["noted", "kept by an earlier version"])
def test_a_kept_sudo_password_goes_to_its_own_account_alone(fake, noted):
    """Whoever owns the account that asks would read it."""
    secrets.store("homelab", "sudo-password", "right")
    if noted:
        secrets.note_sudo_account("homelab", noted)
    model = fake("ada")
    model.sudo_passwords["ada"] = "right"
    with pytest.raises(SetupError, match="sudo asks for a password for ada: .*; if ada only runs"):
        Host.of(model.c).open()
    assert guard.sudo_password(model.c, "ada") is None
    assert guard.sudo_password(model.c, "lab") == "right"


def test_no_password_is_typed_for_lab_user(fake, monkeypatch):
    """Its code could ask for one, in the words of sudo."""
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", "right")
    model = fake("jupyter", lab_user="jupyter")
    model.sudo_passwords["jupyter"] = "right"
    with pytest.raises(SetupError, match="jupyter runs JupyterLab and cannot become root"):
        Host.of(model.c).open()


def test_without_any_sudo_password_it_is_asked_for(fake):
    """Without a terminal, that is one line and not an endless wait."""
    model = fake("ada")
    model.sudo_passwords["ada"] = "x"
    with pytest.raises(SetupError, match="sudo asks for a password for ada"):
        Host.of(model.c).open()


def test_another_account_works_in_its_own_home(tmp_path):
    """HOME, USER and the folder are the account's, and the command keeps its quoting."""
    script = changes.as_user(
        'printf \'%s|\' "$HOME" "$USER" "$PWD" ' + shlex.quote("it's"), "root"
    ).replace("run_script_as root ", "sh -c ")
    home = os.path.expanduser("~root")
    assert (
        sh(script, tmp_path).stdout.decode()
        == f"{home}|root|{home if os.access(home, os.X_OK) else '/'}|it's|"
    )


def test_a_stored_sudo_password_goes_to_the_host_that_it_is_for(fake, monkeypatch):
    """A new host that takes the alias of an older one would hear it at its own prompt of sudo."""
    heard = []
    model = fake("ada")
    model.sudo_passwords["ada"] = "right"
    with_password = Host.with_password
    monkeypatch.setattr(
        Host,
        "with_password",
        lambda self, password: heard.append(password) or with_password(self, password),
    )
    monkeypatch.setattr(Host, "pinned_keys", lambda self: {"SHA256:one", "SHA256:two"})
    Host.of(model.c).keep_secret("homelab", "sudo-password", "right")
    secrets.note_sudo_account("homelab", "ada")
    assert Host.of(model.again()).open() and heard.pop() == "right"
    monkeypatch.setattr(Host, "pinned_keys", lambda self: {"SHA256:another"})
    with pytest.raises(SetupError, match="sudo asks for a password for ada"):
        Host.of(model.again()).open()
    assert set(heard) == {None}
    # Nor at the proof of a login, nor is any other secret of the lab for it.
    secrets.store("homelab", "jupyter-password", "right")
    assert guard.sudo_password(model.c, "lab") is None
    assert Host.of(model.c).stored_secret(Settings.of(model.c), "jupyter-password") is None
    assert user.sudo_password(model.c, Settings.of(model.c)) != "right"
    other = secrets.path_of("homelab", "sudo-password").with_name("sudo-password.other-host")
    assert other.read_text() == "right\n" and other.stat().st_mode & 0o777 == 0o600
    secrets.forget("homelab")
    assert not secrets.path_of("homelab", "sudo-password").parent.exists()
