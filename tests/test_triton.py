"""The model repository of `export --triton`: its configuration is Triton's, and its file answers as the model does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.presets import DECODINGS
from chatbot.deployment.manifest import is_repository, refuse_to_replace
from chatbot.deployment.triton import ROWS, configuration
from chatbot.runs.directory import RunDirectory

pytest.importorskip("onnxruntime")
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

# of https://github.com/triton-inference-server/common, protobuf/model_config.proto: the fields used here, their
# numbers and types, as Triton's client 2.73 has them (9 string, 5 int32, 3 int64, 11 message, 14 enum; * repeated)
SCHEMA: dict[str, list[tuple[int, str, int, str]]] = {
    "ModelTensorReshape": [(1, "shape*", 3, "")],
    "ModelInput": [
        (1, "name", 9, ""),
        (2, "data_type", 14, "DataType"),
        (4, "dims*", 3, ""),
        (5, "reshape", 11, "ModelTensorReshape"),
    ],
    "ModelOutput": [
        (1, "name", 9, ""),
        (2, "data_type", 14, "DataType"),
        (3, "dims*", 3, ""),
        (5, "reshape", 11, "ModelTensorReshape"),
    ],
    "ModelDynamicBatching": [],
    "ModelConfig": [
        *[(1, "name", 9, ""), (4, "max_batch_size", 5, ""), (5, "input*", 11, "ModelInput")],
        *[
            (6, "output*", 11, "ModelOutput"),
            (11, "dynamic_batching", 11, "ModelDynamicBatching"),
            (17, "backend", 9, ""),
        ],
    ],
}
TYPES = {"TYPE_INVALID": 0, "TYPE_INT64": 9, "TYPE_FP32": 11}


def model_config() -> Any:
    """A message of that schema."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for name, number in TYPES.items():
        kinds.value.add(name=name, number=number)
    for message, fields in SCHEMA.items():
        made = file.message_type.add(name=message)
        for number, name, kind, of in fields:
            field = made.field.add(name=name.rstrip("*"), number=number, type=kind, label=3 if "*" in name else 1)
            if of:
                field.type_name = f".inference.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()


@pytest.fixture(scope="module")
def repository(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    assert main(["export", str(trained.path), "--triton", "--out", str(folder)]) == 0
    return folder / "triton"


def test_the_configuration_is_of_tritons_schema_and_of_the_file(repository: Path) -> None:
    import onnxruntime

    (model,) = repository.iterdir()
    config = text_format.Parse((model / "config.pbtxt").read_text("utf-8"), model_config())
    assert (config.name, config.backend, config.max_batch_size) == (model.name, "onnxruntime", ROWS)
    assert config.HasField("dynamic_batching")
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx")
    kinds = {"tensor(int64)": TYPES["TYPE_INT64"], "tensor(float)": TYPES["TYPE_FP32"]}
    for told, there in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [one.name for one in told] == [end.name for end in there]
        for one, end in zip(told, there, strict=True):
            assert one.data_type == kinds[end.type]
            behind = one.reshape.shape if one.HasField("reshape") else one.dims  # the first axis is the rows
            assert end.shape[0] == "B"
            assert [-1 if isinstance(size, str) else size for size in end.shape[1:]] == list(behind)


def test_a_padded_batch_is_answered_as_each_alone(repository: Path, trained: RunDirectory) -> None:
    """As Triton gives it: requests of one width, so prompts are padded to it."""
    import onnxruntime

    bot, texts = Chatbot.load(trained.path), ["hello", "how are you?", "tell me a joke"]
    session = onnxruntime.InferenceSession(next(repository.glob("*/1/model.onnx")))
    ids = [bot.prompt_ids(text) for text in texts]
    src = np.array([[*one, *[0] * (20 - len(one))] for one in ids])
    tokens, scores, attention = session.run(None, {"src": src, "src_lengths": np.array([len(one) for one in ids])})
    assert scores.shape == tokens.shape == attention.shape[:2]
    said = [bot.text([id for id in row if id > 2]) for row in tokens.tolist()]
    assert said == bot.reply_batch(texts, decoding=DECODINGS["greedy"])


def test_any_name_is_written_as_protobuf_reads_it() -> None:
    for name in ('"quoted"', "back\\slash", "größe", "a b"):
        assert text_format.Parse(configuration(name), model_config()).name == name


def test_a_repository_is_replaced_and_nothing_else(
    repository: Path, trained: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_repository(repository)
    refuse_to_replace(repository.parent)  # an export of `chatbot.pt` may go beside it
    export = ["export", str(trained.path), "--triton", "--out", str(tmp_path)]
    (tmp_path / "triton" / "mine").mkdir(parents=True)
    (tmp_path / "triton" / "mine" / "thesis.txt").touch()
    assert main(export) == 2
    assert "holds something that no export wrote" in capsys.readouterr().err
    assert (tmp_path / "triton" / "mine" / "thesis.txt").exists()
    assert main([*export, "--onnx"]) == 2
    assert "leave out --onnx" in capsys.readouterr().err


def test_8_bits_are_written_too(trained: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained.path), "--triton", "--quantize", "int8", "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["equal"] > 0.8 * told["tokens"]
    assert sum(told["bytes"].values()) < 1.5e6 + sum(w.numel() for w in trained.load_chosen().model.values())
    assert torch.is_inference_mode_enabled() is False
