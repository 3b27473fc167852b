"""A real Chromium with a home of its own, and JupyterLab used in it as a person does: by what is seen, clicked and typed."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import dockerd
from .fab import Fab
from .places import CACHE, RigError, locked

PICTURES = CACHE / "screenshots"  # `inv screenshots` takes docs/*.png from there
TOOLS = {
    "chromium": "chromium",
    "certutil": "libnss3-tools",
}  # Chromium on Linux reads the authorities that certutil adds
WIDTH, HEIGHT = 1280, 800
SLOW = 60_000  # milliseconds; the first kernel on a small host takes its time
# The terminal is painted on a canvas. JupyterLab's own setting for screen readers writes it into the page as well.
SPEAK = """async (base) => {
    const token = document.cookie.match(/_xsrf=([^;]*)/)[1];
    const url = base + 'lab/api/settings/@jupyterlab/terminal-extension:plugin';
    const body = JSON.stringify({raw: JSON.stringify({screenReaderMode: true})});
    return (await fetch(url, {method: 'PUT', headers: {'X-XSRFToken': token}, body})).status;
}"""


def need_tools() -> None:
    """Have Chromium and certutil: root on Debian gets them by apt, others are told the command."""
    with locked("browser"):
        missing = sorted(package for tool, package in TOOLS.items() if not shutil.which(tool))
        if missing and not (os.geteuid() == 0 and dockerd.is_debian()):
            raise RigError(
                f"no real browser to test with: as root on Debian, apt-get install {' '.join(missing)}"
            )
        if missing:
            dockerd.install_packages(*missing)


@contextmanager
def opened(fab: Fab, resolve: dict[str, str] | None = None) -> Iterator:
    """Lend a page of a new Chromium in this home; *resolve*: names, also with a port, and where they lead."""
    from playwright.sync_api import sync_playwright

    rules = ", ".join(f"MAP {name} {place}" for name, place in (resolve or {}).items())
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(dir=fab.home) as profile:
        chromium = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=shutil.which("chromium"),
            env=fab.environment({}),
            chromium_sandbox=os.geteuid() != 0,
            viewport={"width": WIDTH, "height": HEIGHT},
            args=[f"--host-resolver-rules={rules}"] if rules else [],
        )
        chromium.set_default_timeout(SLOW)
        try:
            yield chromium.pages[0]
        except Exception:
            chromium.pages[0].screenshot(path=PICTURES / "when-it-failed.png")
            raise
        finally:
            chromium.close()


def refusal(page, url: str) -> str:
    """Open an address in a tab of its own and return the name of the error that Chromium shows instead, if it does."""
    from playwright.sync_api import Error

    tab = page.context.new_page()
    try:
        tab.goto(url)
    except Error as error:
        return re.search(r"net::(ERR_\w+)", str(error)).group(1)
    finally:
        tab.close()
    return ""


def command_line(page) -> str:
    """Ask Chromium how it was started."""
    page.goto("chrome://version")
    return page.locator("#command_line").inner_text()


class JupyterLab:
    """JupyterLab on a page of a browser; *url* is the address that labfab prints: …/lab."""

    def __init__(self, page, url: str):
        self.page = page
        self.url = url
        self.base = url.removesuffix("lab")

    def log_in(self, password: str) -> None:
        """Type the password where the address leads to, and wait for the launcher."""
        self.page.goto(f"{self.url}?reset")  # without what is still open from another day
        self.page.locator("#password_input").fill(password)
        self.page.keyboard.press("Enter")
        self.launcher().wait_for()

    def launcher(self):
        return self.page.locator(".jp-Launcher:visible")

    def new_notebook(self) -> None:
        """Click on Python 3 in the launcher and wait for its kernel."""
        self.launcher().locator("[data-category=Notebook]", has_text="Python 3").click()
        self.cells = 0
        self.notebook = self.page.locator(".jp-NotebookPanel:visible")
        self.page.get_by_text(
            re.compile(r"\| Idle$")
        ).wait_for()  # in the status bar; before that, what one runs is lost
        self.notebook.locator(".cm-content").first.click()

    def write(self, text: str) -> None:
        """Make the cell under the cursor a text."""
        self.cell.locator(".cm-focused").wait_for()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("m")
        self.cell.and_(self.page.locator(".jp-MarkdownCell")).wait_for()
        self.page.keyboard.press("Enter")
        self.leave(text)

    def run(self, code: str) -> str:
        """Type a line of code into the cell under the cursor, run it, and read what stands below it."""
        cell = self.leave(code)
        cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
        return cell.locator(".jp-OutputArea-output").last.inner_text().strip()

    @property
    def cell(self):
        """The cell that the cursor should be in by now."""
        return self.notebook.locator(".jp-Cell").nth(self.cells)

    def leave(self, text: str):
        """Type into the cell under the cursor and go on to the next one."""
        cell = self.cell
        cell.locator(".cm-focused").wait_for()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Shift+Enter")
        self.cells += 1
        return cell

    def save(self, name: str) -> None:
        """Save the notebook under a name, for which JupyterLab asks the first time."""
        self.page.keyboard.press("Control+s")
        self.page.get_by_role("dialog").get_by_role("textbox").fill(name)
        self.page.get_by_role("button", name="Rename and Save").click()
        self.page.locator(
            ".lm-TabBar-tab.jp-mod-current:not(.jp-mod-dirty)", has_text=name
        ).wait_for()

    def new_terminal(self) -> None:
        """Click on Terminal in a new launcher, with the setting for screen readers on."""
        assert self.page.evaluate(SPEAK, self.base) == 204
        self.page.goto(f"{self.url}?reset")
        self.launcher().locator("[data-category=Other]", has_text="Terminal").click()
        self.terminal = self.page.locator(".xterm-accessibility")
        self.terminal.get_by_text("$").first.wait_for()

    def shell(self, command: str, shows: str) -> str:
        """Type a command into the terminal and read it when a line shows what is waited for."""
        self.page.keyboard.type(f"{command}\n")
        self.terminal.get_by_text(re.compile(shows)).first.wait_for()
        return self.terminal.inner_text()

    def picture(self, path: Path) -> None:
        """Take a picture of the window, without the question whether one wants to hear of news."""
        path.parent.mkdir(parents=True, exist_ok=True)
        no = self.page.get_by_role("alert").get_by_role("button", name="No", exact=True)
        if no.is_visible():
            no.click()
            no.wait_for(state="detached")
        self.page.screenshot(path=path, animations="disabled")
