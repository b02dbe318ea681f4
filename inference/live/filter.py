"""Which posts of a source to classify: one filter for all sources.

    filter = Filter(keywords=("train", "bus"), languages=("en",), reposts=False)
    filter.against(post)           # -> None, or the reason why the post is filtered out: "keyword"

`XSearch` and `XStream` also put the filter into their query: nobody pays for posts that it would drop.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from inference.live.post import Post

FilterReason = Literal["repost", "reply", "sensitive", "language", "language unknown", "keyword"]
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts without word spaces
_UNKNOWN = ("", "und", "zxx", "qme", "qst", "qht", "qam", "qct")  # X's tags for posts in no language


@dataclass(frozen=True)
class Filter:
    """The posts that pass. No keyword: any text; no language: any language.

    A post matches when it holds at least one keyword, as whole words, whatever the case. A language "en" also
    matches "en-GB". A post without a known language is filtered out when languages are asked for.
    """

    keywords: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    reposts: bool = True
    replies: bool = True
    sensitive: bool = True

    def against(self, post: Post) -> FilterReason | None:
        """Return why a post is filtered out, None when it passes."""
        if post.is_repost and not self.reposts:
            return "repost"
        if post.is_reply and not self.replies:
            return "reply"
        if post.sensitive and not self.sensitive:
            return "sensitive"
        if self.languages:
            known = {_primary(tag) for tag in post.languages} - set(_UNKNOWN)
            if not known & {_primary(tag) for tag in self.languages}:
                return "language" if known else "language unknown"
        pattern = _pattern(self.keywords)
        return None if not pattern or pattern.search(_folded(post.text)) else "keyword"


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
