"""The words and hashtags that set one label's posts apart from the others.

    words = TopWords(classifier.labels)
    words.add("what a sunny day #berlin", "positive")
    words.top()["positive"]       # -> Distinct(words=(Word("sunny", posts=41, of=44, z=9.3), …), …)

Method: the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin'
Words", doi 10.1093/pan/mpn018), one label against all others, over the recent posts; the prior is the words
of all of them. A word counts once a post, so that a post can't vote twice. There is no list of stop words: a
word is shown when its z is beyond chance for as many words as were tested (Bonferroni, one-sided 5 % a label)
and it is at least half as frequent again among the label's posts; words that are common everywhere drop out
by themselves. With labels assigned at random next to nothing is shown.

Texts are hostile: of each the first 2,000 characters are read, stacked marks are cut to two, invisible
controls (bidi overrides among them) are dropped, and no word has over 40 characters. What is returned is
still text by strangers: escape it. Scripts without spaces (Chinese, Japanese, Thai and the like) are counted
by pairs of characters. Call it from one thread, or under a lock.
"""

import functools
import math
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

READ_CHARACTERS = 2_000
MAX_WORD = 40
MAX_WORDS_A_POST = 200
_PRIOR = 0.25  # the prior weighs as much as this share of all words: less hides rare ones, more common ones
_MIN_POSTS = 3
_MIN_RATIO = 1.5
_CHANCE = 0.05
_NOISE = re.compile(r"(?:https?://|www\.)\S+|(?<!\w)@[\w.]+", re.IGNORECASE)
_ASCII_WORD = re.compile(r"#\w+|[a-z]+(?:'?[a-z]+)*")  # the pattern below, for texts that need no more
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"


@dataclass(frozen=True)
class Word:
    """A word or hashtag, in lower case. Hashtags keep their "#"."""

    word: str
    posts: int
    """Recent posts of this label that have it."""
    of: int
    """Recent posts of any label that have it."""
    z: float
    """The log-odds ratio over its standard deviation: how surely it belongs to this label."""


@dataclass(frozen=True)
class Distinct:
    """What sets a label's posts apart, the surest first; empty when nothing does beyond chance."""

    words: tuple[Word, ...]
    hashtags: tuple[Word, ...]


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a word, of marks too many, and of a pair in a script without spaces.

    The standard library's `\\w` leaves out combining marks, without which no Hindi word is whole.
    """
    marks = "".join(
        re.escape(c) for c in map(chr, range(0x300, 0x1F000)) if unicodedata.category(c)[0] == "M"
    )
    letter = f"[^\\W\\d_][{marks}]*"
    word = f"#\\w(?:\\w|[{marks}])*|{letter}(?:['’]?{letter})*|[{_EMOJI}]"
    return (
        re.compile(word),
        re.compile(f"([{marks}]{{2}})[{marks}]+"),
        re.compile(f"[{_NO_SPACES}][{marks}]*"),
    )


def words_of(text: str) -> set[str]:
    """Return the different words, hashtags and emoji of a text, folded to lower case; links, user names and
    numbers are left out. Takes any string of any length and never raises.
    """
    found: set[str] = set()
    for part in unicodedata.normalize("NFKC", text[:READ_CHARACTERS])[: 2 * READ_CHARACTERS].split():
        found.update(_known(part) if len(part) <= MAX_WORD else _words(part))
        if len(found) >= MAX_WORDS_A_POST:
            return set(list(found)[:MAX_WORDS_A_POST])
    return found


def _words(part: str) -> tuple[str, ...]:
    """Return the words of a stretch without blanks."""
    word, too_many, lone = _patterns()
    plain = part
    if not part.isprintable():
        plain = "".join(c for c in part if unicodedata.category(c) not in ("Cf", "Cs", "Cc"))
    if "@" in plain or "." in plain or "//" in plain:
        plain = _NOISE.sub(" ", plain)
    if plain.isascii():
        found: Iterator[str] = (match.group() for match in _ASCII_WORD.finditer(plain.lower()))
    else:
        plain = too_many.sub(r"\1", plain).casefold()
        found = (piece for match in word.finditer(plain) for piece in _pieces(match.group(), lone))
    return tuple(w for w in found if len(w) <= MAX_WORD and (len(w) > 1 or not w.isascii()))


_known = functools.lru_cache(maxsize=16_384)(_words)  # most words of a stream are the same few thousand


def _pieces(word: str, lone: re.Pattern[str]) -> Iterator[str]:
    """Yield a word as it is, or the pairs of characters of one in a script without spaces."""
    characters = lone.findall(word) if not word.startswith("#") else []
    if len(characters) < 2:
        yield word
        return
    for first, second in pairwise(characters):
        yield first + second


class TopWords:
    """Words by label over the last `recent` posts. Memory is bounded by these posts' words."""

    def __init__(self, labels: Sequence[str], *, recent: int = 2_000) -> None:
        self.labels = tuple(labels)
        self._posts: deque[tuple[str, tuple[str, ...], str]] = deque()
        self._recent = recent
        self._counts: dict[str, Counter[str]] = {label: Counter() for label in self.labels}

    def add(self, text: str, label: str, *, shown: bool = True) -> None:
        """Take a classified post; not `shown`: it is only counted. Raises KeyError for an unknown label."""
        counts = self._counts[label]
        words = tuple(words_of(text))
        counts.update(words)
        self._posts.append((label, words, text[:READ_CHARACTERS] if shown else ""))
        if len(self._posts) > self._recent:
            old, gone, _ = self._posts.popleft()
            for word in gone:
                self._counts[old][word] -= 1
                if not self._counts[old][word]:
                    del self._counts[old][word]

    def about(
        self, word: str, n: int
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[str, str], ...]]:
        """Return, by label, the posts that have a word and all posts; and n of the former, newest first."""
        those = [(text, label) for label, words, text in reversed(self._posts) if word in words]
        counts, every = Counter(label for _, label in those), Counter(post[0] for post in self._posts)
        newest = [post for post in those if post[0]][:n]
        return tuple(counts[i] for i in self.labels), tuple(every[i] for i in self.labels), tuple(newest)

    def top(self, n: int = 10) -> dict[str, Distinct]:
        """Return up to n words and n hashtags for each label. Takes some 20 ms for 2,000 posts."""
        every: Counter[str] = Counter()
        for counts in self._counts.values():
            every.update(counts)
        tested = {word: count for word, count in every.items() if count >= _MIN_POSTS}
        if not tested or len(every) == 1:  # with one word alone there is nothing to compare it with
            return {label: Distinct((), ()) for label in self.labels}
        limit = NormalDist().inv_cdf(1 - _CHANCE / len(tested))
        return {label: self._distinct(label, tested, every.total(), limit, n) for label in self.labels}

    def _distinct(self, label: str, tested: Mapping[str, int], total: int, limit: float, n: int) -> Distinct:
        counts = self._counts[label]
        mine, others = counts.total(), total - counts.total()
        found = []
        for word, of in tested.items():
            here = counts.get(word, 0)
            if here >= _MIN_POSTS and here * others >= _MIN_RATIO * (of - here) * mine:
                z = _z(here, of - here, mine, others)
                if z >= limit:
                    found.append(Word(word, here, of, z))
        found.sort(key=lambda word: (-word.z, word.word))
        return Distinct(
            tuple(word for word in found if not word.word.startswith("#"))[:n],
            tuple(word for word in found if word.word.startswith("#"))[:n],
        )


def _z(here: int, there: int, mine: int, others: int) -> float:
    """Return the log-odds ratio over the root of its approximate variance, as in Monroe et al."""
    prior, priors = _PRIOR * (here + there), _PRIOR * (mine + others)
    a, b = here + prior, there + prior
    ratio = math.log(a / (mine + priors - a)) - math.log(b / (others + priors - b))
    return ratio / math.sqrt(1 / a + 1 / b)
