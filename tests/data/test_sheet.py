"""Contact sheets of images."""

from __future__ import annotations

from kit.data.sheet import SheetTile, write_sheet


def test_a_contact_sheet_stands_without_an_image_that_is_gone(tmp_path):
    write_sheet(tmp_path / "sheet.png", "two", [("", [SheetTile(str(tmp_path / "gone.png"), ["gone"])])])
    assert (tmp_path / "sheet.png").stat().st_size > 0
