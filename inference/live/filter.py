"""Which posts of a source are wanted: one filter for all sources, and a count of what it let go.

    filter = Filter(keywords=("train", "bus"), languages=("en",), reposts=False)
    filter.against(post)           # -> None, or the reason why the post is not wanted: "keyword"

    sieve = Sieve(filter)
    sieve.keeps(post)              # -> True or False, and it counts
    sieve.let_go                   # -> {"keyword": 3, "repost": 1}

Knows nothing about sources. `XSearch` and `XStream` also put the filter into their query, so that nobody pays
for posts that would be let go.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from inference.live.post import Post

Reason = Literal["repost", "reply", "sensitive", "language", "language unknown", "keyword"]
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts without word spaces
_UNKNOWN = ("", "und", "zxx", "qme", "qst", "qht", "qam", "qct")  # X's tags for posts in no language


@dataclass(frozen=True)
class Filter:
    """What is wanted. No keyword: any text; no language: any language.

    A post matches when it holds at least one keyword, as whole words, whatever the case. A language "en" also
    matches "en-GB". Posts that don't tell their language are let go when languages are asked for.
    """

    keywords: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    reposts: bool = True
    replies: bool = True
    sensitive: bool = True

    def against(self, post: Post) -> Reason | None:
        """Return why a post is not wanted, None when it is."""
        if post.is_repost and not self.reposts:
            return "repost"
        if post.is_reply and not self.replies:
            return "reply"
        if post.sensitive and not self.sensitive:
            return "sensitive"
        return self._against_language(post) or self._against_text(post)

    def _against_language(self, post: Post) -> Reason | None:
        if not self.languages:
            return None
        known = {_primary(tag) for tag in post.languages} - set(_UNKNOWN)
        if not known:
            return "language unknown"
        return None if known & {_primary(tag) for tag in self.languages} else "language"

    def _against_text(self, post: Post) -> Reason | None:
        pattern = _pattern(self.keywords)
        return None if not pattern or pattern.search(_folded(post.text)) else "keyword"


class Sieve:
    """A filter that counts by reason what it let go. Use it from one thread at a time."""

    def __init__(self, filter: Filter) -> None:
        """Start to count from nothing."""
        self.filter = filter
        self._let_go: Counter[str] = Counter()

    def keeps(self, post: Post) -> bool:
        """Tell whether a post is wanted, and count it when it is not."""
        reason = self.filter.against(post)
        if reason:
            self._let_go[reason] += 1
        return reason is None

    @property
    def let_go(self) -> Mapping[str, int]:
        """How many posts were let go, by reason."""
        return dict(self._let_go)


def _primary(tag: str) -> str:
    return re.split(r"[-_]", tag.strip().lower(), maxsplit=1)[0]


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@lru_cache(64)
def _pattern(keywords: tuple[str, ...]) -> re.Pattern[str] | None:
    words = [folded for word in keywords if (folded := _folded(word))]
    return re.compile("|".join(map(_whole_word, words))) if words else None


def _whole_word(word: str) -> str:
    before = r"(?<!\w)" if _in_words(word[0]) else ""
    after = r"(?!\w)" if _in_words(word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"


def _in_words(character: str) -> bool:
    return bool(re.match(r"\w", character)) and not unicodedata.name(character, "").startswith(_NO_SPACES)
