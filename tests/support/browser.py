"""Debian's Chromium without a window, driven by selenium: pages are tested as people use them.

``make browser`` installs Chromium and its driver.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_INSIDE = ("blob:", "chrome:", "data:")  # addresses that ask nobody: chrome's are its page for a new tab
DESKTOP = (1280, 900)  # width and height in CSS pixels
PHONE = (390, 844)


@dataclass
class Browser:
    """A running browser: ``driver`` is selenium's, the rest is what it does not tell by itself."""

    driver: Chrome
    _requests: list[str] = field(default_factory=list)

    def console(self) -> list[str]:
        """Warnings and errors on the console since the last call, of scripts, requests and policies."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in {"WARNING", "SEVERE"}]

    def requests(self) -> list[str]:
        """The addresses that pages have asked for so far, in order, without those inside the browser."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        return [url for url in self._requests if not url.startswith(_INSIDE)]

    def set_screen(self, size: tuple[int, int], *, dark: bool = False) -> None:
        """Show pages on a screen of ``size`` (width, height in CSS pixels), dark or light."""
        width, height = size
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A new browser with an empty profile, which is gone where the block ends."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        raise FileNotFoundError("chromium or chromedriver is missing; `make browser` installs them")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={Path(profile) / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options, Service(chromedriver))  # with its path selenium looks for none online
        try:
            browser = Browser(driver)
            browser.set_screen(DESKTOP)
            yield browser
        finally:
            driver.quit()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a module."""
    with opened_browser() as opened:
        yield opened
