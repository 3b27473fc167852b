"""Settings: from whichever place, typed, and reported with their place if they are wrong."""

import pytest
from fabric import Config, Connection
from invoke import Context

from labfab import settings
from labfab.errors import SetupError
from labfab.local_state import aliases, ssh_config
from labfab.settings import Settings, consistent, sources
from tests.fake import alone as alone_

alone = alone_


@pytest.fixture
def given(alone, monkeypatch):
    """Collect the settings from files, an environment and flags."""

    def collect(
        invoke="", fabric="", runtime="", env=None, collection=None, host="", **flags
    ) -> Settings:
        folder = alone / "project"
        for name, text in (
            ("invoke.yaml", invoke),
            ("fabric.yaml", fabric),
            ("recipe.yaml", runtime),
        ):
            data = text if isinstance(text, bytes) else text.encode()
            (folder / name).unlink(missing_ok=True)
            if data:
                (folder / name).write_bytes(data)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        config = Config(
            project_location=str(folder),
            runtime_path=str(folder / "recipe.yaml") if runtime else None,
        )
        config.load_project(), config.load_runtime(), config.load_collection(collection or {})
        return Settings.of(Connection(host, config=config) if host else Context(config), **flags)

    return collect


def lab(**values) -> str:
    return "lab:\n" + "".join(f"  {key}: {value}\n" for key, value in values.items())


def test_without_any_file_the_defaults_apply(given):
    """No file, no variable: the values of the class."""
    assert given() == Settings()


@pytest.mark.parametrize("count", range(1, 7))
def test_later_places_win(given, count):
    """invoke.yaml < collection < fabric.yaml < -f file < LABFAB_* < flag."""
    places = [
        ("invoke", lab(ssh_port=3001)),
        ("collection", {"lab": {"ssh_port": 3002}}),
        ("fabric", lab(ssh_port=3003)),
        ("runtime", lab(ssh_port=3004)),
        ("env", {"LABFAB_SSH_PORT": "3005"}),
        ("ssh_port", 3006),
    ]
    assert given(**dict(places[:count])).ssh_port == 3000 + count


def test_a_recipe_by_name_lies_between_files_and_variables(given, monkeypatch, alone):
    """LABFAB_RECIPE wins over fabric.yaml and loses to another LABFAB_*."""
    (alone / "recipes").mkdir()
    (alone / "recipes" / "droplet.yaml").write_text(lab(ssh_port=4001, alias="droplet"))
    monkeypatch.setattr(sources, "CONFIG", alone / "recipes")
    found = given(
        fabric=lab(ssh_port=3003, alias="box"),
        env={"LABFAB_RECIPE": "droplet", "LABFAB_ALIAS": "mine"},
    )
    assert (found.ssh_port, found.alias) == (4001, "mine")


@pytest.mark.parametrize("name", ["nowhere", "../recipes/droplet", "$(id)", "droplet.yaml"])
def test_an_unknown_recipe_is_reported_with_the_known_ones(given, monkeypatch, alone, name):
    """A misspelled name, or a path, lists the recipes."""
    (alone / "recipes").mkdir()
    (alone / "recipes" / "droplet.yaml").write_text(lab(ssh_port=4001))
    monkeypatch.setattr(sources, "CONFIG", alone / "recipes")
    with pytest.raises(
        SetupError, match="LABFAB_RECIPE: there is no recipe .*; there are: droplet"
    ):
        given(env={"LABFAB_RECIPE": name})


def test_places_are_merged_key_by_key(given):
    """A file that sets one key leaves those of weaker files."""
    found = given(
        invoke=lab(alias="box", user="ada"), fabric=lab(ssh_port=22), env={"LABFAB_PYTHON": "venv"}
    )
    assert (found.alias, found.user, found.ssh_port, found.python) == ("box", "ada", 22, "venv")


@pytest.mark.parametrize(
    "where, place",
    [
        ({"invoke": lab(sshport=22)}, "invoke.yaml"),
        ({"fabric": lab(sshport=22)}, "fabric.yaml"),
        ({"runtime": lab(sshport=22)}, "recipe.yaml"),
        ({"env": {"LABFAB_SSHPORT": "22"}}, "LABFAB_SSHPORT"),
    ],
)
def test_an_unknown_setting_is_named_with_its_place_and_the_likely_one(given, where, place):
    """The file or the variable, the key, and the setting that was probably meant."""
    with pytest.raises(
        SetupError, match=rf"{place}: unknown setting .*, did you mean .*ssh_port"
    ) as error:
        given(**where)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "where, place",
    [
        ({"invoke": lab(ssh_port=0)}, "invoke.yaml"),
        ({"fabric": lab(ssh_port=70000)}, "fabric.yaml"),
        ({"runtime": lab(ssh_port="[22]")}, "recipe.yaml"),
        ({"env": {"LABFAB_SSH_PORT": "twenty"}}, "LABFAB_SSH_PORT"),
        ({"env": {"LABFAB_SSH_PORT": ""}}, "LABFAB_SSH_PORT"),
        ({"ssh_port": -1}, "the command line"),
    ],
)
def test_a_bad_value_is_named_with_its_place(given, where, place):
    """The place, the key and the value."""
    with pytest.raises(SetupError, match=rf"{place}: ssh_port cannot be "):
        given(**where)


HOSTILE = [
    "a b; rm -rf /",
    "$(x)",
    "`x`",
    "root",
    "Root",
    "-rf",
    "",
    "ä",
    "a" * 33,
    "lab\n",
    "lab\nroot",
    "a'b",
    "a.b",
    "~",
    "../x",
    "1ab",
    "nobody",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("key", ["user", "lab_user"])
def test_a_hostile_account_name_is_refused(given, key, name):
    """Everything that a shell, useradd or a path could misread as more than a name."""
    if key == "lab_user" and name == "":
        return
    with pytest.raises(SetupError, match=f"the command line: {key} cannot be"):
        given(**{key: name})


@pytest.mark.parametrize(
    "key, value",
    [
        ("alias", "a b"),
        ("alias", "../x"),
        ("alias", "-oProxyCommand=x"),
        ("alias", "*"),
        ("alias", "box\n"),
        ("alias", ""),
        ("packages", ["--index-url=http://evil"]),
        ("packages", ["a; rm -rf /"]),
        ("packages", ["pandas\n"]),
        ("packages", [""]),
        ("python", "conda"),
        ("python_version", "1;id"),
        ("python_version", "../x"),
        ("python_mirror", "ftp://x"),
        ("python_mirror", "http://x y"),
        ("package_index", "file:///etc"),
        ("package_index", "http://x'y"),
        ("package_index", "http://x\n"),
        ("host_key", "MD5:aa"),
        ("host_key", "SHA256:short"),
        ("sudo", "yes"),
        ("open_ports", [0]),
        ("open_ports", ["a"]),
        ("open_ports", [70000]),
        ("lab_port", 80),
        ("local_port", 22),
        ("connect_timeout", 0),
        ("update_max_age", -1),
        ("root_dir", ""),
        ("root_dir", "a\nb"),
        ("root_dir", "a\0b"),
        ("update", "perhaps"),
        ("jupyter_options", [1]),
        ("jupyter_options", {"ServerApp": 1}),
    ],
)
def test_a_hostile_or_senseless_value_is_refused(given, key, value):
    """Each setting accepts only sensible values; the error is one readable line."""
    with pytest.raises(SetupError, match=f"the command line: {key} cannot be") as error:
        given(**{key: value})
    assert "\n" not in str(error.value) and "regex" not in str(error.value)


@pytest.mark.parametrize("name", ["lab", "_x", "ada-1", "a" * 32, "a_b"])
def test_usual_account_names_are_accepted(given, name):
    """Names that useradd accepts by default."""
    assert given(user=name).user == name


@pytest.mark.parametrize(
    "text, value",
    [("false", False), ("0", False), ("no", None), ("true", True), ("1", True), ("", None)],
)
def test_true_and_false_from_the_environment(given, text, value):
    """The text false means false; text that is neither true nor false is refused."""
    if value is None:
        with pytest.raises(SetupError, match="LABFAB_REBOOT: reboot cannot be .*true or false"):
            given(env={"LABFAB_REBOOT": text})
    else:
        assert given(env={"LABFAB_REBOOT": text}).reboot is value


@pytest.mark.parametrize(
    "variable, text, value",
    [
        ("OPEN_PORTS", "80,443", [80, 443]),
        ("OPEN_PORTS", "[80, 443]", [80, 443]),
        ("OPEN_PORTS", "", []),
        ("OPEN_PORTS", " 80 , ", [80]),
        ("PACKAGES", "pandas, dask[array]<2027", ["pandas", "dask[array]<2027"]),
        ("PUBLIC_KEYS", '["a,b.pub", "c.pub"]', ["a,b.pub", "c.pub"]),
        ("JUPYTER_OPTIONS", '{"ServerApp": {"x": [1, null]}}', {"ServerApp": {"x": [1, None]}}),
        ("ROOT_DIR", "it's $HOME `x` Käse", "it's $HOME `x` Käse"),
        ("ROOT_DIR", "[a]", "[a]"),
    ],
)
def test_lists_and_dicts_from_the_environment(given, variable, text, value):
    """Commas or JSON for a list, JSON for a mapping, all other text as it is."""
    assert getattr(given(env={f"LABFAB_{variable}": text}), variable.lower()) == value


@pytest.mark.parametrize(
    "variable, text",
    [
        ("OPEN_PORTS", "[80,"),
        ("JUPYTER_OPTIONS", "{x}"),
        ("JUPYTER_OPTIONS", "x"),
        ("OPEN_PORTS", "80;443"),
    ],
)
def test_broken_lists_name_the_variable(given, variable, text):
    """Text that is neither JSON nor a list is reported with the variable."""
    with pytest.raises(SetupError, match=f"LABFAB_{variable}"):
        given(env={f"LABFAB_{variable}": text})


def test_secrets_are_not_settings(given):
    """Passwords in the environment are neither settings nor errors."""
    secrets = {f"LABFAB_{name}_PASSWORD": "x" for name in ("LOGIN", "SUDO", "JUPYTER")}
    assert given(env=secrets) == Settings()


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "other: 1\n", "lab:\n", "lab: {}\n", "lab: null\n"]
)
def test_a_file_without_settings_is_no_error(given, text):
    """Empty files, comments and an empty section change nothing."""
    assert given(invoke=text) == Settings()


@pytest.mark.parametrize(
    "text, says",
    [
        ("lab: [1, 2]\n", "`lab:` must hold settings"),
        ("lab: text\n", "`lab:` must hold settings"),
        ("lab:\n\tssh_port: 22\n", "cannot be read"),
        ("lab: {ssh_port: 22\n", "cannot be read"),
        ("- a\n- b\n", "must hold settings|cannot be read"),
        ("just text\n", "must hold settings|cannot be read"),
        (b"lab:\n  user: \xff\xfe\n", "cannot be read"),
        (b"lab:\n  user: \x00\n", "cannot be read"),
        ("lab: !!python/object/apply:os.system [id]\n", "cannot be read"),
        ("lab:\n  1: 2\n", "unknown setting"),
        ("lab:\n  open_ports: 80\n", "open_ports cannot be 80"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_named(given, text, says):
    """Tabs, lists, missing braces, other encodings, objects: one line with the file's name."""
    with pytest.raises(SetupError, match=f"invoke.yaml.*({says})") as error:
        given(invoke=text)
    assert "\n" not in str(error.value)


def test_a_missing_file_after_f_is_named(alone):
    """Invoke ignores it silently; labfab reports it."""
    config = Config(runtime_path="nowhere.yaml", lazy=True)
    with pytest.raises(SetupError, match="-f nowhere.yaml: there is no such file"):
        Settings.of(Context(config))


@pytest.mark.parametrize(
    "values, says",
    [
        ({"user": "ada", "lab_user": "ada"}, "lab_user must differ from user"),
        ({"ssh_port": 9999}, "must stay private"),
        ({"open_ports": [9999]}, "must stay private"),
        ({"python": "anaconda"}, "accept_anaconda_terms: true"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(given, values, says):
    """Each is right alone, but they are wrong together."""
    with pytest.raises(SetupError, match=says):
        given(**values)


def test_a_flag_that_was_not_given_does_not_count(given):
    """None means not given, False means no."""
    assert given(invoke=lab(reboot="true"), reboot=None).reboot is True
    assert given(invoke=lab(reboot="true"), reboot=False).reboot is False


def test_every_setting_is_described_and_its_default_is_valid():
    """Each has a sentence for the documentation and a default that passes its own check."""
    for name, hint in settings.types().items():
        assert any(getattr(meta, "description", None) for meta in hint.__metadata__), name
        assert settings.convert(name, getattr(Settings(), name), "default") == getattr(
            Settings(), name
        )


def test_settings_cannot_be_changed_by_a_stage():
    """The record is frozen."""
    with pytest.raises(AttributeError):
        Settings().user = "other"


def test_a_socket_is_for_the_tunnel(given):
    """A lab that could not be reached is refused before a host is contacted."""
    for more in ({}, {"lab_user": "me"}):
        assert given(invoke=lab(listen="socket", **more)).lab_socket == ".jupyter/lab.sock"
    assert not given().lab_socket
    with pytest.raises(SetupError, match="through the tunnel only"):
        given(invoke=lab(listen="socket", publish="https"))


FLEET = """\
lab:
  ssh_port: 3001
  hosts:
    box: {ssh_port: 3003}
    "b*": {ssh_port: 3002, user: ada}
    203.0.113.7:
      python: venv
    empty:
"""


@pytest.mark.parametrize(
    "host, port, user, python",
    [
        ("box", 3003, "ada", "miniforge"),
        ("root@box:22", 3003, "ada", "miniforge"),
        ("bob", 3002, "ada", "miniforge"),
        ("other", 3001, "lab", "miniforge"),
        ("root@203.0.113.7", 3001, "lab", "venv"),
        ("empty", 3001, "lab", "miniforge"),
    ],
)
def test_a_host_may_have_its_own_settings(given, host, port, user, python):
    """By name or pattern; a name wins over a pattern, in any order."""
    found = given(invoke=FLEET, host=host)
    assert (found.ssh_port, found.user, found.python) == (port, user, python)


def test_a_host_has_the_same_settings_by_its_alias_and_by_its_address(given, alone):
    """The block in ~/.ssh/config says that both are one host."""
    ssh_config.write(
        alone / "home/.ssh/config",
        ssh_config.Alias("box", "203.0.113.9", "ada", 3003, former_logins="root@203.0.113.9:22"),
    )
    for host in ("box", "root@203.0.113.9", "ada@203.0.113.9:3003"):
        assert given(invoke=FLEET, host=host).ssh_port == 3003, host
    assert given(invoke=FLEET, host="eve@203.0.113.9").ssh_port == 3001


def test_without_a_host_the_alias_says_which_is_meant(given, monkeypatch):
    """`fab lab.open` has no -H."""
    assert given(invoke=FLEET).ssh_port == 3001
    assert given(invoke=FLEET + "  alias: box\n").ssh_port == 3003
    monkeypatch.setenv("LABFAB_ALIAS", "bob")
    assert given(invoke=FLEET).ssh_port == 3002


@pytest.mark.parametrize("count", range(1, 6))
def test_settings_of_one_host_win_over_those_of_all(given, count):
    """All general settings < hosts: in invoke.yaml < fabric.yaml < -f file < LABFAB_* < flag."""
    own = "lab:\n  ssh_port: {0}\n  hosts:\n    box:\n      ssh_port: {1}\n"
    places = [
        ("invoke", own.format(2001, 3001)),
        ("fabric", own.format(2002, 3002)),
        ("runtime", own.format(2003, 3003)),
        ("env", {"LABFAB_SSH_PORT": "3004"}),
        ("ssh_port", 3005),
    ]
    assert given(**dict(places[:count]), host="box").ssh_port == 3000 + count
    assert given(invoke=places[0][1], runtime=lab(ssh_port=4000), host="box").ssh_port == (
        3001 if count < 4 else 3004
    )


@pytest.mark.parametrize(
    "section, says",
    [
        (
            "box: {sshport: 22}",
            "invoke.yaml, hosts: box: unknown setting 'sshport', did you mean 'ssh_port'",
        ),
        ("'b*': {ssh_port: 0}", r"invoke.yaml, hosts: b\*: ssh_port cannot be 0"),
        # This is not the host of the run.
        ("'*.far.example': {user: root}", r"hosts: \*\.far\.example: user cannot be 'root'"),
        ("box: {parallel: 3}", "hosts: box: parallel applies to a whole run"),
        ("box: 3", "`hosts:` must hold names or patterns"),
        ("[box]", "`hosts:` must hold names or patterns"),
    ],
)
def test_an_error_in_a_host_s_settings_is_reported_with_file_and_pattern(given, section, says):
    """For every host of the file, not only those of this run."""
    with pytest.raises(SetupError, match=says) as error:
        given(invoke=f"lab:\n  hosts:\n    {section}\n", host="box")
    assert "\n" not in str(error.value)


def test_a_file_that_changes_is_read_again(given):
    """The stages of a run share one reading of the file as long as it does not change."""
    assert [
        given(invoke=FLEET.replace("3003", port), host="box").ssh_port
        for port in ("3003", "3013", "3023")
    ] == [3003, 3013, 3023]


MIRROR = "http://mirror.test/conda"


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"python_mirror": MIRROR}, ""),  # the pinned release has its SHA-256 here
        ({"python_mirror": MIRROR, "python_version": "1.2.3-4"}, "python_mirror"),
        (
            {"python_mirror": MIRROR, "python_version": "1.2.3-4", "python_checksum": "ab" * 32},
            "",
        ),
        ({"python_mirror": "https://mirror.test", "python_version": "1.2.3-4"}, ""),
        ({"package_index": "http://mirror.test/simple"}, "package_index"),
        ({"package_index": "http://127.0.0.1:3141/simple"}, "package_index"),
        ({"package_index": "http://mirror.test/simple", "accept_http_index": True}, ""),
        ({"package_index": "https://mirror.test/simple"}, ""),
    ],
)
def test_a_mirror_without_tls_is_refused_unless_a_pin_protects(given, refused):
    """The checksum that such a mirror would give comes the same way, so it counts for nothing."""
    if not refused:
        consistent(Settings(**given))
        return
    with pytest.raises(SetupError, match=f"^{refused}: anybody on the way can change .*https://"):
        consistent(Settings(**given))


# Recipes that set no lab_user at first ---------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["apache", "https", "droplet", "letsencrypt"])
def test_a_host_that_was_set_up_with_one_account_keeps_it(given, alone, monkeypatch, recipe):
    """The recipe gives a new host two accounts; yours may do so on purpose."""
    env = {"LABFAB_RECIPE": recipe, "LABFAB_ACCEPT_ANACONDA_TERMS": "true", "LABFAB_ALIAS": "box"}
    assert given(env=env, host="root@203.0.113.9").lab_user == "jupyter"
    ssh_config.write(
        alone / "home/.ssh/config", ssh_config.Alias("box", "203.0.113.9", "lab", 2222)
    )
    for host in ("box", "lab@203.0.113.9:2222", ""):
        assert given(env=env, host=host).lab_user == ""
    assert given(env=env | {"LABFAB_LAB_USER": "own"}, host="box").lab_user == "own"
    monkeypatch.delenv("LABFAB_LAB_USER")
    note = aliases.note_of_lab_user("box")
    note.parent.mkdir(parents=True)
    note.write_text("jupyter\n")
    assert given(env=env, host="box").lab_user == "jupyter"


def test_a_recipe_that_always_had_two_accounts_keeps_them(given, alone):
    ssh_config.write(
        alone / "home/.ssh/config", ssh_config.Alias("macmini", "203.0.113.9", "lab", 2222)
    )
    assert given(env={"LABFAB_RECIPE": "mac-mini"}, host="macmini").lab_user == "remote"


@pytest.mark.parametrize(
    "layer", [{}, {"runtime": lab(ssh_port=292)}, {"env": {"LABFAB_SSH_PORT": "292"}}]
)
def test_whether_a_setting_was_chosen_is_known_even_if_it_is_the_default(given, alone, layer):
    given(**layer)
    config = Config(
        project_location=str(alone / "project"),
        runtime_path=str(alone / "project/recipe.yaml") if "runtime" in layer else None,
    )
    config.load_project(), config.load_runtime()
    assert Settings.sets(Context(config), "ssh_port") is bool(layer)
