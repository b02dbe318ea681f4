"""Data sets of the Hugging Face Hub: a preflight of three seconds, then `datasets.load_dataset`.

    hub = Hub()
    found = hub.preflight("mteb/tweet_sentiment_extraction")     # -> Preflight(reachable=True, …)
    loaded = hub.load("mteb/tweet_sentiment_extraction", found=found)

The preflight exists because the Hub's clients wait up to 23 s before they report that nothing answers.
Respects HF_HUB_OFFLINE, HF_ENDPOINT and HF_DATASETS_CACHE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
from datasets.naming import camelcase_to_snakecase
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub import HfApi

from inference.common.errors import DataError
from inference.common.hub import CLIENT_ERRORS, PREFLIGHT_S, HubError, preflight
from training.data.read import RawTable, split_of

_LOADING_FAILED = (*CLIENT_ERRORS, datasets.exceptions.DatasetsError, pa.ArrowException, NotImplementedError)
_HINTS = {
    "onfig": "choose one as --dataset ID:CONFIG",
    "gated": "accept its terms on the Hub and log in with `hf auth login`",
}
"""What to do, by a word of the loader's error."""


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What the preflight found out about a data set; `why` completes "because …", `todo` says what to do."""

    reachable: bool
    cached: bool
    why: str
    todo: str = ""
    revision: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class HubTables:
    """The tables of a data set by split, and the commit that they are of."""

    tables: Mapping[str, RawTable]
    revision: str | None


@dataclass(frozen=True)
class Hub:
    """The Hub as a source of data sets. `endpoint` and `cache` are the environment's when None."""

    endpoint: str | None = None
    cache: Path | None = None
    timeout_s: float = PREFLIGHT_S

    def preflight(self, dataset_id: str) -> Preflight:
        """Ask the Hub about a data set; answers within the time-out, whatever the network does."""
        cached = any(path.is_dir() for path in self._cache_folder(dataset_id).glob("*/*/*"))
        api = HfApi(endpoint=self.endpoint)
        try:
            info = preflight(
                f"find the data set {dataset_id}",
                lambda: api.dataset_info(dataset_id, timeout=self.timeout_s),
                repo=dataset_id,
                seconds=self.timeout_s,
            )
        except HubError as error:
            return Preflight(reachable=False, cached=cached, why=error.why, todo=error.todo)
        licence = info.card_data.get("license") if info.card_data else None
        return Preflight(
            reachable=True,
            cached=cached,
            why="the Hub answers",
            revision=info.sha,
            licence=", ".join(licence) if isinstance(licence, list) else licence,
        )

    def load(self, dataset_id: str, *, config: str = "", found: Preflight) -> HubTables:
        """Load a data set's splits, from the local cache when the Hub is out of reach.

        Raises DataError when it can't be loaded, or has no train split.
        """
        cache = str(self.cache) if self.cache else None
        try:
            if found.reachable:
                revision = found.revision
                splits = datasets.load_dataset(
                    dataset_id, config or None, revision=found.revision, cache_dir=cache
                )
            elif found.cached:
                name = dataset_id.split("/")[-1]
                builder = Cache(
                    cache_dir=cache,
                    dataset_name=name,
                    repo_id=dataset_id,
                    config_name=config or None,
                    version="auto",
                    hash="auto",
                )
                builder.download_and_prepare()
                splits, revision = builder.as_dataset(), builder.hash
            else:
                raise DataError(
                    f"The data set {dataset_id} can't be loaded: no file or folder has this name, and "
                    f"{found.why}. {found.todo}, or take --dataset embedded or a file of your own."
                )
        except _LOADING_FAILED as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            hint = next(
                (todo for word, todo in _HINTS.items() if word in reason), "check the id, or take another"
            )
            raise DataError(f"The data set {dataset_id} can't be loaded ({reason}); {hint}.") from error
        return HubTables(_tables(dataset_id, splits), revision)

    def _cache_folder(self, dataset_id: str) -> Path:
        *owner, name = dataset_id.split("/")
        folder = "___".join([*owner, camelcase_to_snakecase(name)])
        return Path(self.cache or datasets.config.HF_DATASETS_CACHE).expanduser() / folder


def _tables(dataset_id: str, splits: datasets.DatasetDict) -> dict[str, RawTable]:
    tables: dict[str, RawTable] = {}
    for name, dataset in splits.items():
        split = split_of(str(name))
        if split is not None and split not in tables:
            table = dataset.data.table.replace_schema_metadata(dataset.features.arrow_schema.metadata)
            tables[split] = RawTable.of_arrow(table)
    if "train" not in tables:
        raise DataError(
            f"The data set {dataset_id} has no train split (found: {', '.join(map(str, splits))}); "
            "take another."
        )
    return tables
