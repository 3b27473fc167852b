"""The right installer for each machine, and never one without a checksum."""

import re
import time

import pytest

from labfab.errors import SetupError
from labfab.platforms.installers import BASES, BUILDS, PINS, PRODUCTS, checksum_in, installer

DIGEST = "ab" * 32


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("system, machine", BUILDS)
def test_every_kind_has_a_pin_for_every_platform(kind, system, machine):
    found = installer(kind, system.title(), machine)
    assert re.fullmatch(r"[0-9a-f]{64}", found.sha256)
    assert found.checksum_url is None
    assert found.url.startswith("https://") and found.url.endswith(".sh") and "%s" not in found.url


def test_no_two_pins_are_alike():
    assert len({digest for _, digest in PINS.values()}) == len(PINS)


def test_miniforge_on_a_small_board():
    found = installer("miniforge", "Linux", "aarch64")
    assert found.filename == f"Miniforge3-{found.version}-Linux-aarch64.sh"
    assert found.url == f"{BASES['miniforge'] % found.version}/{found.filename}"


def test_a_mac_says_arm64_and_darwin_but_the_file_says_macosx():
    assert installer("anaconda", "Darwin", "arm64").filename.endswith("-MacOSX-arm64.sh")


def test_intel_macs_get_the_last_release_made_for_them():
    assert installer("anaconda", "Darwin", "x86_64").version == "2025.06-1"


def test_a_foreign_miniforge_release_has_its_checksum_beside_it():
    found = installer("miniforge", "Linux", "x86_64", version="27.1.0-0")
    assert found.sha256 is None
    assert found.base_url.endswith("/27.1.0-0")
    assert found.checksum_url == found.url + ".sha256"


@pytest.mark.parametrize("kind", ["anaconda", "miniconda"])
def test_a_foreign_anaconda_release_has_its_checksum_in_the_index(kind):
    found = installer(kind, "Linux", "x86_64", version="2027.01-1")
    assert found.checksum_url == BASES[kind] + "/"


@pytest.mark.parametrize("kind", PRODUCTS)
def test_a_mirror_replaces_the_base_but_not_the_pinned_checksum(kind):
    found, official = (
        installer(kind, "Linux", "x86_64", mirror=m) for m in ("https://mirror.test/conda/", "")
    )
    assert found.url == "https://mirror.test/conda/" + official.filename
    assert found.sha256 == official.sha256


@pytest.mark.parametrize("kind", PRODUCTS)
def test_a_mirror_serves_the_checksum_of_a_foreign_release(kind):
    found = installer(kind, "Linux", "x86_64", version="1.2.3-4", mirror="http://203.0.113.5:8000")
    assert (
        found.checksum_url
        == f"http://203.0.113.5:8000/{PRODUCTS[kind]}-1.2.3-4-Linux-x86_64.sh.sha256"
    )


@pytest.mark.parametrize("version", ["", "1.2.3-4"])
def test_a_checksum_of_the_users_own_wins(version):
    """Nothing is fetched to learn what the file must be."""
    found = installer("miniforge", "Linux", "x86_64", version, "http://m.test", "AB" * 32)
    assert (found.sha256, found.checksum_url) == ("ab" * 32, None)


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"kind": "mambaforge"}, "set python to"),
        ({"machine": "riscv64"}, "venv"),
        ({"system": "FreeBSD"}, "FreeBSD"),
        ({"version": "1.0; rm -rf /"}, "python_version"),
        ({"version": "../../x"}, "python_version"),
        ({"mirror": "ftp://mirror.test"}, "python_mirror"),
        ({"mirror": "https://mirror.test/$(id)"}, "python_mirror"),
    ],
)
def test_what_nobody_publishes_is_one_line(wrong, says):
    asked = {"kind": "miniforge", "system": "Linux", "machine": "x86_64"} | wrong
    with pytest.raises(SetupError) as error:
        installer(**asked)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [f"{DIGEST}  ./X-1.sh\n", f"{DIGEST} *X-1.sh", f"{DIGEST}\n", f"{DIGEST.upper()}  X-1.sh\n"],
)
def test_a_checksum_file_is_read(text):
    assert checksum_in(text, "X-1.sh") == DIGEST


def test_the_index_page_is_read_row_by_row():
    row = '<tr><td><a href="%s">%s</a></td>\n<td class="s">1.0G</td>\n<td>2026-07-01</td>\n<td>%s</td></tr>'
    page = "\n".join(
        row % (name, name, digest)
        for name, digest in [("A.sh", "c" * 64), ("X-1.sh", DIGEST), ("Z.sh", "d" * 64)]
    )
    assert checksum_in(page, "X-1.sh") == DIGEST


@pytest.mark.parametrize(
    "text", [">X-1.sh</a>" * 200_000, "> " * 1_000_000, (">X-1.sh</a>" + " x" * 2000) * 3000]
)
def test_a_hostile_page_does_not_take_hours(text):
    began = time.process_time()
    with pytest.raises(SetupError, match="python_version"):
        checksum_in(text, "X-1.sh")
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>404</html>",
        f"{DIGEST}  ./Y-2.sh\n",
        DIGEST[:-1],
        f'<tr><td><a href="X-1.sh">X-1.sh</a></td><td></td></tr><tr><td><a href="Y">Y</a></td><td>{DIGEST}</td></tr>',
    ],
)
def test_another_files_checksum_is_never_taken(text):
    with pytest.raises(SetupError, match="python_version"):
        checksum_in(text, "X-1.sh")
