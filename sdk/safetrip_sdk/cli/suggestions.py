"""What a mistyped word may have meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

__all__ = ["SuggestingParser", "did_you_mean"]

_UNKNOWN = re.compile(r"unrecognized arguments: (--[\w.-]+)")
_CHOICE = re.compile(r"invalid choice: '([^']+)' \(choose from (.*)\)", re.DOTALL)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean A or B?`, of the known words that are like it; empty where none is.

    Of settings with dots the last part is what people remember: `--epochs` is like `--trainer.max_epochs`.
    """
    parts = {name: name.lstrip("-").rpartition(".")[2] for name in known}
    last = word.lstrip("-").rpartition(".")[2]
    holding = [name for name, part in parts.items() if last == part or (len(last) > 2 and last in part)]
    like = get_close_matches(last, parts.values(), n=1, cutoff=0.75)
    found = (
        get_close_matches(word, parts, n=1, cutoff=0.85)
        or sorted(holding, key=len)[:2]
        or [name for name, part in parts.items() if part in like]
    )
    return f"; did you mean {' or '.join(found)}?" if found else ""


class SuggestingParser(argparse.ArgumentParser):
    """argparse's, whose errors about an option or a choice that there is not name what is like it.

    Attributes:
        elsewhere: words that other programs have for one of the choices.
    """

    elsewhere: Mapping[str, str] = {}

    def parse_known_args(  # type: ignore[override]  # its overloads say no more than this
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse has it, but a verb refuses what it does not know: the command knows no option."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        unknown, choice = _UNKNOWN.search(message), _CHOICE.search(message)
        if unknown:
            message += did_you_mean(unknown[1], self._option_string_actions)
        elif choice:
            known = {name: name for name in re.findall(r"[\w.-]+", choice[2])} | dict(self.elsewhere)
            like = get_close_matches(choice[1], known, n=1)
            message += f"; did you mean {known[like[0]]}?" if like else ""
        super().error(message)
