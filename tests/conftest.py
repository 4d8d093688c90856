"""What many tests share: an excerpt of the sample corpus, prepared once, and a small model trained on it once."""

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch
from small_run import no_pictures

from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config, DecodingConfig
from chatbot.corpus.preparation import prepare
from chatbot.corpus.sources import SAMPLE
from chatbot.runs.directory import RunDirectory
from chatbot.training.distributed import Group
from chatbot.training.loop import train

torch.set_num_threads(1)  # a spinning pool beside a busy neighbour is slower than one thread
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so a shell begins what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

CONVERSATIONS = 120  # of each file of the sample corpus, in the excerpt
TINY = {
    "corpus": {"tokenizer": "english", "min_count": 1, "split": [0.94, 0.03, 0.03]},
    "model": {"hidden_size": 32, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.1, "recurrent_dropout": 0.1},
    "training": {
        "steps": 40,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "precision": "fp32",
        "word_dropout": 0.05,
        "prompt_dropout": 0.0,
        "ngram_smoothing": 0.0,  # tests of it ask for it
        "dropout_warmup_epochs": 0.5,
        "weight_averaging": 0.9,
        "warmup_steps": 5,
        "validate_every": 10,
        "patience": 0,
        "max_minutes": 0,
    },
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """A test's own draws from torch are the same each time, so that one that fails can be seen to fail again."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's own trainings draw no attention, for the run that all share did, unless it is marked `draws`."""
    if "draws" not in request.keywords:
        no_pictures(monkeypatch)


@pytest.fixture(scope="session")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `sample` with the beginning of every file of the sample corpus: enough to learn from, quick to read."""
    folder = tmp_path_factory.mktemp("excerpt") / "sample"
    folder.mkdir()
    for file in SAMPLE.glob("*.txt"):
        conversations = file.read_text().split("\n\n")[:CONVERSATIONS]
        (folder / file.name).write_text("\n\n".join(conversations) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny(excerpt: Path) -> Config:
    """Settings of a model that trains in a second or two."""
    config = Config.from_dict(TINY, over=dataclasses.replace(PRESETS["default"], decoding=DecodingConfig()))
    return dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, corpus=str(excerpt)))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' preparations go."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def prepared(tiny: Config, data_dir: Path) -> Path:
    """The excerpt of the sample corpus, prepared."""
    return prepare(tiny.corpus, data_dir).folder


@pytest.fixture(scope="session")
def trained(tiny: Config, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of a small model on that excerpt: look, don't touch."""
    run = RunDirectory(tmp_path_factory.mktemp("checkpoints") / "tiny")
    train(tiny, prepared, run, Group())
    return run


@pytest.fixture(scope="session")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that has learnt the dialogue of `languages/` by heart, seven languages in one small network."""
    base, files = PRESETS["sample"], sorted((Path(__file__).parent / "languages").glob("*.tsv"))
    whole = {"split": (1.0, 0.0, 0.0), "max_length": 20}
    corpus = dataclasses.replace(base.corpus, corpus="+".join(map(str, files)), **whole)
    sizes = {"hidden_size": 128, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
    nothing_dropped = {"mark_dropout": 0.0, "word_dropout": 0.0, "prompt_dropout": 0.0, "weight_averaging": 0.0}
    steps = {"steps": 330, "validate_every": 330, "batch_size": 60, "warmup_steps": 10, "learning_rate": 0.008}
    config = Config(
        corpus,
        dataclasses.replace(base.model, **sizes),
        dataclasses.replace(base.training, **steps, **nothing_dropped, precision="fp32", max_minutes=0),
    )
    folder = tmp_path_factory.mktemp("languages")
    run = RunDirectory(folder / "polyglot")
    train(config, prepare(corpus, folder / "data").folder, run, Group())
    return run


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder with the real corpora, where CHATBOT_CORPORA names one."""
    folder = os.environ.get("CHATBOT_CORPORA")
    if not folder:
        pytest.skip("CHATBOT_CORPORA names no folder with real corpora")
    return Path(folder)
