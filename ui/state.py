"""The app's state in memory: the loaded model with its base. All else is files, and the live feeds.

    workbench = Workbench(model="runs/demo/artifact")
    workbench.load_in_background()       # torch is imported there, not before the first page
    workbench.model.state                # "none" | "loading" | "ready" | "failed"

Everybody who opens the app sees the same model; `ui.live.feeds` says who sees which feed. Knows nothing about
Gradio.
"""

import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import training.jobs.runner  # noqa: F401  (registers who does the work of a rented run)
from inference.artifact import BASE_HEAD, EVALUATION, PROVENANCE, RUNGS, kept_rungs, model_of, read_record
from inference.baselines.model import load_model
from inference.classifier import Classifier
from inference.common.errors import RunError, TweetTuneError
from inference.common.paths import cache_dir
from inference.common.store import JsonObject
from inference.live.post import Post
from training.evaluate.scores import Disagreement, Evaluation, read_evaluation
from training.recipes import DataSpec, change, load_recipe
from training.runs.process import start, start_waiting
from training.runs.run import ACTIVE, LADDER, TRAIN, Run, create_run, find_run, list_runs, long_runs
from ui.account import SpaceSettings, read_settings
from ui.pushes import Publications

Stage = Literal["none", "loading", "ready", "failed"]
_MOST_EXPORTS = 8
SLOW_S = 6.0
"""After this a page says that a model is still being downloaded from the Hub."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 600.0
"""Between attempts to download the first model from the Hub; each pause is twice the one before."""


@dataclass(frozen=True)
class Model:
    """A snapshot of the loaded model; a change replaces it."""

    state: Stage = "none"
    source: str = ""
    message: str = ""
    tuned: Classifier | None = None
    base: Classifier | None = None
    base_state: Stage = "none"
    base_message: str = ""
    run: Run | None = None
    since: float = field(default_factory=time.monotonic, compare=False)
    """When its loading began."""

    @property
    def slow(self) -> bool:
        """Whether a model from the Hub is still loading after SLOW_S."""
        late = self.state == "loading" and time.monotonic() - self.since > SLOW_S
        return late and not Path(self.source).is_dir()

    @property
    def folder(self) -> Path | None:
        """The artifact's folder; for a model from the Hub the one in the cache, None before it is loaded."""
        if self.source and Path(self.source).is_dir():
            return Path(self.source)
        return self.tuned.folder if self.tuned else None

    @property
    def name(self) -> str:
        """The model's name in the header: its run, its folder or its repository."""
        if self.run:
            return self.run.id
        return Path(self.source).name if Path(self.source).is_dir() else self.source

    def evaluation(self) -> Evaluation | None:
        """Return the evaluation on the test split, None without one or if the file is damaged."""
        with suppress(TweetTuneError):
            return _evaluation(self.folder, _changed(self.folder, EVALUATION)) if self.folder else None
        return None

    def provenance(self) -> JsonObject | None:
        """Return where the model came from, None if unknown or if the file is damaged."""
        with suppress(TweetTuneError):
            return _provenance(self.folder, _changed(self.folder, PROVENANCE)) if self.folder else None
        return None

    def disagreements(self) -> list[Disagreement]:
        """Return the test rows on which base and fine-tuned disagree; none without a run."""
        return self.run.disagreements() if self.run else []


def _changed(folder: Path, name: str) -> int:
    """Return a file's modification time in ns, 0 for none: open pages read it every few seconds."""
    with suppress(OSError):
        return (folder / name).stat().st_mtime_ns
    return 0


@lru_cache(maxsize=4)
def _evaluation(folder: Path, changed_ns: int) -> Evaluation | None:
    return read_evaluation(folder)


@lru_cache(maxsize=4)
def _provenance(folder: Path, changed_ns: int) -> JsonObject | None:
    return read_record(folder, PROVENANCE)


ONE_LOAD = threading.RLock()
"""Held while a network is loaded: Transformers loses weights where two threads load at once."""


def load_tuned(source: str) -> Classifier:
    """Return the Classifier of an artifact; the first call imports torch. Raises ArtifactError."""
    with ONE_LOAD:
        return load_model(source)


def load_base(artifact: Path) -> Classifier:
    """Return the untouched base of an artifact as a Classifier. Raises BaseError or ArtifactError."""
    from training.model.classifier import load_base_classifier  # noqa: PLC0415  (torch takes seconds)

    with ONE_LOAD:
        return load_base_classifier(artifact)


class Workbench:
    """The app's memory; its methods may be called from any thread."""

    def __init__(
        self,
        *,
        model: str | None = None,
        settings: SpaceSettings | None = None,
        load_tuned: Callable[[str], Classifier] = load_tuned,
        load_base: Callable[[Path], Classifier] = load_base,
        on_expected: Callable[[str, bool], None] = lambda name, coming: None,
        on_loaded: Callable[[str, Classifier | None], None] = lambda name, classifier: None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """Plan to load `model`, or else the newest finished run, or nothing when there is none.

        `on_expected(name, coming)`: whether the model "fine-tuned" or "base" is being loaded.
        `on_loaded(name, classifier)`: the Classifier that answers under that name from now on, or None.
        """
        self.settings = settings or read_settings()
        self._load_tuned, self._load_base = load_tuned, load_base
        self._on_expected, self._on_loaded = on_expected, on_loaded
        self._first_pause_s = first_pause_s
        self._loading = threading.Lock()  # one load at a time: two would need twice the memory
        self.starting = threading.Lock()  # one training at a time
        self.publications = Publications()
        source = model or newest_artifact()
        self.model = Model(state="loading", source=source, run=run_of(source)) if source else Model()
        self._on_replaced: list[Callable[[], None]] = []
        self.replay: dict[DataSpec, tuple[str, list[Post]]] = {}
        """The posts of one data set that the model has not learnt, and their split."""

    def when_replaced(self, act: Callable[[], None]) -> None:
        """Register a callback for when another model was loaded, such as one that ends the old feeds."""
        self._on_replaced.append(act)

    def load_in_background(self) -> None:
        """Load the planned model and its base in a thread; start the runs that are queued."""
        start_waiting(max_minutes=self.settings.max_run_minutes)
        if self.settings.first_run and not self.model.source and not list_runs(kind=None):
            threading.Thread(target=self._train_first, name="first-run", daemon=True).start()
        if self.model.source:
            threading.Thread(target=self._load_planned, name="load-model", daemon=True).start()

    def _train_first(self, *, pause_s: float = 2.0) -> None:
        """Train the owner's first recipe, and load its model unless another one was chosen meanwhile."""
        asked = {"base": self.settings.base, "dataset": self.settings.dataset}
        try:
            run = create_run(change(load_recipe(self.settings.first_run), asked))
            start(run, max_minutes=self.settings.max_run_minutes)
            while run.status().state in ACTIVE:
                time.sleep(pause_s)
            if run.status().state == "finished" and not self.model.source:
                self.use(str(run.artifact))
        except TweetTuneError as error:
            sys.stderr.write(f"The first run, FIRST_RUN, did not go well: {error}\n")

    def _load_planned(self) -> None:
        """Load the planned model; from the Hub, retry until it or another model is loaded."""
        source, pause_s = self.model.source, self._first_pause_s
        while self.model.state != "ready":
            try:
                if self.model.source == source:  # else somebody is loading another one
                    return self.use(source)
            except TweetTuneError as error:
                with self._loading:
                    if self.model.source == source:
                        self.model = replace(self.model, state="failed", message=str(error))
                if Path(source).exists():
                    return
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def use(self, source: str) -> None:
        """Load a model and, in a thread, its base. If it raises ArtifactError, the former model stays."""
        source = model_of(source)
        with self._loading:
            former = self.model
            self.model = Model(state="loading", source=source, run=run_of(source))
            self._on_expected("fine-tuned", True)
            try:
                tuned = self._load_tuned(source)
            except TweetTuneError:
                self.model = former
                if former.tuned is None:
                    self._on_expected("fine-tuned", False)
                raise
            self._on_loaded("base", None)
            self._on_expected("base", True)
            self._on_loaded("fine-tuned", tuned)
            loaded = replace(self.model, state="ready", tuned=tuned, base_state="loading")
            self.model = loaded
        for act in self._on_replaced:
            act()
        threading.Thread(target=self._add_base, args=(loaded,), name="load-base", daemon=True).start()

    def _add_base(self, loaded: Model) -> None:
        folder = loaded.folder
        try:
            if folder is None or not (folder / BASE_HEAD).is_file():
                raise RunError(
                    "This model came without its base's head, so there is nothing to compare with."
                )
            done = replace(loaded, base=self._load_base(folder), base_state="ready")
        except TweetTuneError as error:
            done = replace(loaded, base_state="failed", base_message=str(error))
        with self._loading:
            if self.model is loaded:  # else another model was chosen meanwhile
                self.model = done
                self._on_loaded("base", done.base)
                self._on_expected("base", done.base is not None)


def export_folder() -> Path:
    """Return a new folder for one export, with an unguessable name; the oldest ones are removed."""
    exports = cache_dir() / "exports"
    exports.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = sorted(exports.iterdir(), key=lambda folder: folder.lstat().st_mtime)
    for folder in old[: max(0, len(old) - _MOST_EXPORTS + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
    return exports / secrets.token_hex(12)


def newest_artifact() -> str:
    """Return the artifact of the newest finished run, "" when there is none."""
    return next((str(run.artifact) for run in list_runs() if run.status().state == "finished"), "")


def run_of(source: str) -> Run | None:
    """Return the run that made an artifact, None if it was made elsewhere."""
    try:
        return find_run(Path(source).absolute().parent) if Path(source).is_dir() else None
    except TweetTuneError:
        return None


def other_models(loaded: Run | None) -> dict[str, str]:
    """Return the folders of the other models by name: finished runs and rungs of the newest ladder."""
    found = {
        run.id: str(run.artifact)
        for run in list_runs()
        if run.status().state == "finished" and (loaded is None or run.path != loaded.path)
    }
    kept = ((ladder, kept_rungs(ladder.path)) for ladder in list_runs(kind=LADDER))
    if newest := next((one for one in kept if one[1]), None):
        ladder, rungs = newest
        found |= {f"{ladder.id}/{rung}": str(ladder.path / RUNGS / rung) for rung in rungs}
    return found


def known_run(run_id: str, *, kind: str | None = TRAIN) -> Run:
    """Return a run of `runs/` by its id alone: a visitor must not reach other folders. Raises RunError.

    `kind`: a training unless another one is asked for; None: any long work.
    """
    runs = list_runs(kind=kind) if kind else long_runs()
    if run := next((run for run in runs if run.id == run_id), None):
        return run
    raise RunError(f"There is no run {run_id!r} here. Choose one from the list of runs.")
