"""The parser of stages whose flags are the fields of dataclasses."""

from __future__ import annotations

import argparse
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from launch.command import OneLineErrors


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in every line, the description as it stands."""


class SettingsParser(OneLineErrors, ArgumentParser):
    """jsonargparse's parser for a stage whose flags are the fields of dataclasses: YAML files too, no abbreviated flags, one-line errors."""

    def __init__(self, prog: str = "", description: str | None = None, **rest: Any) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, formatter_class=_HelpFormatter, **rest)
