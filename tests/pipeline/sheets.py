"""Problems of a checkup."""

from __future__ import annotations

from pipeline.checkup.sheet import Sheet


def only(sheets: Sheet | list[Sheet]) -> str:
    """The one problem of these sheets."""
    [problem] = [problem for sheet in (sheets if isinstance(sheets, list) else [sheets]) for problem in sheet.problems]
    return problem


def problems(sheets: list[Sheet]) -> list[str]:
    return [problem for sheet in sheets for problem in sheet.problems]
