"""The report of a real run: killed, preempted, resumed past a damaged checkpoint, finished; looked
at in a browser.
"""

from __future__ import annotations

import itertools
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.cli import main
from ckptkit.layout import run_layout
from ckptkit.report.document import values_of
from ckptkit.run.events import Saved
from ckptkit.run.journal_reader import read_attempt
from tests.report.page.conftest import SCREENSHOTS, Browser, document_of
from tests.report.page.training import BATCHES, EPOCHS
from tests.support.polling import until

pytestmark = pytest.mark.xdist_group(
    "pages"
)  # one browser, and one run, for all that look at pages

PROGRAM = Path(__file__).parent / "training.py"
TOTAL = EPOCHS * BATCHES


@dataclass
class Made:
    """A run, its report, and the document of it."""

    run: Path
    path: Path
    document: dict[str, Any]


@pytest.fixture(scope="module")
def made(fork_server, tmp_path_factory) -> Made:
    run = tmp_path_factory.mktemp("runs") / "digits"
    first = fork_server.run(PROGRAM, run)
    until_saved(run, attempt=1, step=12)
    first.kill()
    second = fork_server.run(PROGRAM, run)
    until_saved(run, attempt=2, step=24)
    second.send_signal(signal.SIGTERM)
    second.check(code=75)
    newest = ckptkit.open_run(run).checkpoints[-1]
    (newest.path / f"{newest.name.prefix}.index").write_bytes(b"no index any more")
    fork_server.run(PROGRAM, run).check()
    path = run.parent / "run.html"
    assert main(["report", str(run), "-o", str(path)]) == 0
    return Made(run, path, values_of(document_of(str(run))))


def until_saved(run: Path, attempt: int, step: int) -> None:
    layout = run_layout(run)
    until(
        lambda: any(
            isinstance(event, Saved) and event.step >= step
            for event in read_attempt(layout, attempt)
        ),
        120,
    )


@pytest.fixture
def page(made: Made, browser: Browser) -> Browser:
    return browser.open(made.path)


def test_each_attempt_has_a_row_with_its_end(made, page):
    assert [row.get_attribute("data-attempt") for row in page.all(".labels li")] == ["1", "2", "3"]
    assert [text.split() for text in page.texts(".labels button span")] == [
        ["dead"],
        ["preempted"],
        ["finished"],
    ]
    assert [row.get_attribute("data-attempt") for row in page.all("g.attempt")] == ["1", "2", "3"]
    boxes = page.each(
        "g.attempt .outline",
        "[node.getBoundingClientRect().left, node.getBoundingClientRect().right]",
    )
    assert len(boxes) == 3
    assert all(left < right for left, right in boxes)
    assert all(one[1] <= other[0] + 1 for one, other in itertools.pairwise(boxes)), (
        f"one attempt is after the other: {boxes}"
    )
    phases = page.each(
        "g.attempt",
        "[...node.querySelectorAll('[data-phase]')].map((phase) => phase.dataset.phase)",
    )
    assert phases[0][-1] == "lost"  # what followed the newest checkpoint of the killed one
    assert all("training" in each for each in phases)
    assert "restore" in phases[1]


def test_each_mark_is_there_and_says_what_it_is(made, page):
    counted: dict[str, int] = {}
    for attempt in made.document["attempts"]:
        for mark in attempt["marks"]:
            counted[mark["kind"]] = counted.get(mark["kind"], 0) + mark["count"]
    assert {"saved", "signal", "dead", "passed_over", "preempted", "finished"} <= counted.keys()
    kinds = set(counted) - {"training", "restored"}
    drawn = page.each(
        "g.mark", "[node.dataset.kind, Number(node.dataset.count), node.getAttribute('aria-label')]"
    )
    assert sum(count for _, count, _ in drawn) == sum(counted[kind] for kind in kinds)
    words = " ".join(label for _, _, label in drawn).lower()
    for said in ("save", "signal", "killed", "fall-back", "preempted", "finish"):
        assert said in words
    legend = " ".join(page.texts(".legend.marks li"))
    assert f"{counted['saved']} saves" in legend
    assert "1 fall-back" in legend


def test_an_arrow_leads_from_each_checkpoint_to_the_attempt_that_went_on_from_it(made, page):
    links = {(link["checkpoint"], str(link["to_attempt"])) for link in made.document["links"]}
    assert len(links) == 2
    assert {
        (node.get_attribute("data-checkpoint"), node.get_attribute("data-to"))
        for node in page.all("g.link")
    } == links
    passed_over = next(
        mark["checkpoint"]
        for mark in made.document["attempts"][2]["marks"]
        if mark["kind"] == "passed_over"
    )
    assert passed_over not in {name for name, _ in links}
    resumed = {node.get_attribute("data-checkpoint") for node in page.all("g.mark.resumed")}
    assert resumed == {name for name, _ in links}


def test_the_tiles_say_what_the_document_says(made, page):
    document = made.document
    tiles = {node.get_attribute("id"): node.text.split("\n") for node in page.all(".tile")}
    assert len(tiles) == 7
    assert tiles["tile-goodput"][1] == f"{document['wall_time']['ratio'] * 100:.1f} %"
    assert tiles["tile-attempts"][1:] == ["3", "1 dead, 1 preempted, 1 finished"]
    assert tiles["tile-newest"][1] == str(TOTAL)
    # A killed attempt may have done more steps than its journal shows.
    lost = document["totals"]["steps_lost"]
    assert tiles["tile-lost"][1] == f"at least {lost} step{'s' if lost != 1 else ''}"
    assert document["totals"]["steps_lost"] > 0
    size = sum(path.stat().st_size for path in made.run.rglob("*") if path.is_file())
    assert (
        tiles["tile-size"][1] == f"{size / 1000:.0f} kB"
        if size > 99950
        else tiles["tile-size"][1].endswith(" kB")
    )
    assert page.texts("header .badge") == ["finished"]
    assert page.texts("header .words") == [f"finished at step {TOTAL} ({EPOCHS} epochs)"]


def test_the_bar_of_the_wall_time_is_all_of_it(made, page):
    parts = {
        part["kind"]: part["secs"]
        for part in made.document["wall_time"]["parts"]
        if part["secs"] > 0
    }
    drawn = {node.get_attribute("data-part"): node.size["width"] for node in page.all(".segment")}
    assert drawn.keys() == parts.keys()
    assert sum(drawn.values()) == pytest.approx(page.one(".wall").size["width"], abs=len(drawn))
    assert max(drawn, key=lambda kind: drawn[kind]) == max(parts, key=lambda kind: parts[kind])
    assert len(page.all(".legend.parts li")) == len(parts)


def test_the_table_has_every_checkpoint_with_what_became_of_it(made, page):
    there = sorted(
        (each.name for each in ckptkit.open_run(made.run).checkpoints),
        key=lambda name: (-name.step, -name.attempt),
    )
    assert [
        row.get_attribute("data-checkpoint") for row in page.all("tbody tr[data-checkpoint]")
    ] == [str(name) for name in there]
    page.one('[data-control="all"]').click()
    rows = {
        row.get_attribute("data-checkpoint"): row.text
        for row in page.all("tbody tr[data-checkpoint]")
    }
    assert rows.keys() == {row["name"] for row in made.document["checkpoints"]}
    assert "final" in rows[str(there[0])]
    lost = next(row for row in made.document["checkpoints"] if row["status"] == "quarantined")
    assert "quarantined" in rows[lost["name"]]
    assert "index" in rows[lost["name"]]
    taken = next(row for row in made.document["checkpoints"] if row["status"] == "taken_away")
    assert taken["words"] in rows[taken["name"]]
    page.one('[data-control="gone"]').click()
    assert {
        row.get_attribute("data-checkpoint") for row in page.all("tbody tr[data-checkpoint]")
    } == rows.keys() - {str(name) for name in there}


def test_the_table_is_sorted_by_the_column_that_is_clicked(made, page):
    page.one('[data-control="all"]').click()

    def steps() -> list[int]:
        return [int(text.replace(",", "")) for text in page.texts('td[data-column="Step"]')]

    assert steps() == sorted(steps(), reverse=True)
    page.one('[data-control="sort Step"]').click()
    assert steps() == sorted(steps())
    assert page.one("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.one('[data-control="sort Attempt"]').click()
    attempts = [int(text) for text in page.texts('td[data-column="Attempt"]')]
    assert attempts == sorted(attempts, reverse=True)
    assert page.js("return document.activeElement.dataset.control") == "sort Attempt", (
        "the keyboard stays where it was"
    )


def test_details_appear_under_the_pointer(made, page):
    assert page.tooltip() is None
    shown_in_the_middle(page, 'g.mark[data-kind="dead"]')
    assert made.document["attempts"][0]["cause"] in page.tooltip()
    assert page.one('g.mark[data-kind="dead"]').get_attribute("aria-describedby") == "tooltip"
    shown_in_the_middle(page, 'g.attempt[data-attempt="1"]')
    assert "Attempt 1: dead" in page.tooltip()
    page.hover(page.one("h1"))
    page.wait(lambda: page.tooltip() is None)


def shown_in_the_middle(page: Browser, selector: str) -> None:
    """Moves the pointer there, and waits for details."""
    page.hover(page.one(selector))
    page.wait(lambda: page.tooltip() is not None)


def test_details_appear_anywhere_on_the_bar_of_an_attempt(made, page):
    """Also in a moment that belongs to no phase, where nothing is filled."""
    page.js("document.querySelectorAll('g.attempt [data-phase]').forEach((node) => node.remove())")
    page.hover(page.one('g.attempt[data-attempt="2"]'))
    page.wait(lambda: "Attempt 2: preempted" in (page.tooltip() or ""))


def test_details_stay_with_what_is_under_the_pointer_where_the_page_scrolls(made, page):
    shown_in_the_middle(page, 'g.attempt[data-attempt="3"]')
    before = page.one("#tooltip").rect["y"] - page.js("return scrollY")
    page.js("scrollBy(0, 3)")
    page.settle()
    assert "Attempt 3: finished" in page.tooltip()
    assert page.one("#tooltip").rect["y"] - page.js("return scrollY") == before - 3
    page.js("scrollTo(0, 0)")
    page.wait(lambda: "Attempt 3" not in (page.tooltip() or ""))


def test_details_that_were_put_away_stay_away_while_the_pointer_is_there(made, page):
    from selenium.webdriver import ActionChains, Keys

    shown_in_the_middle(page, 'g.attempt[data-attempt="3"]')
    ActionChains(page.driver).send_keys(Keys.ESCAPE).perform()
    page.wait(lambda: page.tooltip() is None)
    page.move(1)
    page.settle()
    assert page.tooltip() is None
    page.hover(page.one("h1"))
    shown_in_the_middle(page, 'g.attempt[data-attempt="3"]')


def test_details_appear_where_the_keyboard_is(made, page):
    from selenium.webdriver import ActionChains, Keys

    def press(key: str) -> str | None:
        ActionChains(page.driver).send_keys(key).perform()
        return page.tooltip()

    page.js("document.querySelector('.labels li:last-child button').focus()")
    assert page.tooltip() is None
    assert "Attempt 1: dead" in (press(Keys.TAB) or "")
    assert "Attempt 2: preempted" in (press(Keys.ARROW_DOWN) or "")
    assert "Attempt 2 resumed from" in (press(Keys.ARROW_RIGHT) or ""), "the arrow that leads to it"
    seen = set()
    while (
        label := page.js("return document.activeElement.getAttribute('aria-label')")
    ) not in seen:
        seen.add(label)
        assert press(Keys.ARROW_RIGHT) is not None
    row = [mark for mark in page.all("g.mark") if mark.get_attribute("aria-label") in seen]
    assert any("signal" in mark.get_attribute("aria-label").lower() for mark in row), seen
    assert press(Keys.ESCAPE) is None
    press(Keys.TAB)
    assert not page.js("return document.activeElement.closest('svg.rows')"), (
        "the drawing is one stop of the Tab key"
    )


def test_dark_and_light_as_the_switch_says_and_it_stays(made, page):
    def ground() -> list[int]:
        return page.js(
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )

    light = ground()
    assert min(light) > 200
    page.picture("real-light")
    page.one('[data-theme-choice="dark"]').click()
    page.settle()
    assert max(ground()) < 60
    assert page.one('[data-theme-choice="dark"]').get_attribute("aria-pressed") == "true"
    page.picture("real-dark")
    page.driver.refresh()
    page.settle()
    assert max(ground()) < 60, "the choice stays"
    page.one('[data-theme-choice="auto"]').click()
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    assert max(ground()) < 60, "as the system has it"
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert ground() == light


def test_text_of_the_run_stays_text(made, page):
    note = "</script><script>document.title = 'taken'</script>"
    assert made.document["configuration"]["hyperparameters"]["hparams"]["note"] == note
    assert note in page.one("#configuration").text
    assert page.driver.title == "digits | ckptkit report"
    assert page.js("return document.scripts.length") == 2


def test_it_asks_for_nothing_and_complains_of_nothing(made, page):
    assert page.complaints() == []
    sent = [
        entry["message"]
        for entry in page.driver.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert sent, "the log of requests has at least the page itself"
    assert all('"url":"file:///' in message for message in sent)


def test_it_can_be_printed(made, page):
    import base64

    data = base64.b64decode(page.driver.print_page())
    assert data.startswith(b"%PDF")
    (SCREENSHOTS / "real.pdf").write_bytes(data)
