"""Browser: opens JupyterLab, already logged in.

Owns: a page in a folder that only you can enter, for a minute at most.
Undo: the page is removed once it has been read

Constraints:
- The token appears in no argument, address, history or log: a page that only you can read posts it
  to Jupyter's login.
- A browser installed as a snap cannot read hidden folders, so its page is put in the snap's folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

from ..errors import SetupError
from ..local_state import files, secrets
from . import show_page

NAME = "labfab-open-"
# Jupyter accepts a form from another site if it has the token, and takes the token in place of a
# password.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<title>JupyterLab</title></head>
<body onload="document.forms[0].submit()">
<form method="post" action="%s">
<input type="hidden" name="token" value="%s"><input type="hidden" name="password" value="%s">
<noscript><button>Open JupyterLab</button></noscript>
</form>
</body>
</html>
"""


def can_open() -> bool:
    """Return whether a browser can be opened here: not over SSH, not in a container."""
    if os.environ.get("BROWSER"):
        return True
    if sys.platform == "darwin":
        return not os.environ.get("SSH_CONNECTION")
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    import webbrowser

    try:
        return bool(webbrowser.get())
    except webbrowser.Error:
        return False


def log_in(alias: str, url: str, token: str) -> None:
    """Open JupyterLab in the browser, logged in with its token.

    url: the root of the server, with a slash at its end.
    """
    for name in secrets.NAMES:  # the browser inherits the environment
        secrets.take_from_environment(name)
    page = write(folder(alias), rendered(url, token))
    command = [sys.executable, "-I", show_page.__file__, str(page)]
    nowhere = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


def rendered(url: str, token: str) -> str:
    """Return the page that logs in at *url*, the root of the server, and continues to the Lab."""
    import html

    after = quote(urlsplit(url).path + "lab", safe="")
    secret = html.escape(token)
    return PAGE % (html.escape(f"{url}login?next={after}"), secret, secret)


def write(base: Path, text: str) -> Path:
    """Write a page into a new folder below *base*; remove pages that a crash has left there."""
    try:
        for left in base.glob(f"{NAME}*/*.html"):
            if time.time() - left.stat().st_mtime > show_page.PATIENCE:
                show_page.remove(left)
        page = Path(tempfile.mkdtemp(prefix=NAME, dir=base)) / "login.html"
        files.create(page, text.encode())
    except OSError as error:
        raise SetupError(f"cannot write into {base}: {error.strerror}") from None
    return page


def folder(alias: str) -> Path:
    """Choose the folder for the page: the lab's own, or one that the browser's snap can read."""
    name = default().partition("_")[0]
    own = Path.home() / "snap" / name / "common"
    return own if name and own.is_dir() else files.make_private(files.config_folder(alias))


def default() -> str:
    """Return the desktop's browser, such as firefox_firefox.desktop; empty if unknown."""
    if os.environ.get("BROWSER") or not (Path.home() / "snap").is_dir():
        return ""
    argv = ["xdg-settings", "get", "default-web-browser"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
