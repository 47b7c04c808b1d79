"""Write samples with distilabel; run by `throughput.py` in distilabel's own environment.

Reads JSON from standard input: base_url, model, task, tokens, concurrency, random_seed. Prints one
JSON line a batch (its samples with text, label and output tokens, and its seconds) until that many
tokens are written.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from distilabel.models import OpenAILLM
from distilabel.steps.tasks import GenerateTextClassificationData


def main() -> None:
    """Generate until the tokens are spent, with the sampling of distilabel's own examples."""
    asked = json.load(sys.stdin)
    step = GenerateTextClassificationData(
        llm=OpenAILLM(
            model=asked["model"],
            base_url=asked["base_url"],
            api_key="none",
            timeout=600,
            generation_kwargs={"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 512},
        ),
        difficulty="high school",
        seed=asked["random_seed"],
    )
    step.load()
    spent = 0
    while spent < asked["tokens"]:
        start = time.perf_counter()
        (rows,) = step.process([{"task": asked["task"]}] * asked["concurrency"])
        seconds = time.perf_counter() - start
        samples = [
            {"text": row["input_text"], "label": row["label"], "tokens": _output_tokens(row)}
            for row in rows
        ]
        written = sum(one["tokens"] for one in samples)
        if not written:
            sys.exit("the endpoint counted no tokens; without them there is nothing to compare")
        spent += written
        print(json.dumps({"samples": samples, "seconds": seconds}), flush=True)


def _output_tokens(row: dict[str, Any]) -> int:
    (counts,) = (
        told for name, told in row["distilabel_metadata"].items() if name.startswith("statistics_")
    )
    told = counts["output_tokens"]  # one number, or one a generation, as the version has it
    return sum(count or 0 for count in (told if isinstance(told, list) else [told]))


if __name__ == "__main__":
    main()
