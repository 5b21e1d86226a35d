"""One part of the doctor's screen: what there is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MOST_SHOWN = 8


@dataclass
class Sheet:
    """A title, `what: how it is` rows, and a line with its remedy for everything that is wrong."""

    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def row(self, what: str, how: str) -> None:
        """Say how something is."""
        self.rows.append((what, how))

    def problem(self, line: str) -> None:
        """Say what is wrong, and what to do."""
        self.problems.append(" ".join(line.split()))

    @contextmanager
    def noting(self, place: object, remedy: str) -> Iterator[None]:
        """A block that reads `place`: what a reader raises is a problem, with `remedy` where it names none (our errors do, after a semicolon)."""
        try:
            yield
        except (ValueError, OSError) as error:
            said = str(error) if str(place) in str(error) else f"{place}: {error}"
            self.problem(said if "; " in said else f"{said}; {remedy}")
        except Exception as error:  # a damaged file may make a library raise anything, and a doctor does not fall ill of it
            self.problem(f"{place}: {type(error).__name__}: {str(error).partition(chr(10))[0]}; {remedy}")

    def lines(self) -> list[str]:
        """The part of the screen: title, rows, problems; of many problems the first ones and how many more there are."""
        shown = [f"  ! {line}" for line in self.problems[:MOST_SHOWN]]
        if len(self.problems) > MOST_SHOWN:
            shown.append(f"  ! and {len(self.problems) - MOST_SHOWN} more")
        return [self.title, *(f"  {what:<13} {how}" for what, how in self.rows), *shown]
