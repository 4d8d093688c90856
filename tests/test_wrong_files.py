"""Well-formed files with wrong contents: the container is whole and every checksum right, and a field is of another
type, missing, one too many, or at and beyond the bounds of its schema. What reads them says so in one line, or works.

hypothesis builds them from the schemas (`system.schema`) and from the dtypes of tensors. A few each here; `make fuzz`
tries as many as CHATBOT_FUZZ says.
"""

import dataclasses
import json
import math
import shutil
import types
import typing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_batches import SOME, write
from test_fuzz import FUZZ, JSON, SPOTS, bounds, place, places_in, survives, with_another
from torch import Tensor

from chatbot.config.settings import Config
from chatbot.corpus import preparation, report
from chatbot.corpus.figures import Figures, load_figures
from chatbot.corpus.prepared import PairDataset, load_vocabulary, settled
from chatbot.deployment import manifest, onnx, torchscript
from chatbot.deployment.manifest import Manifest
from chatbot.evaluation import scoreboard
from chatbot.network.batch import collate
from chatbot.runs.checkpoint import Checkpoint, Parent
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.schema import FINITE, WHOLE, Bounds, checked
from chatbot.system.seal import crc32, read_sealed, sealed
from chatbot.training import journal
from chatbot.training.data import TrainingData, new_model
from chatbot.training.distributed import Group
from chatbot.training.epoch import Epoch
from chatbot.training.journal import Measurement
from chatbot.training.optimization import Optimizer
from chatbot.training.state import Progress, State, read_state

__all__ = ["bounds", "place"]  # fixtures
JUNK = st.one_of(
    JSON, st.sampled_from([2**2000, math.nan, -math.inf, True, (), b"bytes", [[]] * 3, {"": None}, "\ud800"])
)


def inside(kind: Any, key: Any) -> Any:
    """The kind of what a value of this kind has under a key."""
    origin, of = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return inside(of[0], key)
    if origin in (Union, types.UnionType):
        return inside(next(one for one in of if one is not type(None)), key)
    if origin is list:
        return of[0]
    if origin is dict:
        return of[1]
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return typing.get_type_hints(kind, include_extras=True).get(key, Any)
    return Any


def edges(kind: Any) -> list[Any]:
    """Values at the bounds of a kind, and one beyond each."""
    base, limits = (get_args(kind)[:2]) if get_origin(kind) is Annotated else (kind, None)
    if base not in (int, float):
        return [None]
    low, high = limits or (FINITE if base is float else WHOLE)
    near = 1 if base is int else 1e-9
    return [low, high, low - near, high + near, base(0), -1, 10**40]


def valid(kind: Any) -> st.SearchStrategy:
    """Whatever a schema allows."""
    origin, of = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if of[0] in (int, float) and isinstance(of[1], Bounds):
            low, high = of[1]
            return st.integers(int(low), int(high)) if of[0] is int else st.floats(low, high)
        return valid(of[0])
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if one is type(None) else valid(one) for one in of])
    if origin is list:
        return st.lists(valid(of[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(valid(of[0]), valid(of[1]), max_size=3)
    if origin is tuple:
        return st.tuples(*map(valid, of))
    if origin is Literal:
        return st.sampled_from(of)
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return st.fixed_dictionaries({name: valid(hint) for name, hint in hints.items()})
    plain = {
        int: st.integers(*WHOLE),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(max_size=5),
    }
    return plain.get(kind, st.booleans() if kind is bool else JUNK)


def tensors(like: Tensor) -> st.SearchStrategy:
    """Tensors that `like` might be taken for, or is not."""
    others: list[Callable[[], Tensor]] = [
        like.double,
        like.bfloat16,
        like.long,
        like.bool,
        lambda: like.to(torch.complex64),
        lambda: like[..., :0] if like.dim() else like.reshape(1),
        lambda: like.reshape(-1)[:1],
        lambda: like.unsqueeze(0),
        lambda: like.transpose(0, -1).contiguous() if like.dim() > 1 else like.unsqueeze(-1),
        lambda: like.new_zeros(()).expand(like.shape),
        lambda: torch.full_like(like, math.nan),
        lambda: torch.full_like(like, -math.inf),
        lambda: torch.full_like(like, -1.0),
        lambda: like + 1,
        lambda: like.to_sparse(),
        lambda: torch.zeros(0),
    ]

    def made(other: Callable[[], Tensor]) -> Tensor:
        try:
            with warnings.catch_warnings():  # torch warns once of complex numbers: each example must be like the others
                warnings.simplefilter("ignore")
                return other()
        except (RuntimeError, TypeError):  # of a tensor that is another one's mutation already
            return torch.zeros(3)

    return st.sampled_from(others).map(made)


@st.composite
def wrong(draw: Any, value: Any, kind: Any) -> Any:
    """`value` with one to three fields that are something else, missing, called otherwise, or one too many."""
    for _ in range(draw(st.integers(1, 3))):
        ways = places_in(value)[1:]
        if not ways:
            return draw(JUNK)
        way = ways[int(draw(SPOTS) * len(ways))]
        old, around, of = value, value, kind
        for key in way:
            around, old, of = old, old[key], inside(of, key)
        how = draw(st.sampled_from(["edge", "junk", "gone", "more", "renamed", "kind"]))
        if isinstance(old, Tensor) and how in ("edge", "kind"):
            value = with_another(value, way, draw(tensors(old)))
        elif how == "edge":
            near = [old + 1, old - 1] if type(old) in (int, float) else []
            value = with_another(value, way, draw(st.sampled_from(edges(of) + near)))
        elif how in ("junk", "kind"):
            value = with_another(value, way, draw(JUNK))
        elif isinstance(around, dict):
            other = {key: item for key, item in around.items() if how == "more" or key != way[-1]}
            if how != "gone":
                other[draw(st.sampled_from([f"{way[-1]}s", "", 7, None]))] = old
            value = with_another(value, way[:-1], other) if way[:-1] else other
        elif isinstance(around, list):
            other = [*around, old] if how == "more" else [*around[: way[-1]], *around[way[-1] + 1 :]]
            value = with_another(value, way[:-1], other) if way[:-1] else other
    return value


def as_json(data: Any, path: Path) -> None:
    """Written with a checksum that is right, as far as JSON can hold it."""
    try:
        path.write_text(json.dumps(sealed(data) if isinstance(data, dict) else data))
    except (TypeError, ValueError):
        path.write_text(json.dumps(str(data)))


KINDS = [
    State,
    Progress,
    Figures,
    Manifest,
    onnx.Facts,
    torchscript.Facts,
    scoreboard.Evaluation,
    Measurement,
    Parent,
    list[int],
    dict[str, float] | None,
]


@FUZZ
@given(data=st.data(), kind=st.sampled_from(KINDS), junk=JUNK)
def test_a_schema_takes_what_it_allows_and_refuses_the_rest_in_one_line(data: Any, kind: Any, junk: Any) -> None:
    good = data.draw(valid(kind))
    checked(kind, good, "it")
    for other in (junk, data.draw(wrong(good, kind))):
        survives("schemas", lambda other=other: checked(kind, other, "it"))


def test_a_whole_number_that_no_float_holds_is_refused_even_where_infinity_is_allowed() -> None:
    good = vars(Progress())
    assert checked(Progress, good | {"best_perplexity": math.inf}, "it").best_perplexity == math.inf
    with pytest.raises(ChatbotError, match=r"^it\.best_perplexity must be between"):
        checked(Progress, good | {"best_perplexity": 10**400}, "it")


# the state of a training


@pytest.fixture(scope="module")
def begun(place: Path) -> tuple[Config, TrainingData, RunDirectory, dict[str, Any]]:
    """A training of a tiny network that has taken one step: its settings, its data, its run, and its `last.pt`."""
    sizes = {"hidden_size": 4, "encoder_layers": 1, "decoder_layers": 1}
    training = {"steps": 9, "batch_size": 2, "precision": "fp32", "max_minutes": 0.0}
    config = Config.from_dict({"model": sizes, "training": training, "corpus": {"tokenizer": "english"}})
    data = TrainingData(config, write(place / "begun", SOME), Group())
    model = new_model(config, data)
    optimizer = Optimizer(model, config.training)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step(0)
    progress = vars(Progress(step=1, seconds=0.5, loss_sum=7.0, token_count=3.0, pair_count=2.0))
    state = {"optimizer": optimizer.state_dict(), "progress": progress, "weights": dict(model.state_dict())}
    run = RunDirectory(place / "begun-run")
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Checkpoint(config, data.vocabulary, weights, 1, None, data.prompts, state).save(run.last)
    return config, data, run, torch.load(run.last, weights_only=True)


def go_on(config: Config, data: TrainingData, run: RunDirectory) -> None:
    """As a resumed training does, up to its first line of metrics."""
    model = new_model(config, data)
    optimizer = Optimizer(model, config.training)
    checkpoint, state = run.newest(lambda found: read_state(found, run.path, config, data, optimizer))
    model.load_state_dict(checkpoint.model)
    model.load_state_dict(state.weights)
    optimizer.take(state.optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step(state.progress.step)
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    progress = state.progress
    assert math.isfinite((progress.loss_sum + 1) / (progress.token_count + 1))
    assert math.isfinite(progress.pair_count / max(progress.seconds - progress.seconds_logged, 1e-9))
    assert progress.worse_validations + 1 > 0


def test_a_state_that_a_training_left_is_gone_on_from(begun: tuple) -> None:
    go_on(*begun[:3])


@FUZZ
@given(data=st.data())
def test_a_wrong_state(data: Any, begun: tuple) -> None:
    config, pairs, run, whole = begun
    changed = data.draw(wrong(whole["training"], State))
    try:
        torch.save({**whole, "training": changed}, run.last)
    except (TypeError, RuntimeError):  # torch does not write it
        return
    survives("states", lambda: go_on(config, pairs, run))


@FUZZ
@given(data=st.data())
def test_a_wrong_checkpoint(data: Any, begun: tuple) -> None:
    config, pairs, run, whole = begun
    plain = {**whole, "model": dict(whole["model"])}
    kinds: Any = typing.TypedDict(
        "kinds", {"training": State, "parent": Parent | None, "step": int, "perplexity": float}
    )  # type: ignore[misc]
    try:
        torch.save(data.draw(wrong(plain, kinds)), run.last)
    except (TypeError, RuntimeError):
        return
    survives("checkpoints", lambda: go_on(config, pairs, run))
    survives("checkpoints", lambda: json.dumps(manifest.describe(Checkpoint.load(run.last)), allow_nan=False))


# what is prepared


@pytest.fixture(scope="module")
def copied(prepared: Path, place: Path) -> tuple[Path, dict[str, Any]]:
    folder = place / "copied"
    shutil.copytree(prepared, folder)
    return folder, read_sealed(folder / "prepared.json", 1 << 20)


def use_prepared(folder: Path, config: Config) -> None:
    settled(dataclasses.replace(config.corpus, max_length=0), folder)
    pairs, words = PairDataset(folder, "train"), load_vocabulary(folder)
    pairs.lengths(np.arange(len(pairs)))
    for ids, _ in pairs.replies():
        assert ids.max(initial=0) < len(words)
    epoch = Epoch(pairs)
    assert set(epoch.pairs(np.arange(min(99, len(epoch))), 7)) <= set(range(len(pairs)))
    if len(pairs):
        collate([pairs[index] for index in range(min(20, len(pairs)))])


@FUZZ
@given(data=st.data())
def test_wrong_figures(data: Any, copied: tuple, tiny: Config) -> None:
    folder, whole = copied
    as_json(data.draw(wrong(whole, Figures)), folder / "prepared.json")
    survives("figures", lambda: use_prepared(folder, tiny))
    if (figures := preparation._intact(folder)) is not None:  # else it is prepared again
        survives(
            "figures", lambda: (report.summary(figures), report.table(figures), report.first_pairs(folder, figures))
        )


@FUZZ
@given(
    which=st.sampled_from(["train.ids", "train.offsets"]),
    spot=SPOTS,
    value=st.sampled_from([0, 1, 3, 65535, -1, 2**31 - 1, 2**63 - 1]),
    backward=st.booleans(),
)
def test_wrong_arrays(which: str, spot: float, value: int, backward: bool, copied: tuple, tiny: Config) -> None:
    folder, whole = copied
    dtype = "<i8" if which.endswith("offsets") else {"uint16": "<u2", "int32": "<i4"}[whole["dtype"]]
    before = (folder / which).read_bytes()
    array = np.frombuffer(before, dtype).copy()
    array[int(spot * len(array))] = np.int64(value).astype(dtype)
    try:
        (folder / which).write_bytes(array.tobytes())
        as_json(whole | {"files": whole["files"] | {which: crc32(folder / which)}}, folder / "prepared.json")
        survives("arrays", lambda: use_prepared(folder, tiny))
    finally:
        (folder / which).write_bytes(before)


@FUZZ
@given(data=st.data(), kind=st.sampled_from([preparation.Length, preparation.Digest]))
def test_wrong_caches(data: Any, kind: Any, place: Path) -> None:
    good = data.draw(st.dictionaries(st.text(max_size=5), valid(kind), max_size=3))
    as_json(data.draw(wrong(good, dict[str, kind])), place / "cache.json")
    survives("caches", lambda: preparation._remembered(place / "cache.json", kind))


# what is kept, and what is exported


@FUZZ
@given(data=st.data())
def test_a_wrong_evaluation(data: Any, place: Path) -> None:
    good = data.draw(valid(scoreboard.Evaluation))
    row = data.draw(valid(scoreboard.Row))
    good["rows"] |= {"human": row, "greedy": row}
    as_json(data.draw(wrong(good, scoreboard.Evaluation)), place / "evaluation.json")

    def show() -> None:
        try:
            evaluation = scoreboard.checked_evaluation(read_sealed(place / "evaluation.json", 1 << 20))
        except ValueError as error:
            raise ChatbotError(str(error)) from error
        assert scoreboard.table(evaluation) + scoreboard.side_by_side([evaluation])

    survives("evaluations", show)


@FUZZ
@given(data=st.data())
def test_a_wrong_manifest(data: Any, place: Path) -> None:
    folder = place / "exported"
    folder.mkdir(exist_ok=True)
    (folder / "chatbot.pt").write_bytes(b"abc")
    good = data.draw(valid(Manifest)) | {"format": 1, "files": {"chatbot.pt": manifest.entry_of(folder / "chatbot.pt")}}
    as_json(data.draw(wrong(good, Manifest)), folder / "manifest.json")
    uses: list[Callable[[], object]] = [
        lambda: manifest.check(folder / "chatbot.pt"),
        lambda: manifest.refuse_to_replace(folder),
        lambda: manifest.refuse_other_weights(folder, [], "0"),
        lambda: manifest.write_manifest(folder, [folder / "chatbot.pt"], {}),
    ]
    for use in uses:
        survives("manifests", use)


@FUZZ
@given(data=st.data())
def test_wrong_measurements(data: Any, place: Path) -> None:
    lines = [data.draw(wrong({"step": 1, "part": "train", "loss": 2.5}, Measurement)) for _ in range(3)]
    path = place / "metrics.jsonl"
    path.write_text("".join(json.dumps(line, default=str, skipkeys=True) + "\n" for line in lines))
    survives("measurements", lambda: journal._forget_after(RunDirectory(path.parent), 3))


@FUZZ
@given(data=st.data())
def test_wrong_settings(data: Any, place: Path) -> None:
    as_json(data.draw(wrong(Config().to_dict(), Config)), place / "config.json")
    survives("settings", lambda: Config.load(place / "config.json"))


def test_figures_that_were_written_pass(prepared: Path, tiny: Config) -> None:
    assert load_figures(prepared)
    use_prepared(prepared, tiny)
