"""A private server with a password; what is in its configuration stays."""

import hashlib
import json

import pytest

from labfab.errors import SetupError
from labfab.facts import facts
from labfab.facts.records import KERNEL_SOCKET, SHORT_RUNTIME, USUAL_HOME
from labfab.host.shell import Result
from labfab.local_state import passwords, secrets
from labfab.on_host import loader
from labfab.settings import Settings
from labfab.stages import python, user
from labfab.stages.jupyter import config as jupyter
from labfab.stages.jupyter import passwords as password

WRITE = "write Jupyter's configuration"
MADE = ["make /home/lab/notebooks", "make /home/lab/.jupyter private", WRITE]


@pytest.fixture
def ready(fake):
    """A host with its accounts."""

    def make(config: str | None = None, stat: str = "600 lab", **settings):
        model = fake(**settings)
        user.add(model.c)
        model.again()
        if config is not None:
            model.set_file("jupyter", "config", config, stat)
            model.sections["jupyter"] |= {"folder_stat": "700 lab", "root_dir": "lab"}
        return model

    return make


def config_of(model) -> dict:
    return json.loads(model.file("jupyter", "config"))


def test_a_new_configuration_is_private(ready, capsys):
    """Loopback, no other port, a hash, a token; the file for its owner only; the password only on the laptop."""
    model = ready()
    jupyter.configure(model.c)
    assert model.whys == MADE
    made = model.wrote(WRITE)
    assert (made.mode, made.user) == ("600", "lab")
    server, identity = config_of(model)["ServerApp"], config_of(model)["IdentityProvider"]
    assert server == {
        "ip": "127.0.0.1",
        "port": 9999,
        "port_retries": 0,
        "open_browser": False,
        "base_url": "/",
        "root_dir": "/home/lab/notebooks",
    }
    value = secrets.load("homelab", "jupyter-password").reveal()
    assert passwords.verify(identity["hashed_password"], value) and len(identity["token"]) >= 32
    assert not any(value in told for told in model.told)
    said = capsys.readouterr().out
    assert (
        value not in said
        and identity["hashed_password"] not in said
        and identity["token"] not in said
    )
    jupyter.configure(model.again())
    assert model.whys == []


def test_what_is_there_is_merged(ready):
    """The user's keys, other classes, umlauts and an existing hash stay; our keys are corrected."""
    there = {
        "ServerApp": {"port": 8888, "ip": "0.0.0.0", "extra": {"a": [1, None]}, "title": "Käse"},
        "IdentityProvider": {"hashed_password": "argon2:kept", "token": "kept"},
        "Mine": {"x": 1.5},
    }
    model = ready(json.dumps(there))
    jupyter.configure(model.c)
    assert model.whys == [WRITE]
    found = config_of(model)
    assert found["Mine"] == {"x": 1.5} and found["IdentityProvider"] == there["IdentityProvider"]
    assert found["ServerApp"] == there["ServerApp"] | {
        "port": 9999,
        "ip": "127.0.0.1",
        "port_retries": 0,
        "open_browser": False,
        "base_url": "/",
        "root_dir": "/home/lab/notebooks",
    }
    assert "Käse" in model.file("jupyter", "config")


def test_another_order_or_indent_is_no_difference(ready):
    """A file with the same meaning is not written again."""
    model = ready()
    jupyter.configure(model.c)
    model.again()
    same = dict(reversed(config_of(model).items()))
    model.set_file("jupyter", "config", json.dumps(same, indent=7), "600 lab")
    jupyter.configure(model.c)
    assert model.whys == []


@pytest.mark.parametrize("stat", ["644 lab", "600 root"])
def test_a_file_that_others_can_read_is_written_anew(ready, stat):
    """Wrong mode or owner is a difference, with the text as it was."""
    model = ready()
    jupyter.configure(model.c)
    before = model.file("jupyter", "config")
    model.again()
    model.sections["jupyter"]["config.stat"] = stat
    jupyter.configure(model.c)
    assert model.whys == [WRITE] and model.file("jupyter", "config") == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"text"',
        "null",
        '{"ServerApp": 3}',
        '{"ServerApp": null}',
        "c.ServerApp.port = 1",
        '{"a": {"b": 1},}',
    ],
)
def test_a_broken_configuration_is_never_overwritten(ready, text):
    """A file that Jupyter could not read either is named and left alone."""
    model = ready(text)
    with pytest.raises(
        SetupError, match="jupyter_server_config.json is not JSON that Jupyter can read: correct it"
    ):
        jupyter.configure(model.c)
    assert model.file("jupyter", "config") == text


@pytest.mark.parametrize("value", ['given it\'s "$x" \\', "Käse €"])
def test_a_given_password_is_hashed_here(ready, monkeypatch, value):
    """LABFAB_JUPYTER_PASSWORD replaces a hash of another password, and is kept if the hash is its own."""
    model = ready()
    jupyter.configure(model.c)
    old = config_of(model)["IdentityProvider"]
    for whys in ([WRITE], []):
        model.again()
        monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", value)
        jupyter.configure(model.c)
        assert model.whys == whys
    new = config_of(model)["IdentityProvider"]
    assert passwords.verify(new["hashed_password"], value) and new["token"] == old["token"]
    assert secrets.load("homelab", "jupyter-password").reveal() == value
    assert not any(value in told for told in model.told)


def test_options_of_the_setting_win(ready):
    """jupyter_options are merged class by class."""
    model = ready(
        jupyter_options={"ServerApp": {"max_body_size": 1}, "LabApp": {"collaborative": True}}
    )
    jupyter.configure(model.c)
    found = config_of(model)
    assert found["ServerApp"]["max_body_size"] == 1 and found["ServerApp"]["ip"] == "127.0.0.1"
    assert found["LabApp"] == {"collaborative": True}


@pytest.mark.parametrize(
    "given, path",
    [
        ("it's $HOME `x` Käse", "/home/lab/it's $HOME `x` Käse"),
        ("/srv/note books", "/srv/note books"),
    ],
)
def test_any_folder_can_hold_the_notebooks(ready, given, path):
    """Spaces, quotes, $ and umlauts survive; an absolute path is taken as it is."""
    import shlex

    model = ready(root_dir=given)
    jupyter.configure(model.c)
    made = shlex.split(model.wrote(f"make {path}").command)
    assert made == ["umask", "077;", "mkdir", "-p", path]
    assert config_of(model)["ServerApp"]["root_dir"] == path


@pytest.mark.parametrize(
    ("given", "owner", "whys"),
    [
        ("notebooks", "lab", ["close /home/lab/notebooks to other accounts"]),
        ("notebooks", "root", []),
        ("/srv/shared", "lab", []),
    ],
)
def test_notebooks_are_closed_to_other_accounts(ready, given, owner, whys):
    """What is elsewhere may be shared on purpose, so check.secrets names it."""
    model = ready("{}", root_dir=given)
    model.sections["jupyter"] |= {"root_dir": owner, "root_dir_mode": "755"}
    jupyter.configure(model.c)
    assert [why for why in model.whys if why.startswith("close")] == whys
    jupyter.configure(model.again())
    assert model.whys == []


def test_files_that_may_overrule_are_named(ready, capsys):
    """There is a warning about a jupyter_server_config.py next to ours."""
    model = ready()
    model.sections["jupyter"]["other.jupyter_server_config.py"] = "yes"
    jupyter.configure(model.c)
    assert "~/.jupyter/jupyter_server_config.py exists too" in capsys.readouterr().err


def test_a_new_password_replaces_the_hash(ready, monkeypatch, capsys):
    """jupyter.password writes the new hash and mentions the restart; repeated, it changes nothing."""
    model = ready()
    jupyter.configure(model.c)
    for whys in (["set JupyterLab's password"], []):
        model.again()
        model.sections["lab"]["api"] = "2.21.0"
        monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "brand new")
        password.password(model.c)
        assert model.whys == whys
    assert passwords.verify(config_of(model)["IdentityProvider"]["hashed_password"], "brand new")
    assert "lab.restart" in capsys.readouterr().out


def test_a_password_on_a_host_without_configuration_configures_it(ready, monkeypatch):
    """jupyter.password alone on a host is enough."""
    monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "brand new")
    model = ready()
    password.password(model.c)
    assert model.whys == MADE
    assert passwords.verify(config_of(model)["IdentityProvider"]["hashed_password"], "brand new")


def test_a_planned_password_is_not_stored(ready, monkeypatch):
    """In plan mode the laptop keeps the password that the host still has."""
    model = ready()
    jupyter.configure(model.c)
    old = secrets.load("homelab", "jupyter-password")
    model.dry = True
    model.again()
    monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "only planned")
    password.password(model.c)
    assert (
        model.planned == ["set JupyterLab's password"]
        and secrets.load("homelab", "jupyter-password") == old
    )


def test_a_password_that_cannot_be_written_is_not_stored(ready, monkeypatch):
    """When the host refuses the change, the laptop keeps the password that still holds."""
    model = ready()
    jupyter.configure(model.c)
    old = secrets.load("homelab", "jupyter-password")
    model.again()
    model.failing = {"jupyter_server_config": "No space left on device"}
    monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "never arrived")
    with pytest.raises(SetupError, match="no space left"):
        password.password(model.c)
    assert secrets.load("homelab", "jupyter-password") == old


def test_nobody_to_ask_is_told(ready):
    """Without a terminal and without the variable there is one line that names it."""
    model = ready()
    with pytest.raises(SetupError, match="set LABFAB_JUPYTER_PASSWORD"):
        password.password(model.c)


def test_a_rotation_restarts_as_lab_does(fake, monkeypatch, capsys):
    """The journal files the restart under lab, though nothing of stages/lab is called."""
    model = fake(python="venv")
    python.install(model.c)
    jupyter.configure(model.c)
    model.again()
    model.sections["lab"] |= {"session": "yes", "owner": "lab", "pid": "4711"}
    model.answers = [(r"\[activity\]", Result(0, "[activity]\n", ""))]
    monkeypatch.setattr(password, "prove", lambda *values: None)
    password.password(model.c, rotate=True, yes=True)
    done = [(write.stage, write.why) for write in model.writes]
    assert done == [
        ("jupyter", "renew JupyterLab's password and token"),
        ("lab", "stop JupyterLab"),
        ("lab", "install tmux"),
        ("lab", "keep lab's programs running after logout"),
        ("lab", "start JupyterLab"),
    ]
    said, kept = capsys.readouterr().out, secrets.path_of("homelab", "jupyter-password")
    assert f"the new password is in {kept}" in said and kept.read_text().strip() not in said
    monkeypatch.setattr("labfab.console.terminal", lambda: True)
    password.show(model.c, Settings.of(model.c), secrets.Secret("Dachs-9-Hain"))
    assert f"Dachs-9-Hain  (kept in {kept})" in capsys.readouterr().out


def test_the_hash_task_prints_a_hash_only(alone, monkeypatch, capsys):
    """jupyter.hash needs no host, and what it prints is a hash of what was given."""
    from invoke import Config, Context

    monkeypatch.setattr(passwords, "JUPYTER", {"memory_cost": 8, "time_cost": 1, "parallelism": 1})
    monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "given")
    password.hash_(Context(Config()))
    said = capsys.readouterr().out.strip()
    assert passwords.verify(said, "given") and "given" not in said


def test_a_socket_takes_the_place_of_the_port_and_gives_it_back(ready):
    """Jupyter refuses to start with both; a user's own options of kernels stay."""
    there = {
        "ServerApp": {"port": 9999, "ip": "127.0.0.1"},
        "KernelManager": {"shutdown_wait_time": 9},
    }
    model = ready(json.dumps(there), listen="socket")
    jupyter.configure(model.c)
    server, kernels = config_of(model)["ServerApp"], config_of(model)["KernelManager"]
    assert (
        server["sock"] == "/home/lab/.jupyter/lab.sock"
        and server["sock_mode"] == "0600"
        and not {"ip", "port"} & set(server)
    )
    assert kernels == {"shutdown_wait_time": 9, "transport": "ipc"}
    model.lab["listen"] = "tcp"
    jupyter.configure(model.again())
    server, kernels = config_of(model)["ServerApp"], config_of(model)["KernelManager"]
    assert (server["ip"], server["port"]) == ("127.0.0.1", 9999) and not {
        "sock",
        "sock_mode",
    } & set(server)
    assert kernels == {"shutdown_wait_time": 9, "transport": "ipc"}


def test_kernels_never_talk_over_tcp(ready):
    """Neither a configuration that says so nor a setting makes them readable to other accounts."""
    model = ready(json.dumps({"KernelManager": {"transport": "tcp"}}))
    jupyter.configure(model.c)
    assert config_of(model)["KernelManager"] == {"transport": "ipc"}
    model.lab["jupyter_options"] = {"KernelManager": {"transport": "tcp"}}
    with pytest.raises(SetupError, match="every account of the host could read what kernels"):
        jupyter.configure(model.again())


def test_a_home_must_leave_room_for_the_sockets_of_kernels(ready):
    """Jupyter's runtime folder moves to a shorter path; a home beyond that is refused."""
    model = ready(user="a" * 32)
    jupyter.configure(model.c)
    account = facts(model.c).accounts["a" * 32]
    assert len(f"{account.runtime}{KERNEL_SOCKET}") <= 107
    assert facts(model.c).accounts["root"].runtime == ""
    assert f'JUPYTER_RUNTIME_DIR="$HOME/{SHORT_RUNTIME}"' in loader.shared("start_in_tmux")
    assert f"${{#HOME}} -le {USUAL_HOME} " in loader.shared("start_in_tmux")
    model.sections["accounts"][f"{account.name}.home"] = f"/srv/homes/{account.name}"
    with pytest.raises(SetupError, match="a home of at most 39 characters"):
        jupyter.configure(model.again())


LONG, SHORT = "fourteen letters", "short"


@pytest.fixture
def given(monkeypatch):
    """Give a password for the next command line; None: none."""

    def give(model, value: str | None, **lab: str):
        secrets.TAKEN.clear()
        monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", value or "")
        model.lab |= lab
        return model.again()

    return give


@pytest.fixture
def public(ready):
    """A host that has the certificate for what it should publish."""

    def make(publish: str = "https", **lab):
        model = ready(publish=publish, names=["lab.example.org"], **lab)
        model.sections["https"] |= {"pair": "yes"}
        return model

    return make


def test_a_password_that_became_short_in_private_is_not_published(public, given):
    """Published, private with a short one, and published again: it is checked each time it changes."""
    model = public()
    jupyter.configure(given(model, LONG))
    jupyter.configure(given(model, SHORT, publish="tunnel"))
    for value in (None, SHORT):
        with pytest.raises(SetupError, match="at least 14 characters, and JupyterLab's is shorter"):
            jupyter.configure(given(model, value, publish="https"))
        assert model.writes == []
    jupyter.configure(given(model, LONG))
    assert passwords.verify(config_of(model)["IdentityProvider"]["hashed_password"], LONG)
    jupyter.configure(given(model, None))
    assert model.whys == []


def test_another_laptop_stays_quiet_as_long_as_the_password_is_the_one_that_was_seen(public, given):
    model = public()
    jupyter.configure(given(model, LONG))
    secrets.forget("homelab")
    jupyter.configure(given(model, None))
    assert model.whys == [] and len(model.told) == 1
    config = config_of(model)
    config["IdentityProvider"]["hashed_password"] = passwords.hash(LONG)  # by somebody on the host
    model.set_file("jupyter", "config", json.dumps(config), "600 lab")
    with pytest.raises(
        SetupError, match="JupyterLab's is not known here: give one in LABFAB_JUPYTER_PASSWORD"
    ):
        jupyter.configure(given(model, None))
    jupyter.configure(given(model, LONG))
    assert (
        model.whys == [WRITE] and config_of(model)["IdentityProvider"] == config["IdentityProvider"]
    )


def test_a_short_one_that_this_laptop_kept_is_not_published_either(public, given):
    """The host was reinstalled under the old alias."""
    secrets.store("homelab", "jupyter-password", SHORT)
    model = public()
    with pytest.raises(SetupError, match="JupyterLab's is shorter"):
        jupyter.configure(given(model, None))
    assert WRITE not in model.whys


def test_a_new_password_of_a_published_one_is_known_to_be_long(public, given):
    model = public()
    jupyter.configure(given(model, LONG))
    password.password(given(model, LONG + "!"))
    secrets.forget("homelab")
    jupyter.configure(given(model, None))
    assert model.whys == []


OUTWARD = {
    "local_hostnames",
    "allow_remote_access",
    "trust_xheaders",
    "certfile",
    "keyfile",
    "tornado_settings",
}


@pytest.mark.parametrize(
    "publish, then, left",
    [
        ("https", "tunnel", set()),
        ("apache", "tunnel", set()),
        ("apache", "https", OUTWARD - {"trust_xheaders"}),
        ("https", "apache", OUTWARD - {"certfile", "keyfile", "tornado_settings"}),
    ],
)
def test_what_one_way_to_publish_needed_does_not_stay_under_another(
    public, given, publish, then, left
):
    model = public(publish)
    jupyter.configure(given(model, LONG))
    jupyter.configure(given(model, None, publish=then))
    assert OUTWARD & config_of(model)["ServerApp"].keys() == left
    jupyter.configure(given(model, None))
    assert model.whys == []


def test_what_somebody_wrote_there_by_hand_or_in_the_settings_stays(public, given):
    model = public("apache", jupyter_options={"ServerApp": {"allow_remote_access": True}})
    jupyter.configure(given(model, LONG))
    config = config_of(model)
    config["ServerApp"]["local_hostnames"].append("mine.example.org")
    model.set_file("jupyter", "config", json.dumps(config), "600 lab")
    jupyter.configure(given(model, None, publish="tunnel"))
    server = config_of(model)["ServerApp"]
    assert (
        server["local_hostnames"][-1] == "mine.example.org"
        and server["allow_remote_access"]
        and "trust_xheaders" not in server
    )


def test_a_certificate_that_is_not_there_is_not_configured(ready, given):
    """JupyterLab could no longer start."""
    model = ready(publish="https", names=["lab.example.org"])
    with pytest.raises(SetupError, match="no certificate with its key yet: https.issue first"):
        jupyter.configure(given(model, LONG))
    assert model.file("jupyter", "config") == ""


LIMITS = "limit how often JupyterLab's login page can be tried"


@pytest.mark.parametrize("publish", ["https", "apache"])
def test_a_published_login_page_is_limited_as_long_as_it_is_published(public, given, publish):
    model = public(publish)
    model.sections["python"]["lab"] = "yes"
    jupyter.configure(given(model, LONG))
    made = model.wrote(LIMITS)
    assert (made.mode, made.user) == ("600", "lab")
    assert made.path == "/home/lab/miniforge3/etc/jupyter/jupyter_server_config.py"
    jupyter.configure(given(model, None))
    assert model.whys == []
    jupyter.configure(given(model, None, publish="tunnel"))
    assert model.whys == ["remove the limit of JupyterLab's login page", WRITE]
    assert "login.text" not in model.sections["jupyter"]


def test_a_foreign_configuration_of_the_environment_stays_and_is_named(public, given, capsys):
    model = public()
    model.sections["python"]["lab"] = "yes"
    model.set_file("jupyter", "login", "c.ServerApp.x = 1\n", "644 lab")
    jupyter.configure(given(model, LONG))
    assert LIMITS not in model.whys
    assert "nothing limits how often the login page can be tried" in capsys.readouterr().err


def test_an_old_hash_is_refused_where_everybody_may_try_it(public, given):
    """Even if its password is long; jupyter.password hashes the same one again."""
    old = f"sha1:abcdef:{hashlib.sha1(LONG.encode() + b'abcdef').hexdigest()}"
    secrets.store("homelab", "jupyter-password", LONG)
    model = public(publish="tunnel")
    jupyter.configure(given(model, LONG))
    config = config_of(model)
    config["IdentityProvider"]["hashed_password"] = old
    model.set_file("jupyter", "config", json.dumps(config), "600 lab")
    jupyter.configure(given(model, None))
    assert model.whys == []
    for value in (None, LONG):
        with pytest.raises(SetupError, match=r"has an old hash.*jupyter\.password"):
            jupyter.configure(given(model, value, publish="https"))
    password.password(given(model, LONG, publish="tunnel"))
    jupyter.configure(given(model, None, publish="https"))
    assert passwords.is_slow(config_of(model)["IdentityProvider"]["hashed_password"])
