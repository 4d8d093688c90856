"""What each part of the default recipe is worth: each switched off in turn, on the same pairs.

    python bench/ablation.py --corpus FOLDER --out FILE [--steps 600] [--hidden-size 128] [--only TEXT]
    python bench/ablation.py --out FILE --markdown

The pairs are those of `bench/quality.py`. The default is small, so that the table is there within an hour on one CPU
thread: what only a long training shows (overfitting, and so what dropout is for) it does not show. Seconds are of the
processor, not of the clock, and include the validations, which are the same in every row. FILE is written after every
row, and rows that stand in it already are not measured again.
"""

import argparse
import contextlib
import dataclasses
import json
import time
from pathlib import Path

import results
import torch
from quality import SAME_DATA, changed, ours

from chatbot.config.presets import PRESETS
from chatbot.corpus.preparation import prepare

# in the words of the table: what is changed
PARTS: dict[str, list[str]] = {
    "the default recipe": [],
    "the same with another seed": ["training.seed=2"],
    "no targets from n-grams": ["training.ngram_smoothing=0"],
    "a share of 0.3 for n-grams": ["training.ngram_smoothing=0.3"],
    "a share of 0.7 for n-grams": ["training.ngram_smoothing=0.7"],
    "no copy mechanism": ["model.copy_mechanism=false"],
    "an encoder of two layers": ["model.encoder_layers=2"],
    "no dropout of any kind": ["model.dropout=0", "model.recurrent_dropout=0", "training.prompt_dropout=0"],
    "dropout 0.2": ["model.dropout=0.2"],
    "dropout in the tutorial's places": ['model.dropout_places="tutorial"'],
    "no recurrent dropout": ["model.recurrent_dropout=0"],
    "dropout that does not grow": ["training.dropout_warmup_epochs=0"],
    "embeddings not scaled": ["model.scale_embeddings=false"],
    "embeddings neither scaled nor tied": ["model.scale_embeddings=false", "model.tie_embeddings=false"],
    "no averaged weights": ["training.weight_averaging=0"],
    "the tutorial's bridge": ['model.bridge="tutorial"'],
    "attention not masked": ["model.attention_mask=false"],
    "output biases begin at 0": ["training.word_frequencies=false"],
    "constant rate": ['training.schedule="constant"'],
    "no warm-up": ["training.warmup_steps=0"],
    "prompt dropout 0": ["training.prompt_dropout=0"],
    "no prompts as replies": ["training.prompts_as_replies=0"],
    "loss summed over steps, no targets from n-grams": ['training.loss="steps"', "training.ngram_smoothing=0"],
    "batches drawn with replacement": ['training.draws="replacement"'],
    "batches of about one length": ["training.bucket_batches=64"],
    "two Adams": ['training.optimizer="two-adams"'],
    "gradient norm cut to 50": ["training.clip_norm=50"],
    "no weight decay": ["training.weight_decay=0"],
}
COLUMNS = {
    "setting": ("setting", ""),
    "valid": ("valid", ".2f"),
    "test": ("test", ".2f"),
    "valid beside the default": ("beside", "+.1%"),
    "processor seconds": ("seconds", ".0f"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="switch off each part of the recipe in turn")
    parser.add_argument("--corpus", default="cornell")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", metavar="TEXT", help="only the settings whose name holds this")
    parser.add_argument("--out", type=Path, required=True, help="the rows; and on stdout as Markdown")
    parser.add_argument("--markdown", action="store_true", help="only print what stands in --out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = {"steps": arguments.steps, "hidden_size": arguments.hidden_size, "threads": arguments.threads}
    # rows of two recipes do not go together; how replies are found is no matter
    recipe = {name: section for name, section in PRESETS["default"].to_dict().items() if name != "decoding"}
    sizes["recipe"] = json.loads(json.dumps(recipe))
    found = results.read(arguments.out)
    rows = found.get("rows", [])
    if rows and not arguments.markdown and any(found.get(key) != value for key, value in sizes.items()):
        raise SystemExit(f"{arguments.out} is of another recipe or other sizes: name another file")
    if not arguments.markdown:
        corpus = dataclasses.replace(SAME_DATA, corpus=arguments.corpus)
        folder = prepare(corpus, arguments.data_dir).folder
        for name, changes in PARTS.items():
            if arguments.only not in name or any(row["setting"] == name for row in rows):
                continue
            config = changed(corpus, [*common(arguments.steps, arguments.hidden_size), *changes])
            began = time.process_time()
            with contextlib.redirect_stdout(None):
                curve = ours(folder, config)
            seconds = time.process_time() - began
            valid = min(point["valid"] for point in curve["points"])
            rows.append({"setting": name, "valid": valid, "test": curve["test"], "seconds": seconds})
            rows[-1]["beside"] = valid / rows[0]["valid"] - 1
            results.write(arguments.out, "ablation", **sizes, rows=rows)
    print(results.table(rows, COLUMNS))


def common(steps: int, hidden_size: int) -> list[str]:
    """The settings of every row: small, and to the last step."""
    return [
        f"model.hidden_size={hidden_size}",
        f"training.steps={steps}",
        f"training.validate_every={max(1, steps // 2)}",
        "training.patience=0",
        "training.max_minutes=0",
        'training.precision="fp32"',
    ]


if __name__ == "__main__":
    main()
