"""What the page of a whole loop says of a build."""

from __future__ import annotations

from typing import Any

from mmpref.cli.pages.html import render


def said(report: dict[str, Any]) -> str:
    return render("_masking.html.j2", report=report)


def test_the_page_says_how_much_of_an_image_a_try_shows() -> None:
    assert not said({}).strip()  # a method that hides nothing
    masking = {"rho_th": 0.98975, "visible_tokens": 30.0, "image_tokens": 2928.0}
    text = said({"masking": masking})
    assert "A try shows 30 of 2928 image tokens" in text
    assert "rho_th 0.9898" in text
    assert "first tries" not in text
    curve = [
        {"visible_tokens": 30, "rho_th": 0.98975, "resolved": 0.875},
        {"visible_tokens": None, "rho_th": 0.0, "resolved": 0.25},
    ]
    text = said({"masking": masking, "rho_auto": {"rows": 64, "within": 0.03, "curve": curve, "chosen": None}})
    assert "on 64 rows: the most visible tokens within\n3 points" in text
    assert "<td>all</td><td>0</td>\n<td>25.0 %</td><td>chosen</td>" in text
    assert "<td>87.5 %</td><td></td>" in text
