"""Write samples with distilabel; run by `throughput.py` in distilabel's own environment.

Reads JSON from standard input: base_url, model, task, tokens, concurrency, random_seed. Prints one
JSON line a sample (text, label, output tokens) until that many tokens are written.
"""

from __future__ import annotations

import json
import sys
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
        (rows,) = step.process([{"task": asked["task"]}] * asked["concurrency"])
        for row in rows:
            written = _output_tokens(row)
            spent += written
            sample = {"text": row["input_text"], "label": row["label"], "tokens": written}
            print(json.dumps(sample), flush=True)


def _output_tokens(row: dict[str, Any]) -> int:
    (counts,) = (
        told for name, told in row["distilabel_metadata"].items() if name.startswith("statistics_")
    )
    return int(sum(counts["output_tokens"]))


if __name__ == "__main__":
    main()
