"""Documents and pages of runs; the browser in which pages are looked at."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.cli.report_command import document_of
from ckptkit.report.document import Document
from ckptkit.report.html_page import render_page

SCREENSHOTS = Path(__file__).parent / "screenshots"
"""For a person to look at; git leaves them out."""


def quiet_options(profile: Path) -> Any:
    """Of a Chromium without a window that talks to nobody: whatever it should ask for has no
    address.
    """
    from selenium.webdriver import ChromeOptions

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-default-apps",
        "--disable-extensions",
        "--disable-domain-reliability",
        "--metrics-recording-only",
        "--no-pings",
        "--no-proxy-server",
        "--force-color-profile=srgb",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
        "--lang=en-US",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return options


class Browser:
    """Chromium, and what tests ask of a page.

    Args:
        driver: selenium's.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1280, height: int = 900) -> Browser:
        """Opens a file; what was kept of earlier pages is forgotten."""
        self.driver.set_window_size(width, height)
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(path.as_uri())
        self.js("localStorage.clear(); delete document.documentElement.dataset.theme")
        self.settle()
        return self

    def settle(self) -> None:
        """Waits until what was drawn has been drawn again, where it had to be."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => "
            "setTimeout(done, 30)))"
        )

    def hover(self, element: Any) -> None:
        """Moves the pointer onto the middle of an element."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element(element).perform()

    def move(self, right: int, down: int = 0) -> None:
        """Moves the pointer on, in pixels."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_by_offset(right, down).perform()

    def wait(self, until: Callable[[], bool]) -> None:
        """Waits until something holds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: until())

    def js(self, text: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(text, *arguments)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def each(self, selector: str, expression: str) -> list[Any]:
        """What an expression over `node` is for each element."""
        return self.js(
            f"return [...document.querySelectorAll(arguments[0])].map((node) => {expression})",
            selector,
        )

    def texts(self, selector: str) -> list[str]:
        """The text of each element, also of what cannot be seen at the moment."""
        return self.each(selector, "node.textContent")

    def tooltip(self) -> str | None:
        """What the details say, or None where none are shown."""
        box = self.one("#tooltip")
        return box.text if box.is_displayed() else None

    def complaints(self) -> list[str]:
        """What the browser has complained of, and what it has asked for beside files, since the
        page was opened.
        """
        asked = self.js(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ] + asked

    def picture(self, name: str) -> Path:
        """The whole page as a PNG."""
        SCREENSHOTS.mkdir(exist_ok=True)
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        data = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot",
            {
                "format": "png",
                "captureBeyondViewport": True,
                "clip": {
                    "x": 0,
                    "y": 0,
                    "width": size["width"],
                    "height": min(size["height"], 6000),
                    "scale": 1,
                },
            },
        )["data"]
        path = SCREENSHOTS / f"{name}.png"
        path.write_bytes(base64.b64decode(data))
        print(f"screenshot: {path}")
        return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip(
            "no chromium with its driver on this machine: apt install chromium chromium-driver"
        )
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.service import Service

    chrome = Chrome(
        options=quiet_options(tmp_path_factory.mktemp("chromium")),
        service=Service(executable_path=driver),
    )
    chrome.set_script_timeout(30)
    yield Browser(chrome)
    chrome.quit()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Document], Path]:
    """`written(document)`: the page of a document as a file."""

    def write(document: Document) -> Path:
        path = tmp_path_factory.mktemp("page") / "run.html"
        path.write_bytes(render_page(document))
        return path

    return write


__all__ = ["Browser", "document_of"]
