"""The page, clicked through in a real browser: every part, by mouse and by keyboard, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import DESKTOP, PHONE, Browser
from tests.support.browser import browser as browser
from tests.support.served import KEY, Served, served
from tests.support.tiny_memories import save_adapter_directory
from tests.support.tiny_models import SENTENCES, telegram_config

pytestmark = pytest.mark.slow

VIEWS = ("ask", "documents", "history", "bytes")
HOSTILE = "<img src=x onerror=alert(1)> <script>alert(2)</script> </textarea> opened the museum."
TEXTS = [*(f"{SENTENCES[number % 2]} No. {number}." for number in range(24)), HOSTILE]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A memory whose codes are tokens, behind a key."""
    folder = tmp_path_factory.mktemp("page")
    adapter = save_adapter_directory(folder, make_config=telegram_config)
    options = ["--create", "--adapter", str(adapter)]
    with served(folder / "page.mbc", *options, MBC_API_KEY=KEY) as running:
        documents: list[dict[str, Any]] = [
            {"id": f"d{number}", "text": text, "timestamp": "2026-05-01"}
            for number, text in enumerate(TEXTS[:-1])
        ]
        documents[3] |= {"title": "The third", "source": "gazette"}
        documents.append({"id": "hostile", "title": HOSTILE, "text": HOSTILE})
        sent = running.ask("v1/memory/documents", {"documents": documents}, headers=AUTHORIZED)
        assert sent.status == 201, sent.body
        yield running


AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


class Page:
    """The page in a browser."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.driver = browser.driver
        self.url = url

    def open(self, view: str = "ask", *, key: str | None = KEY) -> None:
        """Load the page anew."""
        self.driver.get(f"{self.url}#{view}")
        set_key = "sessionStorage.setItem('mbc-api-key', arguments[0])" if key else "sessionStorage.clear()"
        self.driver.execute_script(set_key, key)
        self.driver.refresh()
        if key:
            self.until(lambda: self.one("#summary").text)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Any) -> Any:
        wait = WebDriverWait(self.driver, 30, 0.05, [StaleElementReferenceException, NoSuchElementException])
        return wait.until(lambda _: condition())

    def click(self, selector: str) -> None:
        def clicked() -> bool:
            element = self.one(selector)
            ready = element.is_displayed() and element.is_enabled()
            if ready:
                element.click()
            return ready

        self.until(clicked)

    def write(self, selector: str, text: str) -> None:
        self.one(selector).clear()
        self.one(selector).send_keys(text)

    def listed(self) -> list[str]:
        cells = "#documents tbody td:nth-child(2)"
        script = "return [...document.querySelectorAll(arguments[0])].map((cell) => cell.textContent)"
        found: list[str] = self.driver.execute_script(script, cells)
        return found


@pytest.fixture
def page(browser: Browser, server: Served) -> Iterator[Page]:
    """The page, which must say nothing on the console and ask nobody but its server."""
    browser.set_screen(DESKTOP)
    browser.console()
    yield Page(browser, server.url)
    assert browser.console() == []
    assert [url for url in browser.requests() if not url.startswith(server.url)] == []


def test_the_key_is_asked_for_once_and_a_wrong_one_again(page: Page) -> None:
    page.open(key=None)
    page.until(lambda: page.one("#key").is_displayed())
    page.write("#key input", KEY[::-1])
    page.click("#key .main")
    page.until(lambda: "does not know" in page.one("#key-text").text and page.one("#key").is_displayed())
    assert all("401" in message for message in page.browser.console())
    page.write("#key input", KEY)
    page.one("#key input").send_keys(Keys.ENTER)
    page.until(lambda: "documents" in page.one("#summary").text)
    page.driver.refresh()
    page.until(lambda: "documents" in page.one("#summary").text)
    assert not page.one("#key").is_displayed()
    assert KEY not in page.driver.page_source


def test_an_answer_shows_its_sources_and_what_was_kept_of_each(page: Page) -> None:
    page.open()
    page.one("#question").send_keys("Who opened the museum?", Keys.ENTER)
    page.until(lambda: page.all("#sources article"))
    assert page.one("#answer .text").is_displayed()
    assert "memory" in page.one("#answer .quiet").text
    text, kept = page.all("#sources article:first-of-type .beside p")
    assert any(text.text in each for each in TEXTS)
    assert kept.text.split() == text.text.split()
    lost = [piece.text for piece in page.all("#sources article:first-of-type del")]
    assert lost
    colours = [
        page.driver.execute_script("return getComputedStyle(arguments[0]).color", each)
        for each in (kept, page.one("#sources del"))
    ]
    assert colours[0] != colours[1]
    page.click("#sources article:first-of-type h3 button")
    page.until(lambda: page.one("#document").is_displayed())
    page.one("#document").send_keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#document").is_displayed())


def test_passages_are_found_without_an_answer_and_within_what_may_be_read(page: Page) -> None:
    page.open()
    page.write("#question", "the museum")
    page.click("#ask-form summary")
    page.write("#ask-form [name=where]", "source=gazette")
    page.click("#search-only")
    page.until(lambda: page.all("#sources article"))
    assert {each.text for each in page.all("#sources h3")} == {"The third"}
    assert page.all("#answer .text") == []
    page.write("#ask-form [name=where]", "nonsense")
    page.click("#search-only")
    page.until(lambda: page.one("#problem").is_displayed())
    assert "is no condition" in page.one("#problem").text
    assert all("400" in message for message in page.browser.console())


def test_documents_are_browsed_searched_and_shown_as_text_whatever_they_hold(page: Page) -> None:
    page.open("documents")
    page.until(lambda: len(page.listed()) == 20)
    assert not page.one("#earlier").is_enabled()
    page.click("#later")
    page.until(lambda: "d23" in page.listed())
    assert not page.one("#later").is_enabled()
    page.click("#documents tbody tr:last-child button")
    page.until(lambda: page.one("#document").is_displayed())
    assert page.one("#document-title").text == HOSTILE
    shown = " ".join(each.text for each in page.all("#document-body .beside p:first-of-type"))
    assert "<img src=x" in shown
    page.click("#document-close")
    page.click("#earlier")
    page.until(lambda: "d0" in page.listed())
    page.write("#find-form [name=where]", "source=gazette")
    page.click("#find-form .main")
    page.until(lambda: page.listed() == ["d3"])
    page.write("#find-form [name=question]", "the museum")
    page.click("#find-form .main")
    page.until(lambda: page.all("#documents article"))
    assert len({each.text for each in page.all("#documents h3")}) == 1
    page.click("#find-form [type=reset]")
    page.until(lambda: len(page.listed()) == 20)


def test_a_document_is_added_forgotten_when_that_is_confirmed_and_read_in_the_past(page: Page) -> None:
    page.open("documents")
    page.click("#add summary")
    page.write("#add-form [name=id]", "new/1 ä")
    page.write("#add-form [name=title]", "Brand new")
    page.write("#add-form [name=timestamp]", "2026-06-01")
    page.write("#add-form [name=text]", SENTENCES[1])
    page.click("#add-form .main")
    page.until(lambda: page.one("#added").text == "Remembered: new/1 ä")

    def find() -> None:
        page.write("#find-form [name=since]", "2026-06-01")
        page.click("#find-form .main")

    find()
    page.until(lambda: page.listed() == ["new/1 ä"])
    page.click("#documents tbody button")
    page.click("#document-forget")
    page.until(lambda: page.one("#confirm").is_displayed())
    assert page.driver.switch_to.active_element.text == "Keep it"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: not page.one("#confirm").is_displayed())
    assert page.one("#document").is_displayed()
    page.click("#document-forget")
    page.click("#confirm .danger")
    page.until(lambda: not page.one("#document").is_displayed())
    page.until(lambda: page.listed() == [])

    page.click("nav [href='#history']")
    page.until(lambda: page.all("#commits tbody tr"))
    changes = [cell.text for cell in page.all("#commits tbody td:nth-child(2)")]
    assert changes[:2] == ["1 forgotten", "1 added"]
    page.click("#commits tbody tr:nth-child(2) button")
    page.until(lambda: page.one("#past").is_displayed())
    page.click("nav [href='#documents']")
    find()
    page.until(lambda: page.listed() == ["new/1 ä"])
    page.click("#documents tbody button")
    page.until(lambda: page.one("#document").is_displayed())
    assert not page.one("#document-forget").is_displayed()
    page.click("#document-close")
    assert not page.one("#add").is_displayed()
    page.click("#past-end")
    page.until(lambda: page.listed() == [])
    assert not page.one("#past").is_displayed()


def test_the_past_is_named_by_a_time_and_a_wrong_one_is_told(page: Page) -> None:
    page.open("history")
    page.write("#at-form input", "1999-01-01")
    page.click("#at-form .main")
    page.until(lambda: page.one("#problem").is_displayed())
    assert "held nothing at" in page.one("#problem").text
    assert all("404" in message for message in page.browser.console())
    page.write("#at-form input", "2999-01-01")
    page.click("#at-form .main")
    page.until(lambda: page.one("#past-label").text == "2999-01-01")
    assert not page.one("#problem").is_displayed()


def test_the_bytes_of_every_array_are_drawn_and_told(page: Page, server: Served) -> None:
    page.open("bytes")
    page.until(lambda: page.all("#plot rect"))
    arrays = server.ask("v1/memory/info", headers=AUTHORIZED).body["array_bytes"]
    widths = [float(each.get_attribute("width") or 0) for each in page.all("#plot rect")]
    assert len(widths) == len(arrays)
    assert widths == sorted(widths, reverse=True)
    told = page.one("#plot svg").get_attribute("aria-label") or ""
    assert all(f"{name} {size:,} bytes" in told for name, size in arrays.items())
    assert page.one("#figures").text


@pytest.mark.parametrize("view", VIEWS)
def test_everything_fits_a_phone_and_is_named_for_those_who_cannot_see(page: Page, view: str) -> None:
    page.open(view)
    page.browser.set_screen(PHONE)
    for details in page.all(f"#view-{view} summary"):
        details.click()
    wide = page.driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= PHONE[0]
    unnamed = page.driver.execute_script(
        """return [...document.querySelectorAll("input, textarea, button, a, svg, dialog, section")].filter(
             (each) => !(each.labels?.length || each.textContent.trim() || each.ariaLabel)
           ).map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    headings = [each.text for each in page.all("h1, h2, h3") if each.is_displayed()]
    assert len(headings) >= 2
    shown = [name for name in VIEWS if page.one(f"#view-{name}").is_displayed()]
    assert shown == [view]


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.open()
    visited = []
    for _ in range(9):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.driver.switch_to.active_element
        visited.append(focused.get_attribute("id") or focused.text)
    assert visited[:6] == ["Skip to the content", "Ask", "Documents", "History", "Bytes", "question"]
    page.one("nav [href='#documents']").send_keys(Keys.ENTER)
    page.until(lambda: page.listed())
    first = page.one("#documents tbody button")
    first.send_keys(Keys.ENTER)
    page.until(lambda: page.one("#document").is_displayed())
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#document").is_displayed())
    assert page.driver.switch_to.active_element == first
    width = "return getComputedStyle(arguments[0]).outlineStyle"
    assert page.driver.execute_script(width, first) == "solid"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_ground_in_light_and_dark(page: Page, dark: bool) -> None:
    page.open()
    page.browser.set_screen(DESKTOP, dark=dark)
    ground, raised, *colours = page.driver.execute_script(
        """const style = getComputedStyle(document.documentElement);
           return ["ground", "raised", "ink", "quiet", "lost", "accent", "danger"].map(
             (name) => style.getPropertyValue(`--${name}`).trim())"""
    )
    assert (_luminance(ground) < 0.1) == dark
    for colour in colours:
        assert _contrast(colour, ground) >= 4.5, colour
        assert _contrast(colour, raised) >= 4.5, colour
    shown = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert shown == f"rgb({', '.join(str(part) for part in bytes.fromhex(ground[1:]))})"


def _luminance(colour: str) -> float:
    """Of WCAG 2.2, from #rrggbb."""
    parts = [part / 255 for part in bytes.fromhex(colour[1:])]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)
