"""The undo functions are a file format: journals on hosts name them."""

import re

import pytest

from labfab.on_host import loader

SHARED = (
    "account certificate conda_shell file folder handed jobs lines mode next_key restore session "
    "tree"
)
LINUX = (
    "apache_service apache_site certbot_packages certbot_snap firewall firewall_off group lineage "
    "linger packages password service timer_off"
)
MACOS = (
    "load_daemon others_shown power restore_daemon service set_access shown unload_daemon "
    "clear_places"
)


@pytest.mark.parametrize("kernel, words", [("Linux", LINUX), ("Darwin", MACOS)])
def test_no_word_of_an_old_journal_is_lost(kernel, words):
    """A function that was renamed or removed would leave the changes of older versions in place."""
    text = loader.words(kernel) + loader.script("undo", kernel)
    if kernel == "Linux":
        text += loader.shared("apache")
    known = set(re.findall(r"^([a-z_]+)\(\) ", text, re.MULTILINE))
    assert {*SHARED.split(), *words.split()} <= known
