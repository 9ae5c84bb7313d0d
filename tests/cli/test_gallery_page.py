"""The gallery in a real browser: paging, filters and order, whatever the texts hold."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from PIL import Image

from mmpref.cli.inspect import command
from tests import continued

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page with")

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & <b>bold</b>"
ROWS = 130


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 130 rows of two methods, one of them hostile, with large images."""
    folder = tmp_path_factory.mktemp("gallery")
    for number in range(3):
        Image.effect_noise((600, 400), 60 + number).convert("RGB").save(folder / f"{number}.jpg")
    rows = [
        {
            "image": f"{number % 3}.jpg",
            "prompt": HOSTILE if number == 7 else f"Question number {number}?",
            "chosen": "There is a cup and a fork at the back." + " More words." * (number % 5),
            "rejected": HOSTILE if number == 7 else f"There is a cup and a fork at the front. Nr{number}",
            "method": "bdhs" if number % 2 else "seva",
            "similarity": number / ROWS,
        }
        for number in range(ROWS)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "page.html"
    done = CliRunner().invoke(command, [str(folder / "pairs.jsonl"), "--html", str(path)])
    assert done.exit_code == 0, done.output
    return path


def opened(file: Path, **state: object) -> str:
    """The document once its script has run."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=5000",
            "--dump-dom",
            f"file://{file}#{urlencode(state)}",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)


def shown(document: str) -> list[int]:
    return [int(number) for number in re.findall(r"<small>row (\d+) \(\d.jpg\),", document)]


def test_the_page_needs_no_network_and_holds_every_image_once(page: Path) -> None:
    text = page.read_text()
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert text.count("data:image/jpeg;base64,") == 3
    assert len(text) < 250_000
    assert text.count("</script>") == 2
    assert "script-src 'sha256-" in text


@browser
def test_rows_are_shown_page_by_page(page: Path) -> None:
    first, last = opened(page), opened(page, page=6)
    assert shown(first) == list(range(24))
    assert shown(last) == list(range(120, 130))
    assert "130 of 130 rows" in first
    assert "of 6<" in first
    assert shown(opened(page, page=99)) == shown(last)
    assert len(re.findall(r'<img src="data:image', first)) == 24
    assert re.search(r"<p class=\"chosen\">.*?<mark>back.*?</mark>", first)
    assert re.search(r"<p class=\"rejected\">.*?<mark>front.*?</mark>", first)


@browser
def test_a_row_names_its_image_and_is_found_by_it(page: Path) -> None:
    document = opened(page, text="2.jpg")
    assert "row 2 (2.jpg)" in document
    assert shown(document)[:2] == [2, 5]


@browser
def test_filters_and_order(page: Path) -> None:
    assert shown(opened(page, method="bdhs", page=2)) == list(range(49, 97, 2))
    assert shown(opened(page, text="nr12")) == [12, *range(120, 130)]
    assert shown(opened(page, order="most similar first"))[:3] == [129, 128, 127]
    long = opened(page, least=28, method="seva", order="longest first")
    assert shown(long)[0] == 4
    assert all(number % 5 == 4 for number in shown(long))
    assert "0 of 130 rows" in opened(page, text="nothing like it")
    assert "0 of 130 rows" in opened(page, problems="1")


@browser
def test_hostile_texts_stay_text(page: Path) -> None:
    document = opened(page, text="onerror")
    assert shown(document) == [7]
    assert "<title>owned" not in document
    assert html.escape(HOSTILE, quote=False) in document
    assert "<b>bold</b>" not in document


def test_a_context_is_shown_as_the_answer_so_far(tmp_path: Path) -> None:
    data, path = continued.write(tmp_path), tmp_path / "page.html"
    done = CliRunner().invoke(command, [str(data), "--html", str(path)])
    assert done.exit_code == 0, done.output
    assert re.search(r"rows whose answers continue a context\s+\D*8\b", done.output)
    found = re.search(r'id="data"[^>]*>(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    rows, given = json.loads(found[1])["rows"], continued.rows(12)
    contexts = [row["prompt"][1]["content"] if len(row["prompt"]) > 1 else None for row in given]
    assert [row.get("k") for row in rows] == contexts
    assert [row["p"] for row in rows] == [row["prompt"][0]["content"] for row in given]
    if CHROMIUM:
        assert opened(path).count("answer so far") == 8
