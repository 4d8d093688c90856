"""The exported file gives the model's replies, alone, on any batch, and with torch only."""

import dataclasses
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import textwrap
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

import chatbot.deployment.torchscript as exporting
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import DecodingConfig, ModelConfig
from chatbot.corpus.tokenizer import TOKENIZERS
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.decoding.beam import BeamSearchDecoder
from chatbot.decoding.limits import Limits
from chatbot.decoding.plan import plan_of
from chatbot.decoding.sampling import SamplingDecoder
from chatbot.decoding.search import GreedySearchDecoder, Sampling
from chatbot.deployment.manifest import read_manifest
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.deployment.torchscript_tokenizer import table_sha256, torchscript_tokenizer
from chatbot.network.batch import pad_prompts
from chatbot.network.model import Seq2Seq
from chatbot.runs.archive import is_bundle
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError

ANTI_LM: Any = {"anti_lm": 0.3, "anti_lm_tokens": 4, "anti_lm_bound": 1.5}
OWN = [
    DecodingConfig(
        method="beam",
        beam_width=4,
        beam_threshold=0.2,
        length_penalty=1.0,
        no_repeat_ngram=2,
        no_repeat_context_ngram=2,
        tidy_marks=True,
        min_confidence=0.1,
        fallback=("How are you?", "What is your name?"),
        **ANTI_LM,
    ),
    DecodingConfig(method="sample", samples=3, temperature=0.8, top_p=0.9, seed=5, min_length=1),
    DecodingConfig(min_length=2),
]


@pytest.fixture(scope="module")
def checkpoint(trained: RunDirectory) -> Checkpoint:
    return trained.load_chosen()


@pytest.fixture(scope="module")
def bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "export"
    export(checkpoint, folder)
    return folder / "chatbot.pt"


@pytest.fixture
def unoptimised() -> Iterator[None]:
    """Code runs as the C++ client runs it; optimising it, as other tests here do, takes longer than all else."""
    with torch.jit.optimized_execution(False):
        yield


def prompts(vocabulary_size: int, count: int, longest: int) -> list[list[int]]:
    rng = random.Random(4)
    return [[rng.randrange(4, vocabulary_size) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def test_the_file_finds_what_the_model_finds(checkpoint: Checkpoint, bundle: Path) -> None:
    model = checkpoint.build_model()
    eager = GreedySearchDecoder(model.encoder, model.decoder, checkpoint.vocabulary.never_replied).eval()
    scripted = load_bundle(bundle).module.greedy_batch
    with torch.inference_mode():
        for size in (1, 2, 7, 64):
            src, src_lengths = pad_prompts(prompts(len(checkpoint.vocabulary), size, 40))
            for expected, got in zip(eager(src, src_lengths, 13), scripted(src, src_lengths, 13), strict=True):
                assert torch.equal(expected, got)


@pytest.mark.parametrize("attention", ["dot", "general", "concat"])
@pytest.mark.parametrize(("bridge", "layers"), [("linear", (1, 2)), ("linear", (3, 1)), ("tutorial", (2, 2))])
def test_every_kind_of_model_exports(
    attention: str, bridge: str, layers: tuple[int, int], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        checkpoint.config,
        model=ModelConfig(
            hidden_size=6,
            embedding_size=5,
            encoder_layers=layers[0],
            decoder_layers=layers[1],
            attention=attention,
            bridge=bridge,
        ),
    )
    model = Seq2Seq(config.model, len(checkpoint.vocabulary))
    proof = export(dataclasses.replace(checkpoint, config=config, model=model.state_dict()), tmp_path / "export")
    assert proof.prompts == len(checkpoint.prompts)
    assert proof.tokens > 0


def test_a_process_without_this_package_uses_it(checkpoint: Checkpoint, bundle: Path, trained: RunDirectory) -> None:
    program = f"""
import sys
sys.modules["chatbot"] = None  # importing it fails
import torch
bot = torch.jit.load({str(bundle)!r})
print(bot.reply("How are you? qxzvwk"))
print(" ".join(bot.reply_words(["how", "are", "you", "?", "qxzvwk"])))
print(len(bot.reply_words([])))
print(bot.metadata())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    reply, words, empty, metadata = done.stdout.splitlines()
    bot = Chatbot.load(trained.path)
    assert bot.tokenizer.detokenize(words.split(), bot.vocabulary.written) == reply == bot.reply("How are you? qxzvwk")
    assert empty == "0"
    assert json.loads(metadata)["config"] == json.loads(json.dumps(checkpoint.config.to_dict()))


TEXTS = [
    "Hello!",
    "",
    "What\u2019s your name?",
    "\U0001f600",
    "<i>Tell</i> me a joke\u2026",
    "zzzz",
    "ＯＫ, café?",
    "no " * 9_000,
]


@pytest.mark.usefixtures("unoptimised")
@pytest.mark.parametrize("tokenizer", sorted(TOKENIZERS))
def test_text_goes_in_and_comes_out_as_in_python(tokenizer: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "export" / "chatbot.pt"
    corpus = dataclasses.replace(checkpoint.config.corpus, tokenizer=tokenizer)
    other = dataclasses.replace(checkpoint, config=dataclasses.replace(checkpoint.config, corpus=corpus))
    export(other, path.parent)
    bot, module = Chatbot.load(path), load_bundle(path).module
    assert bot.tokenizer.name == tokenizer
    replies = [bot.reply(text) for text in TEXTS]
    emoji = tokenizer.startswith("unicode")  # of which an emoji is a word
    assert [bool(reply) for reply in replies] == [True, False, True, emoji, True, True, True, True]
    assert [module.reply(text) for text in TEXTS] == replies
    assert module.reply_batch(TEXTS) == replies
    assert module.reply_batch([]) == []
    assert module.reply_batch(["", "\n"]) == ["", ""]


def test_it_says_how_it_reads_unicode(bundle: Path) -> None:
    read = load_bundle(bundle)
    assert read.metadata["unicode"] == unicodedata.unidata_version
    assert read.metadata["table_sha256"] == table_sha256(torchscript_tokenizer(read.tokenizer.name))


def test_it_is_silent_where_every_warning_is_an_error(trained: RunDirectory, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c"]
    program = f"""
from pathlib import Path
from chatbot.runs.checkpoint import Checkpoint
from chatbot.deployment.torchscript import export, load_bundle
export(Checkpoint.load(Path({str(trained.best)!r})), Path({str(tmp_path / "b")!r}))
load_bundle(Path({str(tmp_path / "b" / "chatbot.pt")!r}))
"""
    done = subprocess.run([*command, program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_device_is_baked_in(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        code = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    assert any("pack_padded" in text for text in code.values())
    assert [name for name, text in code.items() if re.search(r"torch\.device\(|device=\"", text)] == []


def test_the_weights_of_a_gru_are_laid_side_by_side_for_a_gpu_only(checkpoint: Checkpoint, bundle: Path) -> None:
    """A GPU would gather them at each call, and warn: the file does what nn.GRU does when it moves to one."""
    module = load_bundle(bundle).module
    module.reply("hello")
    assert module.weights.laid == 0
    assert module.weights.lay_side_by_side.code.count("_cudnn_rnn_flatten_weight") >= 2
    model = checkpoint.build_model()
    for part, gru in (("encoder", model.encoder.gru), ("decoder", model.decoder.gru)):
        asked = Mock()
        asked._cudnn_rnn_flatten_weight.return_value.numel.return_value = 5
        model.laid = 1
        with torch.no_grad():
            exec(textwrap.dedent(exporting._flattening(part, gru)), {"torch": asked, "self": model})
        assert all(weight.is_contiguous() for weight in gru._flat_weights)  # not by columns, as a CPU reads them
        assert model.laid == 6
        weights, *sizes = asked._cudnn_rnn_flatten_weight.call_args.args
        assert all(one is other for one, other in zip(weights, gru._flat_weights, strict=True))
        ways = [gru.num_layers, True, part == "encoder"]
        assert sizes == [4, gru.input_size, 3, gru.hidden_size, 0, *ways]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_it_moves_to_a_gpu(checkpoint: Checkpoint, bundle: Path) -> None:
    here, there = load_bundle(bundle).module, load_bundle(bundle).module.to("cuda")
    src, src_lengths = pad_prompts(prompts(len(checkpoint.vocabulary), 9, 12))
    expected = here.greedy_batch(src, src_lengths, 13).tokens
    assert torch.equal(expected, there.greedy_batch(src.cuda(), src_lengths, 13).tokens.cpu())
    assert here.reply_nbest("Hello.", 3)[0][0] == there.reply_nbest("Hello.", 3)[0][0]


def test_a_file_that_answers_otherwise_is_not_left_behind(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    export(checkpoint, folder)
    before = (folder / "chatbot.pt").read_bytes()
    original = exporting._script

    def spoiled(model: Seq2Seq, *arguments: Any) -> torch.jit.ScriptModule:
        return original(Seq2Seq(checkpoint.config.model, len(checkpoint.vocabulary)).eval(), *arguments)

    monkeypatch.setattr(exporting, "_script", spoiled)
    with pytest.raises(ChatbotError, match="not exported"):
        export(checkpoint, folder)
    assert (folder / "chatbot.pt").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["export"]


def test_a_folder_that_holds_other_things_is_not_replaced(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ChatbotError, match=r"holds letters\.txt"):
        export(checkpoint, tmp_path)
    with pytest.raises(ChatbotError, match=r"holds letters\.txt"):
        export(checkpoint, tmp_path / "letters.txt")
    assert (tmp_path / "letters.txt").read_text() == "dear"
    export(checkpoint, tmp_path / "export")
    export(checkpoint, tmp_path / "export")  # an export is
    (tmp_path / "export" / "more.txt").write_text("mine")
    with pytest.raises(ChatbotError, match=r"more\.txt"):
        export(checkpoint, tmp_path / "export")


@pytest.mark.usefixtures("unoptimised")
def test_beams_and_samples_are_the_bots(checkpoint: Checkpoint, bundle: Path) -> None:
    module, bot = (
        load_bundle(bundle).module,
        Chatbot.from_model(checkpoint.build_model(), checkpoint.config, checkpoint.vocabulary),
    )
    for text in TEXTS:
        found = module.reply_nbest(text, 5)
        expected = bot.nbest(text, 5) if bot.prompt_ids(text) else []
        assert [reply for reply, _ in found] == [reply for reply, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-4)
        for seed in range(3):
            decoding = DecodingConfig(method="sample", temperature=1.2, top_p=0.9, seed=seed)
            assert module.sample(text, seed, 1.2, 0, 0.9) == bot.reply(text, decoding=decoding)


def test_more_texts_than_are_worked_on_at_once_are_answered_as_alone(bundle: Path) -> None:
    module, texts = load_bundle(bundle).module, ["hello", "", "how are you?", "what is it?", "?", "i like you"] * 3
    alone = [module.reply_greedy(text) for text in texts]
    module.planned.rows = 4
    assert module.reply_greedy_batch(texts) == alone


def test_a_thousand_prompts_are_answered_alike_by_every_search(checkpoint: Checkpoint, bundle: Path) -> None:
    module, model = load_bundle(bundle).module, checkpoint.build_model()
    parts = (model.encoder, model.decoder, checkpoint.never_replied)
    searches = [(way(*parts).eval()) for way in (GreedySearchDecoder, BeamSearchDecoder, SamplingDecoder)]
    limits, drawn, some = (
        Limits(13, min_length=1, no_repeat_ngram=3, repetition_penalty=1.1),
        Sampling(0.8, 0, 0.9),
        prompts(len(checkpoint.vocabulary), 1000, 12),
    )
    for first in range(0, 1000, 250):
        batch = pad_prompts(some[first : first + 250])
        with torch.inference_mode():
            pairs = [
                (searches[0](*batch, 13), module.greedy_batch(*batch, 13)),
                (searches[1](*batch, limits, 3, 2, 0.8), module.beam(*batch, limits, 3, 2, 0.8)),
                (searches[2](*batch, limits, 1, 5, drawn), module.sampling(*batch, limits, 1, 5, drawn)),
            ]
        for expected, found in pairs:
            assert torch.equal(expected.tokens, found.tokens)
            torch.testing.assert_close(expected.scores, found.scores, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("unoptimised")
@pytest.mark.parametrize("way", OWN, ids=lambda way: way.method)
def test_it_answers_by_the_runs_own_decoding(checkpoint: Checkpoint, way: DecodingConfig, tmp_path: Path) -> None:
    corpus = dataclasses.replace(checkpoint.config.corpus, context=2)
    words = Vocabulary([*checkpoint.vocabulary.tokens[:4], "<sep>", *checkpoint.vocabulary.tokens[5:]])
    config = dataclasses.replace(checkpoint.config, corpus=corpus, decoding=way)
    checkpoint = dataclasses.replace(checkpoint, config=config, vocabulary=words)
    export(checkpoint, tmp_path / "export")
    module = load_bundle(tmp_path / "export" / "chatbot.pt").module
    bot = Chatbot.from_model(checkpoint.build_model(), config, words)
    opened = Chatbot.load(tmp_path / "export")
    expected = [bot.reply(text) for text in TEXTS]
    assert module.reply_batch(TEXTS) == expected
    assert [module.reply(text) for text in TEXTS] == [opened.reply(text) for text in TEXTS] == expected
    assert module.reply_greedy_batch(TEXTS) == [bot.reply(text, decoding=DecodingConfig()) for text in TEXTS]
    talk, earlier = bot.conversation(), list[str]()
    for turn, text in enumerate(["Hello.", "how are you?", "hello hello", "", "and you?"]):
        said = talk.say(text)
        assert module.reply_to(text, earlier, turn) == said
        earlier += [text, said] if said else []
    last = dataclasses.replace(way, seed=(1 << 63) - 1)  # the seeds of the turns go round
    module.plan = plan_of(last, checkpoint.config.corpus.max_length + 1, checkpoint.fallback_ids(last.fallback))
    bot, earlier = dataclasses.replace(bot, decoding=last), []
    talk = bot.conversation()
    for turn in range(3):
        said = talk.say("hello")
        assert module.reply_to("hello", earlier, turn) == said
        earlier += ["hello", said]


def test_it_is_called_as_the_tutorials_searcher_is(checkpoint: Checkpoint, bundle: Path) -> None:
    module = load_bundle(bundle).module
    for prompt in prompts(len(checkpoint.vocabulary), 5, 10):
        tokens, scores = module(torch.tensor(prompt).unsqueeze(1), torch.tensor([len(prompt)]), 10)
        found = module.greedy_batch(*pad_prompts([prompt]), 10)
        assert torch.equal(tokens, found.tokens[0])
        assert torch.equal(scores, found.scores[0])
        assert tokens.dtype == torch.int64
        assert tokens.shape == scores.shape


def test_the_manifest_describes_the_file_and_its_golden_replies_are_its_own(
    checkpoint: Checkpoint, bundle: Path
) -> None:
    manifest = read_manifest(bundle.parent)
    assert manifest["files"].keys() == {"chatbot.pt"}
    assert manifest["files"]["chatbot.pt"]["sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert manifest["config"]["model"] == dataclasses.asdict(checkpoint.config.model)
    assert manifest["special_ids"] == {"pad": 0, "sos": 1, "eos": 2, "unk": 3, "sep": None, "voice": None}
    assert manifest["torch"] == torch.__version__
    golden = manifest["golden"]
    assert len(golden) >= 20
    module = load_bundle(bundle).module
    for row in golden:
        assert module.reply(row.text) == row.reply
        assert module.reply_greedy(row.text) == row.greedy
        assert module.prompt_ids(row.text, []) == row.ids
        if row.ids:
            found = module.greedy_batch(*pad_prompts([row.ids]), checkpoint.config.corpus.max_length + 1)
            assert found.tokens[0].tolist() == row.tokens
            assert found.scores[0].tolist() == pytest.approx(row.scores, abs=1e-4)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "chatbot.pt").write_bytes((folder / "chatbot.pt").read_bytes() + b" "), "SHA-256"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot read"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "cannot read"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 9, "files": {}}'), "format 9"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"format": 1, "files": {}, "golden": []}'),
            "not in the manifest",
        ),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 1, "files": {}}'), "golden is missing"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"format": 1, "files": []}'),
            "cannot read the manifest",
        ),
    ],
)
def test_a_file_that_its_manifest_does_not_describe_is_refused(
    damage: Callable[[Path], object], says: str, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(bundle.parent, folder)
    damage(folder)
    for path in (folder, folder / "chatbot.pt"):
        with pytest.raises(ChatbotError, match=says):
            Chatbot.load(path)


def test_its_matrices_lie_in_memory_as_a_reply_reads_them(checkpoint: Checkpoint, bundle: Path) -> None:
    model, decoder = checkpoint.build_model(), load_bundle(bundle).module.search.decoder
    for weight, original in ((decoder.out.weight, model.decoder.out.weight), (decoder.gru.weight_hh_l0, None)):
        assert weight.stride() == (1, len(weight))
        assert original is None or torch.equal(weight, original)


def test_bundles_and_checkpoints_are_told_apart(bundle: Path, trained: RunDirectory, tmp_path: Path) -> None:
    assert is_bundle(bundle)
    assert not is_bundle(trained.best)
    assert not is_bundle(tmp_path / "nothing.pt")
    assert Chatbot.load(bundle).reply("Hello.") == Chatbot.load(trained.best).reply("Hello.")


def test_a_bundle_cut_anywhere_is_refused(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    for sixteenth in range(16):
        path = tmp_path / "cut.pt"
        path.write_bytes(whole[: len(whole) * sixteenth // 16])
        with pytest.raises(ChatbotError, match=r"cut\.pt"):
            Chatbot.load(path)


@pytest.mark.filterwarnings("ignore:.*Profiler clears events")  # torch 2.10
def test_a_reply_asks_the_network_once_a_token(checkpoint: Checkpoint, bundle: Path) -> None:
    module = load_bundle(bundle).module
    text = next(text for text in ("hello", "how are you?") if module.reply_greedy(text))
    ids = module.ids(module.tokenizer.last_words(text))
    found = module.greedy_batch(torch.tensor([ids]), torch.tensor([len(ids)]), checkpoint.config.corpus.max_length + 1)
    calls: dict[str, Callable[[], object]] = {
        "reply_greedy": lambda: module.reply_greedy(text),
        "reply_nbest": lambda: module.reply_nbest(text, 1),
        "sample": lambda: module.sample(text, 1, 0.001),  # so cold, it is the greedy reply
    }
    for name, call in calls.items():
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            call()
        steps = sum(event.count for event in profile.key_averages() if event.key == "aten::_log_softmax")
        assert steps == found.tokens.size(1), name


def test_the_file_holds_no_path_of_the_machine_that_made_it(bundle: Path) -> None:
    places = [str(Path(exporting.__file__).parent).encode(), str(Path(torch.__file__).parent).encode()]
    with zipfile.ZipFile(bundle) as archive:
        for name in archive.namelist():
            assert not any(place in archive.read(name) for place in places), name
