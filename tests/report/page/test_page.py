"""Pages of runs of all sizes, and of journals that mean no good, in a browser."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ckptkit.report.document import Document
from ckptkit.run.events import (
    AttemptEnded,
    AttemptStarted,
    Failed,
    HyperparameterChanged,
    Inexact,
    NoticeReceived,
    PassedOver,
    Requested,
    RolledBack,
    RunPreempted,
    Saved,
    SaveDropped,
    SaveFailed,
    SetAside,
    SignalReceived,
    TakenAway,
    TakenOver,
)
from tests.report.page.conftest import Browser, document_of
from tests.report.page.stories import Story, eventful, many

pytestmark = pytest.mark.xdist_group("pages")


@pytest.fixture(scope="module")
def pages(tmp_path_factory, written) -> Callable[[str], tuple[Document, Path]]:
    """`pages(name)`: the document of one of the runs below, and its page; each is made once."""
    made: dict[str, tuple[Document, Path]] = {}

    def page(name: str) -> tuple[Document, Path]:
        if name not in made:
            document = document_of(str(RUNS[name]().write(tmp_path_factory.mktemp("told") / name)))
            made[name] = document, written(document)
        return made[name]

    return page


def still_training() -> Story:
    """By this process, which lives."""
    story = many(23, 3)
    story.now = psutil.Process().create_time() + 1
    story.start(host=socket.gethostname(), pid=os.getpid()).train(200)
    return story


def thousand() -> Story:
    """1,000 checkpoints of one attempt."""
    story = Story(29, secs_per_step=0.4)
    return story.start().train(5200, every=5, keep=10_000)


RUNS: dict[str, Callable[[], Story]] = {
    "one": lambda: Story(2).start().train(350).finish(),
    "eventful": lambda: eventful(1),
    "thirty": lambda: many(17, 30),
    "three hundred": lambda: many(19, 300),
    "thousand": thousand,
    "training": still_training,
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_can_be_looked_at(browser, pages, name):
    document, path = pages(name)
    browser.open(path)
    assert browser.complaints() == []
    rows = [int(row) for row in browser.each(".labels li", "node.dataset.attempt")]
    numbers = [attempt.number for attempt in document.attempts]
    assert rows == (numbers if len(numbers) <= 40 else numbers[-len(rows) :])
    assert len(rows) >= min(len(numbers), 25)
    browser.picture(f"{name.replace(' ', '-')}-light")
    overlapping = [pair for lane in ("saved", "other") for pair in overlaps(browser, lane)]
    assert overlapping == [], "marks that would lie on one another are one"


def overlaps(browser: Browser, lane: str) -> list[Any]:
    """Marks of a row whose middles are so near to one another that a pointer could not choose; what
    was gone on from may touch its neighbour.
    """
    marks = browser.each(
        "g.mark:not(.resumed)",
        "[node.dataset.kind === 'saved' ? 'saved' : 'other', node.closest('svg').contains(node) && "
        "Math.round(Number(node.getAttribute('transform').match(/ ([\\d.]+)\\)/)[1])), "
        "Number(node.dataset.x), node.dataset.count]",
    )
    found = []
    for _, row in itertools.groupby(
        sorted(mark for mark in marks if mark[0] == lane), key=lambda mark: mark[1]
    ):
        found += [
            pair
            for pair in itertools.pairwise(sorted(row, key=lambda mark: mark[2]))
            if pair[1][2] - pair[0][2] < 8
        ]
    return found


@pytest.mark.parametrize("name", ["eventful", "three hundred", "training"])
def test_in_the_dark_and_in_a_narrow_window(browser, pages, name):
    _, path = pages(name)
    browser.open(path)
    browser.js("document.documentElement.dataset.theme = 'dark'")
    browser.picture(f"{name.replace(' ', '-')}-dark")
    browser.open(path, width=390)
    assert browser.js("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390], (
        "nothing is wider than the window"
    )
    beyond = browser.each("main *:not(.wide *):not(svg *)", "node.getBoundingClientRect().right")
    assert max(beyond) <= 391
    browser.picture(f"{name.replace(' ', '-')}-narrow")


CONTRAST = """
const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const channel = (v) => linear(v / 255);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const opaque = (n) => n.length < 4 ? [...n, 1] : n;
const parse = (text) => opaque(text.match(/[\\d.]+/g).map(Number));
const own = (node) => parse(getComputedStyle(node).backgroundColor);
const ground = (node) => {
  if (node === null) return [255, 255, 255, 1];
  return own(node)[3] === 1 ? own(node) : ground(node.parentElement);
};
const found = [];
for (const node of document.querySelectorAll("main *")) {
  const said = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
  if (!said || !node.getClientRects().length) continue;
  const style = getComputedStyle(node);
  const a = light(parse(node instanceof SVGElement ? style.fill : style.color));
  const b = light(ground(node));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const what = node.getAttribute("class") ?? node.localName;
  found.push([ratio, node.textContent.slice(0, 40), what]);
}
return found;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(browser, pages, theme):
    """Web Content Accessibility Guidelines 2.2, success criterion 1.4.3: a contrast of at least
    4.5.
    """
    browser.open(pages("eventful")[1])
    browser.js("document.documentElement.dataset.theme = arguments[0]", theme)
    browser.js("document.querySelector('g.mark').focus()")
    found = browser.js(CONTRAST)
    assert len(found) > 100
    assert [each for each in found if each[0] < 4.5] == []


def test_what_can_be_used_has_a_name(browser, pages):
    browser.open(pages("eventful")[1])
    named = browser.each(
        "button, [tabindex], [role=img], section, svg[role]",
        "[node.outerHTML, node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') "
        "|| node.textContent.trim()]",
    )
    assert len(named) > 40
    assert [each for each, name in named if not name] == []
    assert browser.each("h1", "node.textContent") == ["eventful"]
    assert browser.each("[onclick], [onload], [onerror], [style*='url']", "node.outerHTML") == []


def test_a_window_of_the_time_is_chosen_by_buttons_keyboard_and_pointer(browser, pages):
    from selenium.webdriver import ActionChains, Keys

    _, path = pages("three hundred")
    browser.open(path)

    def rows() -> list[int]:
        return [int(row) for row in browser.each(".labels li", "node.dataset.attempt")]

    newest = rows()
    assert newest[-1] == 300
    assert len(newest) < 40
    browser.one('[data-tool="whole"]').click()
    assert rows() == list(range(1, 301))
    browser.one('[data-tool="closer"]').click()
    assert 10 < len(rows()) < 300
    browser.one('[data-tool="newest"]').click()
    assert rows() == newest
    browser.one('[data-tool="earlier"]').click()
    assert rows()[0] < newest[0]
    end = browser.one('.handle[data-end="from"]')
    browser.js("arguments[0].focus()", end)
    ActionChains(browser.driver).send_keys(Keys.HOME).perform()
    assert rows()[0] == 1
    assert browser.one('.handle[data-end="from"]').get_attribute("aria-valuenow") == "0"
    strip = browser.one(".overview svg")
    width = strip.size["width"]
    pointer = ActionChains(browser.driver).move_to_element_with_offset(strip, -width // 4, 0)
    pointer.click_and_hold().move_by_offset(width // 10, 0).release().perform()
    chosen = rows()
    assert 0 < len(chosen) < 150
    assert chosen[0] > 30
    assert "of 300" in browser.one("#timeline [role=status]").text
    browser.one(f'.labels li[data-attempt="{chosen[0]}"] button').click()
    assert chosen[0] in rows()
    assert len(rows()) <= 3


def test_long_gaps_are_shortened_and_can_be_drawn_to_scale(browser, pages):
    _, path = pages("eventful")
    browser.open(path)

    def widths() -> list[float]:
        return browser.each("g.attempt .outline", "node.getBoundingClientRect().width")

    short = widths()
    assert len(browser.all("g.break")) == 2
    assert min(short) > 60
    assert "3 d in which nothing ran" in browser.each("g.break", "node.getAttribute('aria-label')")
    browser.one(".tools button[aria-pressed]").click()
    assert browser.all("g.break") == []
    assert max(widths()) < 15


def test_what_was_done_after_the_last_attempt_is_drawn_and_earlier_lives_are_called_so(
    browser, tmp_path, written
):
    story = Story(41).start().train(150).finish()
    story.saved.clear()
    story.wait(4000).start().tell(SetAside(label="again", moved_to="aside/checkpoints")).train(
        250
    ).fail()
    story.wait(9000)
    story.number += 1
    story.tell(
        RolledBack(
            checkpoint="ckpt-100-2",
            step=100,
            set_aside=["ckpt-200-2"],
            moved_to="aside/rolled-back-000003",
        )
    )
    document = document_of(str(story.write(tmp_path / "run")))
    browser.open(written(document))
    assert browser.complaints() == []
    assert browser.each("g.intervention", "node.getAttribute('aria-label').split(':')[0]") == [
        "Fresh start",
        "Rollback",
    ]
    inside = browser.one("svg.rows").rect
    for mark in browser.all("g.intervention"):
        assert inside["x"] < mark.rect["x"] < inside["x"] + inside["width"]
    assert browser.texts(".labels li button span") == ["finished, life 1", "failed"]
    browser.picture("lives-light")


def test_no_number_of_the_summary_reaches_into_the_next_one(browser, tmp_path, written):
    story = Story(7).start().train(3529).crash().wait(60).start().train(4000).finish()
    browser.open(written(document_of(str(story.write(tmp_path / "run")))), width=1000)
    assert any("steps" in value for value in browser.texts(".tile .value"))
    too_wide = "node.scrollWidth > node.clientWidth + 1 ? node.textContent : ''"
    assert not any(browser.each(".tile .value", too_wide))


def test_an_empty_run(browser, tmp_path, written):
    (tmp_path / "run" / "journal").mkdir(parents=True)
    (tmp_path / "run" / "journal" / "attempt-000001.jsonl").touch()
    browser.open(written(document_of(str(tmp_path / "run"))))
    assert browser.complaints() == []
    assert browser.texts("header .badge") == ["new"]
    assert "No process has trained this run yet." in browser.one("#timeline").text
    assert "No checkpoint was ever saved" in browser.one("#checkpoints").text
    browser.picture("empty-light")


def test_a_run_that_still_trains(browser, pages):
    browser.open(pages("training")[1])
    assert browser.texts("header .badge") == ["training"]
    assert len(browser.all("g.attempt .outline.open")) == 1
    assert "training" in browser.one(".labels li:last-child").text


def test_many_checkpoints_come_in_portions(browser, pages):
    document, path = pages("thousand")
    assert len(document.checkpoints) > 900
    browser.open(path)
    browser.one('[data-control="all"]').click()
    shown = len(browser.all("tbody tr[data-checkpoint]"))
    assert shown < 100
    while more := browser.all('[data-control="more"]'):
        more[0].click()
    assert len(browser.all("tbody tr[data-checkpoint]")) == len(document.checkpoints)
    assert len(browser.all("g.mark")) < 60, "they lie side by side, and are drawn together"
    saves = sum(mark.count for mark in document.attempts[0].marks if mark.kind == "saved")
    assert sum(map(int, browser.each("g.mark[data-kind=saved]", "node.dataset.count"))) == saves


EVIL = (
    '<script>globalThis.owned = 1</script><img src=x onerror="owned=1">'
    "'\"&lt;/script></script><!--\u202etxt.\u2028\x1b[2J{{7*7}}${7*7}\0"
)


def hostile() -> Story:
    """Every text of a journal that a report shows."""
    story = Story(31)
    story.start(host=EVIL, program=EVIL, versions={EVIL: EVIL}, scheduler={EVIL: EVIL}).train(20)
    story.tell(
        Saved(
            checkpoint="ckpt-30-1",
            step=30,
            epoch=0,
            batch=30,
            trigger=EVIL,
            size_bytes=1,
            snapshot_secs=0.1,
            write_secs=0.1,
            metrics={EVIL: 0.5, "loss": EVIL},
        )
    )
    for event in (
        SaveDropped(step=31, reason=EVIL),
        SaveFailed(step=32, error=EVIL, message=EVIL),
        TakenAway(checkpoint="ckpt-30-1", reason=EVIL),
        SignalReceived(signal=EVIL, phase=EVIL),
        NoticeReceived(source=EVIL, grace_secs=1.0),
        Requested(id=EVIL, action=EVIL, source=EVIL),
        PassedOver(checkpoint="ckpt-40-1", reason=EVIL, moved_to=EVIL),
        TakenOver(owner=EVIL),
        Inexact(reason=EVIL),
        RolledBack(checkpoint=EVIL, step=1, set_aside=[EVIL], moved_to=EVIL),
        SetAside(label=EVIL, moved_to=EVIL),
        HyperparameterChanged(name=EVIL, then=EVIL, now=EVIL, settled=EVIL),
        Failed(error=EVIL, message=EVIL, step=33, restart=True),
        RunPreempted(step=33, reason=EVIL, exit_code=75, secs=1.0),
        AttemptEnded(outcome=EVIL, step=33),
    ):
        story.wait(20).tell(event)
    return story.tell(AttemptStarted(host=EVIL, pid=1, program=EVIL))


def test_text_of_a_journal_that_means_no_good_stays_text(browser, tmp_path, written):
    root = hostile().write(tmp_path / "run")
    document = document_of(str(root))
    # What comes from manifests and from names, as well.
    configuration = replace(
        document.configuration,
        hyperparameters={EVIL: {"__proto__": EVIL, "constructor": [EVIL]}},
        checkpoint=EVIL,
    )
    document = replace(
        document,
        run=replace(document.run, name=EVIL, directory=EVIL, state=EVIL, words=EVIL),
        made_by=EVIL,
        configuration=configuration,
        checkpoints=tuple(replace(row, words=EVIL) for row in document.checkpoints),
    )
    path = written(document)
    browser.open(path)
    assert browser.js("return document.scripts.length") == 2
    assert browser.js("return globalThis.owned") is None
    assert browser.js("return document.images.length") == 0
    assert browser.driver.title.startswith("<script>globalThis.owned = 1</script>")
    assert [
        message
        for message in browser.complaints()
        if "Content Security Policy" in message or "Refused" in message
    ] == []
    for part in ("#timeline .labels", "#checkpoints", "#environment", "#configuration"):
        browser_text = browser.one(part).get_attribute("textContent")
        assert "<script>globalThis.owned = 1</script>" in browser_text, part
    assert "\\u202etxt." in browser.one("h1").text, (
        "what would turn the order of the text is shown by its number"
    )
    told = 0
    for node in browser.all("[data-explained]"):
        browser.js(
            "arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))", node
        )
        told += "<script>" in (browser.tooltip() or "")
    assert told >= 4
    assert browser.js("return globalThis.owned") is None
    browser.picture("hostile-light")


@pytest.mark.parametrize("word", ["constructor", "__proto__", "toString", ""])
def test_words_that_mean_something_to_the_script_are_words(browser, tmp_path, written, word):
    story = Story(37).start().train(120)
    story.tell(
        Saved(
            checkpoint="ckpt-130-1",
            step=130,
            epoch=1,
            batch=0,
            trigger=word,
            size_bytes=1,
            snapshot_secs=0.0,
            write_secs=0.1,
            metrics={word: 0.5},
        )
    ).tell(AttemptEnded(outcome=word, step=130))
    browser.open(written(document_of(str(story.write(tmp_path / "run")))))
    assert browser.complaints() == []
    assert browser.texts(".labels li button span") == [word]
    assert len(browser.all("tbody tr[data-checkpoint]")) == 2


def test_the_browser_would_run_no_other_script(browser, tmp_path, written):
    """Whatever came through all the same: the policy of the page lets nothing else run, and nothing
    be fetched.
    """
    document = document_of(str(Story(1).start().write(tmp_path / "run")))
    path = written(document)
    text = path.read_text()
    path.write_text(
        text.replace(
            '<main id="report">',
            '<script>globalThis.owned = 1</script><img src="http://127.0.0.1:9/x"><main '
            'id="report">',
        )
    )
    browser.open(path)
    assert browser.js("return globalThis.owned") is None
    said = " ".join(entry["message"] for entry in browser.driver.get_log("browser"))
    assert "Content Security Policy" in said
    assert browser.texts("header .badge"), "and it still draws"


def test_the_script_draws_a_document_anywhere_else(browser, pages, tmp_path):
    """As a tab of TensorBoard would use it."""
    from ckptkit.report.html_page import script

    page = tmp_path / "other.html"
    page.write_text(
        f"<!doctype html><title>t</title><div id=here>before</div><script>{script()}</script>"
    )
    browser.open(page)
    assert browser.one("#here").text == "before", "without a document nothing is drawn"
    held = browser.open(pages("one")[1]).js(
        "return JSON.parse(document.getElementById('document').textContent)"
    )
    browser.open(page)
    browser.js("ckptkitReport.render(arguments[0], document.getElementById('here'))", held)
    assert browser.texts("#here h1") == ["one"]
    browser.js("ckptkitReport.render({version: 2}, document.getElementById('here'))")
    assert (
        browser.one("#here").text == "This page draws documents of version 1. Received: version 2."
    )
