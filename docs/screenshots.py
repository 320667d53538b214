"""Take the pictures of the server's page in docs/images: python docs/screenshots.py.

Needs Chromium and its driver (`make browser`), and the LLM of the default adapter.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

from mbc_cli import Memory  # noqa: E402
from mbc_cli.corpus.bad_input import BadInputs  # noqa: E402
from mbc_cli.corpus.readers import read_documents  # noqa: E402
from tests.support.browser import DESKTOP, PHONE, Browser, opened_browser  # noqa: E402
from tests.support.served import served  # noqa: E402

IMAGES = ROOT / "docs" / "images"
QUESTION = "Which company is buying Casa Lindo?"


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "news.mbc"
        with Memory.create(store) as memory:
            memory.encode(read_documents([str(ROOT / "examples" / "paragraphs.jsonl")], BadInputs()))
        with served(store) as server, opened_browser() as browser:
            browser.driver.get(server.url)
            _ask(browser)
            for name, size, dark in (
                ("page-light", DESKTOP, False),
                ("page-dark", DESKTOP, True),
                ("page-phone", PHONE, True),
            ):
                _take(browser, name, size, dark)
            browser.driver.get(f"{server.url}#bytes")
            WebDriverWait(browser.driver, 30).until(lambda driver: driver.find_elements(By.TAG_NAME, "rect"))
            _take(browser, "page-bytes", DESKTOP, False)


def _ask(browser: Browser) -> None:
    browser.driver.find_element(By.ID, "question").send_keys(QUESTION)
    browser.driver.find_element(By.CSS_SELECTOR, "#ask-form .main").click()
    WebDriverWait(browser.driver, 60).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "#sources del")
    )


def _take(browser: Browser, name: str, size: tuple[int, int], dark: bool) -> None:
    browser.set_screen(size, dark=dark)
    time.sleep(0.3)  # until it is drawn anew
    browser.driver.save_screenshot(str(IMAGES / f"{name}.png"))


if __name__ == "__main__":
    main()
