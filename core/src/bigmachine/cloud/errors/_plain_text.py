"""What an answer says that is no answer of an API: of a proxy, or of a provider's frontend."""

from __future__ import annotations

import re

_MAX = 200  # characters: the page of an error says what it is in its first words
_MARKUP = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.S)


def plain_text(page: str) -> str:
    """Return the beginning of a text, such as a page of HTML, in one line without its markup."""
    return " ".join(_MARKUP.sub(" ", page).split())[:_MAX]
