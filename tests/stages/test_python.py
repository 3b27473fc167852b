"""Python and JupyterLab, from four sources, never half-made and never unverified."""

import re
import shlex
import subprocess
import time

import pytest

from labfab.errors import SetupError
from labfab.host.changes import fill
from labfab.host.shell import Result
from labfab.on_host import loader
from labfab.platforms import debian, locks, minimum_versions
from labfab.platforms.installers import PINS
from labfab.stages import python, user
from tests.local_sh import opened, stand_ins

RELEASE, DIGEST = PINS["miniforge", "Linux-x86_64"]
FILE = f"Miniforge3-{RELEASE}-Linux-x86_64.sh"
VENV = [
    "install python3, python3-pip-whl",
    "make the environment ~/jupyter-venv",
    "install JupyterLab",
]
CONDA = [f"download {FILE}", f"unpack {FILE} to ~/miniforge3", "install JupyterLab"]


@pytest.fixture
def ready(fake):
    """A host with its accounts, where downloads arrive whole."""

    def make(digests=("", DIGEST), **settings):
        model = fake(**settings)
        user.add(model.c)
        model.again()
        model.install("curl")
        answers = iter(digests)
        model.answers = [
            ("sha256sum", lambda: sum_of(next(answers))),
            ("rm -f", lambda: Result(0, "", "")),
        ]
        return model

    return make


def sum_of(digest: str) -> Result:
    return Result(0, f"{digest}  file\n", "") if digest else Result(1, "", "")


def test_a_venv_is_made_once(ready):
    """Everything is done as the account that runs Lab, and the second run makes no change."""
    model = ready(python="venv")
    python.install(model.c)
    assert model.whys == VENV
    assert [write.user for write in model.writes] == ["root", "lab", "lab"]
    assert "--require-hashes" in model.writes[1].command
    assert model.writes[2].stdin == locks.text("jupyterlab")
    python.install(model.again())
    assert model.whys == []


def test_it_belongs_to_the_account_that_runs_lab(ready):
    """With a lab_user the environment is in that account's home."""
    model = ready(python="venv", lab_user="jupyter")
    python.install(model.c)
    assert model.writes[1].user == "jupyter"


def test_a_first_lab_can_be_the_newest(ready):
    """locked: false is for a mirror that lacks our versions, or wheels that somebody rebuilt."""
    model = ready(python="venv", locked=False)
    python.install(model.c)
    assert model.whys == VENV
    assert "'jupyter_server>=2.21'" in model.writes[2].command and not model.writes[2].stdin
    assert "--require-hashes ''" not in model.writes[1].command


@pytest.mark.parametrize(
    "lab, locked", [("4.4.10", True), ("4.6.6", True), ("99.0.0", False), ("garbage", True)]
)
def test_half_an_installation_is_repaired_from_the_lock(ready, lab, locked):
    """Unless lab.update has brought a newer JupyterLab than the lock has."""
    model = ready(python="venv")
    python.install(model.c)
    model.again()
    model.sections["python"] |= {"half": "yes", "version.jupyterlab": lab}
    python.install(model.c)
    (write,) = model.writes
    assert "--reinstall" in write.command and bool(write.stdin) is locked


@pytest.mark.parametrize("name", ["uv", "jupyterlab"])
def test_a_lock_pins_all_that_it_names_and_is_safe(name):
    """Each requirement has a version and a SHA-256, and JupyterLab's are above the floors."""
    blocks = re.split(r"(?m)^(?=\S)", locks.text(name))[1:]
    for block in blocks:
        assert re.match(r"[a-z0-9-]+==[\w.]+( ; .*)? \\\n", block), block
        hashes = block.splitlines()[1:]
        assert hashes and all(re.match(r" {4}--hash=sha256:[0-9a-f]{64}", one) for one in hashes)
    if name == "jupyterlab":
        assert not minimum_versions.below(
            {one.replace("-", "_"): locks.version(one) for one in ("jupyterlab", "jupyter-server")}
        )


@pytest.mark.parametrize(
    "index", ["https://mirror.test/simple", "https://mirror.test/a%20b/$(id)/`x`;y&z|w"]
)
def test_a_package_index_arrives_as_it_is(ready, index):
    """pip and uv get the mirror, and nothing in its address becomes shell text."""
    model = ready(python="venv", package_index=index)
    python.install(model.c)
    for write in model.writes[1:]:
        words = shlex.split(re.search(r"(?ms)^set -- (.*?)\n#", write.command)[1])
        assert words[words.index("--index-url") + 1] == index


@pytest.mark.parametrize(
    "step, says",
    [
        ("make_venv", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n  Got  ab12\n"),
        ("install_packages", "error: Hash mismatch for `jupyterlab==4.6.6`\nExpected: …\n"),
    ],
)
def test_a_package_that_is_not_ours_is_named(ready, step, says):
    """pip and uv end with the checksum, which tells nobody anything."""
    model = ready(python="venv")
    model.failing[f"{step}\\(\\)"] = says
    with pytest.raises(SetupError, match="does not have the SHA-256 of labfab's lock"):
        python.install(model.c)
    model.failing[f"{step}\\(\\)"] = "no route to host\n"
    with pytest.raises(SetupError, match="no route to host"):
        python.install(model.again())


@pytest.mark.parametrize("kind", ["venv", "miniforge"])
def test_pip_is_told_of_an_index_without_tls(ready, kind):
    """pip ignores such an index unless it is told to trust its host; uv and conda are not."""
    given = {"package_index": "http://m.test:81/simple", "accept_http_index": True}
    model = ready(python=kind, packages=["pandas"], **given)
    python.install(model.c)
    told = [write for write in model.writes if "--trusted-host m.test" in write.command]
    assert [write.why for write in told] == (VENV[1:2] if kind == "venv" else ["install pandas"])


@pytest.mark.parametrize("kind", ["venv", "miniforge"])
@pytest.mark.parametrize(
    "server, lab, raised",
    [
        ("2.20.9", "4.6.6", ["jupyter_server>=2.21"]),
        ("2.21.0a0", "4.6.6", ["jupyter_server>=2.21"]),
        ("2.21.0", "4.6.4", []),
        ("3.0.0", "4.5.11", []),
        ("2.21.1", "4.5.10", ["jupyterlab>=4.6.4"]),
        ("2.21.1", "4.6.3", ["jupyterlab>=4.6.4"]),
        ("2.17.0", "4.4.10", ["jupyterlab>=4.6.4", "jupyter_server>=2.21"]),
        ("", "4.6.6", ["jupyter_server>=2.21"]),
    ],
)
def test_an_old_lab_with_holes_is_raised(ready, kind, server, lab, raised):
    """What is below its floor is replaced, and nothing else."""
    model = ready(python=kind)
    python.install(model.c)
    model.again()
    model.sections["python"] |= {"version.jupyter_server": server, "version.jupyterlab": lab}
    assert python.is_ready(model.c) is (not raised)
    python.install(model.c)
    assert model.whys == (["install JupyterLab"] if raised else [])
    if raised:
        lines = [one for one in model.writes[0].command.splitlines() if ">=" in one]
        line = lines[0]
        assert [word for word in shlex.split(line) if ">=" in word] == raised
        assert shlex.split(line)[2] == ("uv" if kind == "venv" else "pip")


def test_missing_packages_are_added(ready):
    """Only missing packages are installed, however spelled; extras and versions stay quoted."""
    model = ready(
        python="venv",
        packages=["pandas", "scikit-learn>=1.5", "PyYAML", "ruamel.yaml", "dask[array]<2027"],
    )
    python.install(model.c)
    made = model.wrote("install pandas, scikit-learn>=1.5, PyYAML, ruamel.yaml, dask[array]<2027")
    assert "'scikit-learn>=1.5'" in made.command and "'dask[array]<2027'" in made.command
    have = model.sections["python"]
    # As their .dist-info folders spell them.
    have["version.PyYAML"], have["version.ruamel.yaml"] = (
        have.pop("version.pyyaml"),
        have.pop("version.ruamel_yaml"),
    )
    python.install(model.again())
    assert model.whys == []


def test_miniforge_is_verified_before_it_runs(ready):
    """Download, compare, unpack with -b -u under a mark; then conda installs JupyterLab."""
    model = ready()
    python.install(model.c)
    assert model.whys == CONDA
    assert "-C -" in model.writes[0].command and f"{FILE}.part" in model.writes[0].command
    assert model.writes[1].command.startswith(
        "cd ~/.cache/labfab && touch miniforge3.unfinished && bash "
    )
    python.install(model.again())
    assert model.whys == []


@pytest.mark.parametrize(
    "mirror, allowed", [("https://mirror.test/conda", "=https"), ("http://m.test", "=http,https")]
)
def test_tls_is_never_left_on_the_way(ready, mirror, allowed):
    """A redirect from https to http is refused by curl, for the file and for its checksum."""
    model = ready(python_mirror=mirror)
    python.install(model.c)
    words = shlex.split(model.writes[0].command)
    for option in ("--proto", "--proto-redir"):
        assert words[words.index(option) + 1] == allowed


def test_a_verified_download_is_used_again(ready):
    """What an interrupted run has fetched is not fetched twice."""
    model = ready(digests=[DIGEST])
    python.install(model.c)
    assert model.whys == CONDA[1:]


def test_an_interrupted_installer_is_repaired(ready):
    """The mark of an unfinished run makes the installer run again."""
    model = ready(digests=[DIGEST])
    model.sections["python"] |= {
        "python": "yes",
        "conda": "yes",
        "unfinished": "yes",
        "prefix": "/home/lab/miniforge3",
    }
    python.install(model.c)
    assert model.whys == CONDA[1:]


def test_a_wrong_checksum_never_runs(ready):
    """A file that is not the published one is deleted and nothing is unpacked."""
    model = ready(digests=["", "00" * 32])
    with pytest.raises(SetupError, match="does not have the published SHA-256 and was deleted"):
        python.install(model.c)
    assert model.whys == CONDA[:1] and model.questions[-1].startswith("rm -f")


def test_a_missing_installer_names_the_settings(ready):
    """A 404 names the address and the two settings to check."""
    model = ready()
    model.failing = {"curl": "curl: (22) The requested URL returned error: 404"}
    with pytest.raises(
        SetupError, match="there is no such file at https://.*: set python_version or python_mirror"
    ):
        python.install(model.c)


def test_a_publisher_without_a_checksum_is_not_trusted(ready):
    """Without a checksum from the publisher, another release is not downloaded."""
    model = ready(python_version="27.1.0-0")
    model.answers = [("27.1.0-0-Linux-x86_64.sh.sha256", Result(1, "", "curl: (22) error: 404"))]
    with pytest.raises(SetupError, match="has no checksum of Miniforge3-27.1.0-0"):
        python.install(model.c)
    assert model.writes == []


def test_anacondas_terms_come_first(fake):
    """Without the setting that accepts them nothing happens."""
    model = fake(python="anaconda")
    with pytest.raises(SetupError, match="accept_anaconda_terms: true"):
        python.install(model.c)
    assert model.writes == []


@pytest.mark.parametrize("kind", ["venv", "miniforge"])
def test_login_shells_are_set_up_once(ready, kind):
    """init-shell first installs what is missing, and adds its line once."""
    model = ready(python=kind)
    python.init_shell(model.c)
    assert model.whys[-1] in (
        "put ~/jupyter-venv/bin first in login shells",
        "set up conda in login shells",
    )
    python.init_shell(model.again())
    assert model.whys == []


# The scripts --------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Run shell text as the host does, in a home of its own: run(text, *args, program="script")."""

    def go(text: str, *args: str, **programs: str) -> subprocess.CompletedProcess:
        stand_ins(tmp_path / "bin", programs)
        env = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        command = ["sh", "-c", fill(text, *args)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return go


MARKED = python.UNDER_MARK + "under_mark venv.packages work %s\n"
WORK = '[ -e ~/.cache/labfab/venv.packages ] && echo "$1" && [ "$1" = well ]'


@pytest.mark.parametrize("how, left", [("well", []), ("badly", ["venv.packages"])])
def test_the_mark_of_unfinished_work_goes_when_it_is_done(run, tmp_path, how, left):
    """It is there while the work goes on, and stays if that fails."""
    done = run(MARKED, how, work=WORK)
    assert (done.stdout, done.returncode) == (f"{how}\n", len(left))
    assert [path.name for path in (tmp_path / ".cache/labfab").iterdir()] == left


@pytest.mark.parametrize("free, says", [(51200, "No space left on device\n"), (51201, "")])
def test_a_full_disk_is_named_if_the_work_fails(run, free, says):
    """venv and uv swallow the reason; SetupError knows the words."""
    done = run(MARKED, "badly", work=WORK, df=f"echo head; echo /dev/x 9 9 {free} 1% /")
    assert (done.stderr, done.returncode) == (says, 1)


VENV_PYTHON = """\
case $* in
  *"-m venv"*) mkdir -p ~/jupyter-venv/bin && cp "$0" ~/jupyter-venv/bin/python ;;
  *zipfile*) mkdir -p ~/.cache/labfab/pip/unpacked ;;
  *--require-hashes*) [ "$(cat ~/.cache/labfab/pip/uv.txt)" = "uv==1 --hash=x" ] || exit 1 ;;
esac
echo "${0##*/} $*" >>~/called"""


def make_venv(run, tmp_path, wheel: str, *options: str) -> list[str]:
    """Run make_venv.sh, and return the calls of Python in it, with ~ for the home."""
    text = f"wheel_of_pip() {{ {wheel}; }}\n" + python.UNDER_MARK
    clear, *index = options
    text += loader.as_command("make_venv", 5 + len(index))
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    given = (clear, "uv==1 --hash=x", "--require-hashes", *index)
    done = run(text, path, "jupyter-venv", *given, python3=VENV_PYTHON)
    called = (tmp_path / "called").read_text().replace(str(tmp_path), "~")
    return [*called.splitlines(), *done.stderr.splitlines(), str(done.returncode)]


@pytest.mark.parametrize("clear, index", [("", []), ("--clear", ["--index-url", "https://x.test"])])
def test_a_venv_gets_uv_from_the_unpacked_wheel_of_pip(run, tmp_path, clear, index):
    """Options and the package index arrive, and nothing is left in the cache."""
    unpacked, words = "~/.cache/labfab/pip/unpacked", "".join(f"{word} " for word in index)
    assert make_venv(run, tmp_path, "echo /w/pip.whl", clear, *index) == [
        " ".join(["python3 -m venv --without-pip", *clear.split(), "~/jupyter-venv"]),
        f"python3 -m zipfile -e /w/pip.whl {unpacked}",
        f"python -B {unpacked}/pip install -q --no-compile --disable-pip-version-check {words}"
        "--require-hashes -r ~/.cache/labfab/pip/uv.txt",
        "0",
    ]
    assert not [*(tmp_path / ".cache/labfab").iterdir()]


def test_without_a_wheel_of_pip_the_venv_stays_unfinished(run, tmp_path):
    assert make_venv(run, tmp_path, ":", "")[1:] == ["no wheel of pip is there", "1"]
    assert [one.name for one in (tmp_path / ".cache/labfab").iterdir()] == [
        "jupyter-venv.unfinished"
    ]


@pytest.mark.parametrize(
    "installer, program, words",
    [
        ("conda", "conda", "install -y -q -n base --override-channels -c conda-forge"),
        ("uv", "uv", "pip install -q --python BIN/python"),
        ("uv-locked", "uv", "pip install -q --python BIN/python --require-hashes -r -"),
        ("pip", "python", "-m pip install -q --disable-pip-version-check"),
    ],
)
def test_each_installer_gets_its_options_and_the_packages(run, tmp_path, installer, program, words):
    """Requirements are words of their own, whatever is in them."""
    bin = tmp_path / "env/bin"
    bin.parent.mkdir()
    stand_ins(bin, {program: 'for word; do printf "%s|" "$word"; done'})
    text = python.UNDER_MARK + loader.as_command("install_packages", 4)
    done = run(text, installer, "env", "a[b]>=1", "$(id) *")
    expected = [*words.replace("BIN", str(bin)).split(), "a[b]>=1", "$(id) *"]
    assert done.stdout == "".join(f"{word}|" for word in expected)
    assert (done.stderr, done.returncode) == ("", 0)


FOUND = "pip-23-py3-none-any.whl"
APT = """\
[ "$(wc -l <"$HOME/asked")" -gt 2 ] || exit 100
echo fetched >>"$HOME/fetched"; : >python3-pip-whl_23_all.deb"""


def wait_for_lists(tmp_path, apt: str = APT, **stubs: str) -> str:
    """Run find_pip_wheel.sh in a home; return the wheel it found."""
    stubs |= {
        "apt-get": apt,
        "dpkg-deb": f"mkdir -p usr/share/python-wheels && : >usr/share/python-wheels/{FOUND}",
    }
    script = debian.FIND_PIP_WHEEL.replace("%%", "%")
    # This machine may have one.
    script = script.replace(" /usr/share/python-wheels/", " /nowhere/")
    with opened(tmp_path, **stubs) as sh:
        return sh.run(f"HOME={tmp_path}; export HOME; {script}").out.strip()


ASKED = 'echo "$*" >>"$HOME/asked"; [ "$(wc -l <"$HOME/asked")" -le 2 ]'


def test_the_wheel_of_pip_is_taken_once_apt_has_its_lists(tmp_path):
    """Wait while labfab's own apt update runs; ignore an update of anybody else."""
    found = wait_for_lists(tmp_path, pgrep=ASKED)
    assert found == f"{tmp_path}/.cache/labfab/pip/usr/share/python-wheels/{FOUND}"
    pattern = (tmp_path / "asked").read_text().splitlines()[0].removeprefix("-U 0 -f ")
    command = debian.UPDATE.partition("$(")[2].partition(" 2>&1")[0]
    ours = command[command.index("apt-get") :].replace("\\\n ", "")
    assert re.search(pattern, ours) and not re.search(pattern, "apt-get -qq -y update")
    assert (tmp_path / "fetched").read_text() == "fetched\n"


def test_a_command_line_that_looks_like_apts_delays_nothing(tmp_path):
    """Anybody can choose one; only root's programs are asked about."""
    apt = "echo fetched >>$HOME/fetched; : >python3-pip-whl_23_all.deb"
    anybody = 'case $* in *"-U 0 "*) exit 1 ;; esac; echo 4711'
    began = time.monotonic()
    assert wait_for_lists(tmp_path, apt, pgrep=anybody).endswith(FOUND)
    assert time.monotonic() - began < 5
