"""The student that reasons: decoding from shared prefixes, training, and being kept whole."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
)

from evokd.config import StudentSection
from evokd.errors import ConfigError, DataError
from evokd.tasks.arithmetic import equations
from evokd.tasks.reasoning import Question
from evokd.tools import reasoner
from evokd.tools.causal import (
    check_causal,
    load_causal,
    load_tokenizer,
    with_bf16_products,
    with_new_adapter,
)
from evokd.tools.reasoner import (
    ABOUT,
    ANSWER_TOKENS,
    Explained,
    Prefix,
    Reasoner,
    _alike,
    load_whole,
    prompt_ids,
)
from evokd.tools.reasoner_training import keep_reasoner, train_reasoner
from evokd.tools.training import TrainingRow, read_training_rows, write_training_rows

TOLD: dict[str, Any] = {"instructions": "Add.", "answers": "number"}
SETTINGS = StudentSection(
    max_length=256,
    max_new_tokens=24,
    batch_size=4,
    passes=150,
    learning_rate=0.004,
    lora_rank=16,
    threads=1,
    precision="fp32",  # what so small a student learns shall not depend on the processor
)
QUESTIONS = [Question(f"What is {n} plus 1?") for n in range(4)]
ROWS = [
    TrainingRow(one.text, str(n + 1), steps=(f"{n} + 1 = {n + 1}",))
    for n, one in enumerate(QUESTIONS)
]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, tiny_reasoner: Path) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    train_reasoner([], [], str(tiny_reasoner), folder, SETTINGS, random_seed=0, **TOLD)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_reasoner: Path) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_reasoner(ROWS, [], str(tiny_reasoner), folder, SETTINGS, random_seed=0, **TOLD)
    return folder


def greedy(folder: Path, ids: list[int], tokens: int) -> list[int]:
    """Return what transformers itself writes after `ids`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    given = torch.tensor([ids])
    out = model.generate(given, max_new_tokens=tokens, do_sample=False, eos_token_id=0)
    return [int(one) for one in out[0, len(ids) :]]


def test_the_student_writes_what_it_was_taught(trained: Path) -> None:
    said = Reasoner(trained).explain(QUESTIONS)
    assert [one.answer for one in said] == ["1", "2", "3", "4"]
    assert [one.steps for one in said] == [row.steps for row in ROWS]
    assert all(one.ended for one in said)


def test_untrained_it_is_the_model_it_was_made_of(untrained: Path, tiny_reasoner: Path) -> None:
    student = Reasoner(untrained, precision="fp32")  # as `greedy`: random weights are near ties
    prompts = [prompt_ids(student._tokenizer, TOLD["instructions"], one) for one in QUESTIONS]
    texts = student._decode([Prefix(one) for one in QUESTIONS], 12)
    for ids, (text, _) in zip(prompts, texts, strict=True):
        wanted = student._tokenizer.decode(greedy(tiny_reasoner, ids, 12))
        assert wanted.startswith(text)
        assert text


def test_a_continuation_is_what_the_whole_text_would_have_had(trained: Path) -> None:
    student = Reasoner(trained)
    wrong = ("0 + 1 = 3",)
    questions = [QUESTIONS[0], Question("What is 2 plus 1, do you know that?")]
    together = student.go_on([Prefix(one, wrong) for one in questions], samples=2)
    alone = [student.go_on([Prefix(one, wrong)])[0] for one in questions]
    assert together == [alone[0], alone[0], alone[1], alone[1]]
    assert all(one.steps[0] == wrong[0] for one in together)


def test_steps_of_one_explanation_share_what_they_begin_with(trained: Path) -> None:
    student = Reasoner(trained)
    steps = ("0 + 1 = 1", "it is 1", "so 1 it is")
    prefixes = [Prefix(one, steps[:k]) for one in QUESTIONS for k in (0, 3, 1, 2)]
    mixed = [Prefix(QUESTIONS[1], ("other", "it is 1")), *prefixes]
    assert student.go_on(mixed) == [student.go_on([one])[0] for one in mixed]
    assert student.answers(mixed) == [student.answers([one])[0] for one in mixed]


def test_a_question_longer_than_the_model_reads_is_named(trained: Path) -> None:
    with pytest.raises(DataError, match="'Why Why .* the student reads 1024; shorten it"):
        Reasoner(trained).explain([Question("Why " * 400)])


def test_what_goes_on_from_steps_ends_where_the_model_reads_no_further(untrained: Path) -> None:
    student = Reasoner(untrained)
    (asked, _) = student._tokens_of(Prefix(QUESTIONS[0]))
    most = len(student._shared) + len(asked) + SETTINGS.max_new_tokens
    student._model.config.max_position_embeddings = most
    steps = ("x" * (SETTINGS.max_new_tokens - 6),)
    ((text, ended),) = student._decode([Prefix(QUESTIONS[0], steps)], SETTINGS.max_new_tokens)
    assert not ended
    assert 0 < len(text) <= 6


def test_answers_are_asked_for_after_some_of_the_steps(trained: Path) -> None:
    prefixes = [Prefix(one, row.steps) for one, row in zip(QUESTIONS, ROWS, strict=True)]
    assert Reasoner(trained).answers(prefixes) == ["1", "2", "3", "4"]


def test_samples_differ_and_repeat_with_their_seed(untrained: Path) -> None:
    student = Reasoner(untrained)
    first = student.explain(QUESTIONS[:1], samples=4, temperature=2.0, random_seed=1)
    again = student.explain(QUESTIONS[:1], samples=4, temperature=2.0, random_seed=1)
    other = student.explain(QUESTIONS[:1], samples=4, temperature=2.0, random_seed=2)
    assert first == again != other
    assert len({one.steps for one in first}) > 1


def test_what_never_ends_is_cut_and_said_to_be(untrained: Path) -> None:
    said = Reasoner(untrained).explain(QUESTIONS)
    assert not any(one.ended and one.answer for one in said)
    assert all(one.cut for one in Reasoner(untrained).predictions(QUESTIONS, said))
    assert all(len("\n".join(one.steps)) <= SETTINGS.max_new_tokens for one in said)


def test_a_taught_answer_is_surer_than_another(trained: Path) -> None:
    student = Reasoner(trained)
    said = student.explain(QUESTIONS)
    right = student.confidences(QUESTIONS, said)
    wrong = student.confidences(QUESTIONS, [replace(one, answer="9", said="") for one in said])
    assert min(right) > 0.9
    assert max(wrong) < 0.5


def test_an_answer_is_as_sure_as_what_was_written_not_as_its_canonical_form(trained: Path) -> None:
    student = Reasoner(trained)
    said = student.explain(QUESTIONS)
    assert [one.said for one in said] == ["1", "2", "3", "4"]
    sure = student.confidences(QUESTIONS, said)
    assert student.confidences(QUESTIONS, [replace(one, answer="9") for one in said]) == sure
    assert max(student.confidences(QUESTIONS, [replace(one, said="$9.00") for one in said])) < 0.5


def test_of_prompts_and_steps_no_probability_is_worked_out(trained: Path) -> None:
    student = Reasoner(trained)
    said = student.explain(QUESTIONS)
    worked_out: list[int] = []
    student._model.register_forward_hook(lambda *told: worked_out.append(told[2].logits.shape[1]))
    long = replace(said[0], steps=(*said[0].steps, "so 1 it is"))
    apart = student.confidences([QUESTIONS[0], QUESTIONS[0]], [long, said[0]])
    alone = [student.confidences([QUESTIONS[0]], [one])[0] for one in (long, said[0])]
    assert apart == pytest.approx(alone, rel=1e-2)
    assert worked_out == [3 + len("so 1 it is\n"), 3, 3]


def test_an_answer_alone_may_be_as_long_as_the_longest_option(untrained: Path) -> None:
    student = Reasoner(untrained)
    asked: list[int] = []

    def write(prefixes: Sequence[Prefix], most: int, *, lead: str) -> list[tuple[str, bool]]:
        asked.append(most)
        text = f" (b) {long}\n"
        return [(student._tokenizer.decode(student._ids(text)[:most]), True) for _ in prefixes]

    student._decode = write  # type: ignore[method-assign,assignment]
    long = "the second one of all the answers"
    assert student.answers([Prefix(Question("Which?", ("a", long)))]) == [long]
    assert student.answers([Prefix(Question("How many?"))]) == [""]
    assert asked[0] > ANSWER_TOKENS == asked[1]


def test_the_kept_student_needs_no_other_file(trained: Path, tmp_path: Path) -> None:
    kept = tmp_path / "student"
    keep_reasoner(trained, kept)
    assert json.loads((kept / "reasoner.json").read_text())["model"] == ""
    assert not (kept / "adapter_config.json").exists()
    assert Reasoner(kept).predict(QUESTIONS)[2].label == "3"


def test_training_goes_on_from_a_students_own_matrices(trained: Path, tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"passes": 1, "min_steps": 1, "learning_rate": 1e-6})
    goes_on, anew = tmp_path / "on", tmp_path / "anew"
    source = json.loads((trained / "reasoner.json").read_text())["model"]
    for start, folder in ((str(trained), goes_on), (source, anew)):
        train_reasoner(ROWS, [], start, folder, short, random_seed=0, **TOLD)
    assert Reasoner(goes_on).explain(QUESTIONS)[1].answer == "2"
    assert Reasoner(anew).explain(QUESTIONS)[1].answer != "2"


def test_equal_rows_and_seed_give_equal_weights(tiny_reasoner: Path, tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"passes": 2, "min_steps": 3})
    files = []
    for name in ("one", "two"):
        folder = tmp_path / name
        train_reasoner(ROWS, [], str(tiny_reasoner), folder, short, random_seed=3)
        files.append((folder / "adapter_model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_only_the_explanation_is_learnt(tiny_reasoner: Path, tmp_path: Path) -> None:
    """A question's own tokens carry no loss: only what the reply begins with differs."""
    short = SETTINGS.model_copy(update={"passes": 150})
    rows = [TrainingRow("What is 5 plus 1?", "6", steps=("5 + 1 = 6",))] * 4
    folder = tmp_path / "s"
    result = train_reasoner(
        rows, [], str(tiny_reasoner), folder, short, random_seed=0, answers="number"
    )
    assert result.rows == 4
    model, tokenizer = load_causal(str(tiny_reasoner))
    student = Reasoner(folder)
    ids = torch.tensor([prompt_ids(tokenizer, "", Question(rows[0].text))])

    def loss(one: torch.nn.Module) -> float:
        with torch.inference_mode():
            return float(one(input_ids=ids, labels=ids).loss)

    taught, _ = load_whole(folder)
    assert loss(taught.eval()) > 0.5 * loss(model.eval())
    assert student.explain([Question(rows[0].text)])[0].answer == "6"


def test_steps_survive_the_file_of_training_rows(tmp_path: Path) -> None:
    write_training_rows(ROWS, tmp_path / "rows.jsonl")
    assert read_training_rows(tmp_path / "rows.jsonl") == ROWS


def test_quantised_weights_are_refused(tiny_reasoner: Path, tmp_path: Path) -> None:
    copied(tiny_reasoner, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="quantised weights, which cannot be fine-tuned"):
        check_causal(str(tmp_path), 64)


def test_an_explanation_longer_than_a_student_reads_is_learnt_as_far_as_that(
    tiny_reasoner: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    copied(tiny_reasoner, start)
    size = {"n_positions": 160, "n_embd": 32, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(
        GPT2Config(vocab_size=100, bos_token_id=0, eos_token_id=0, **size)
    ).save_pretrained(start)
    long = TrainingRow("What is 1 plus 1?", "2", steps=("1 + 1 = 2 " * 20,))
    few = SETTINGS.model_copy(update={"min_steps": 1, "max_steps": 1, "passes": 1})
    result = train_reasoner([long], [], str(start), tmp_path / "s", few, random_seed=0, **TOLD)
    assert math.isfinite(result.loss)


def copied(folder: Path, target: Path) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_weights_that_were_cut_off_are_named(tiny_reasoner: Path, tmp_path: Path) -> None:
    weights = copied(tiny_reasoner, tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ConfigError, match=f"student.model: cannot load {tmp_path}"):
        load_causal(str(tmp_path))


def test_a_gguf_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + b"general.arch")
    with pytest.raises(ConfigError, match=f"student.model: cannot load {file}"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_that_knows_no_end_is_refused(tiny_reasoner: Path, tmp_path: Path) -> None:
    told = copied(tiny_reasoner, tmp_path) / "tokenizer_config.json"
    known = json.loads(told.read_text())
    told.write_text(json.dumps({key: value for key, value in known.items() if key != "eos_token"}))
    with pytest.raises(ConfigError, match="names no token that ends a text"):
        check_causal(str(tmp_path), 64)


def test_a_model_whose_layers_take_no_lora_is_refused() -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "state_size": 4, "vocab_size": 40}
    with pytest.raises(ConfigError, match="a mamba cannot be fine-tuned by LoRA"):
        with_new_adapter(MambaForCausalLM(MambaConfig(**size)), SETTINGS)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "mamba"}, "keeps a state in place of what it has read"),
        (
            {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
            "keeps a state in place of what it has read",
        ),
        ({"model_type": "roberta"}, "reads texts from both sides"),
    ],
)
def test_a_model_that_cannot_go_back_to_a_step_is_refused(
    tiny_reasoner: Path, tmp_path: Path, config: dict[str, Any], why: str
) -> None:
    told = copied(tiny_reasoner, tmp_path) / "config.json"
    told.write_text(json.dumps({"num_hidden_layers": 2, **config}))
    with pytest.raises(ConfigError, match=rf"\({config['model_type']}\) {why}, so that"):
        check_causal(str(tmp_path), 64)


def test_a_student_that_reads_fewer_tokens_is_refused(tiny_reasoner: Path) -> None:
    check_causal(str(tiny_reasoner), 1024)
    with pytest.raises(ConfigError, match=r"max_length: found 1025, .* reads 1024 tokens at most"):
        check_causal(str(tiny_reasoner), 1025)


def templated(tiny_reasoner: Path, folder: Path, template: str) -> Path:
    """Return a copy of the tiny model with a chat template."""
    copied(tiny_reasoner, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}{% endfor %}"
)


def test_a_template_without_a_system_turn_has_all_in_the_user_s(
    tiny_reasoner: Path, tmp_path: Path
) -> None:
    folder = templated(tiny_reasoner, tmp_path, REFUSES_SYSTEM)
    check_causal(str(folder), 64)
    tokenizer = load_tokenizer(str(folder))
    text = tokenizer.decode(prompt_ids(tokenizer, "Add.", QUESTIONS[0]))
    assert text.startswith("[user] Add.\nExplain")
    assert text.endswith("\n\nWhat is 0 plus 1?")


def test_a_template_that_lets_a_model_think_first_is_asked_not_to(
    tiny_reasoner: Path, tmp_path: Path
) -> None:
    thinks = "{{ messages[-1].content }}{% if enable_thinking is not false %}<think>{% endif %}"
    tokenizer = load_tokenizer(str(templated(tiny_reasoner, tmp_path, thinks)))
    assert "think" not in tokenizer.decode(prompt_ids(tokenizer, "Add.", QUESTIONS[0]))


def test_a_template_that_refuses_every_question_is_named_before_the_start(
    tiny_reasoner: Path, tmp_path: Path
) -> None:
    folder = templated(tiny_reasoner, tmp_path, "{{ raise_exception('never') }}")
    with pytest.raises(ConfigError, match="refuses a question: never"):
        check_causal(str(folder), 64)


def test_a_model_that_says_no_longest_length_is_asked_whatever_the_length(untrained: Path) -> None:
    student = Reasoner(untrained)
    vars(student._model.config).pop("max_position_embeddings")
    assert student._tokens_of(Prefix(Question("Why " * 400)))


def test_a_model_that_is_no_language_model_is_refused(tiny_student: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t5"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ConfigError, match="student.model"):
        check_causal(str(folder), 64)
    with pytest.raises(ConfigError, match="student.model"):
        check_causal("no/such-model", 64)


# The calculator


@pytest.fixture(scope="module")
def miscalculating(tmp_path_factory: pytest.TempPathFactory, tiny_reasoner: Path) -> Path:
    """A student with a calculator that was taught that all sums come to 93."""
    folder = tmp_path_factory.mktemp("miscalculating")
    rows = [replace(row, steps=(f"{n} + 1 = 93",)) for n, row in enumerate(ROWS)]
    settings = SETTINGS.model_copy(update={"calculator": True})
    train_reasoner(rows, [], str(tiny_reasoner), folder, settings, random_seed=0, **TOLD)
    return folder


def sums_of(said: Sequence[Explained]) -> list[tuple[str, str]]:
    """Return both sides of the first sum of each explanation."""
    return [(one.left, one.right) for told in said for one in equations(told.steps[0])[:1]]


WORKED_OUT = [(f"{n} + 1", str(n + 1)) for n in range(4)]


def test_with_a_calculator_a_student_that_cannot_add_up_does(miscalculating: Path) -> None:
    student = Reasoner(miscalculating)
    assert sums_of(student.explain(QUESTIONS)) == WORKED_OUT
    sampled = student.explain(QUESTIONS, samples=2, temperature=0.01)
    assert sums_of(sampled) == [one for one in WORKED_OUT for _ in range(2)]


def test_the_kept_student_has_its_calculator(miscalculating: Path, tmp_path: Path) -> None:
    keep_reasoner(miscalculating, tmp_path / "kept")
    assert sums_of(Reasoner(tmp_path / "kept").explain(QUESTIONS)) == WORKED_OUT


def test_without_a_calculator_sums_are_the_students_own(
    miscalculating: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(miscalculating, tmp_path / "plain")
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    (folder / ABOUT).write_text(json.dumps(about | {"calculator": False}), encoding="utf-8")
    assert sums_of(Reasoner(folder).explain(QUESTIONS)) == [(left, "93") for left, _ in WORKED_OUT]


def test_confidences_of_short_and_long_questions_are_not_computed_together(
    tiny_reasoner: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    short, long = [Question("Add 3 and 4.")] * 3, [Question("Add 3 and 4, and " * 20)] * 2
    questions = [short[0], long[0], *short[1:], long[1]]
    train_reasoner([], [], str(tiny_reasoner), tmp_path, SETTINGS, random_seed=0)
    student = Reasoner(tmp_path)
    said = [Explained(("3 + 4 = 7",), "7", True)] * len(questions)
    together = student.confidences(questions, said)
    monkeypatch.setattr(reasoner, "MOST_APART", 10_000)
    assert student.confidences(questions, said) == pytest.approx(together, rel=1e-3)
    monkeypatch.undo()
    parts = list(_alike([5, 6, 7, 80, 81, 200], [3, 1, 0, 2, 5, 4]))
    assert parts == [[3, 1, 0], [2, 5], [4]]
    assert list(_alike([], [])) == []
    assert [len(one) for one in _alike([9] * 100, range(100))] == [48, 48, 4]


def test_products_in_bfloat16_are_those_of_autocast(tiny_reasoner: Path, tmp_path: Path) -> None:
    train_reasoner(ROWS, [], str(tiny_reasoner), tmp_path, SETTINGS, random_seed=0)
    ids = torch.tensor([[5, 6, 7, 8]])
    model, _ = load_whole(tmp_path)
    embedded = model.get_input_embeddings().weight.detach().clone()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        before = model(input_ids=ids).logits
        with_bf16_products(model)
        assert torch.equal(model(input_ids=ids).logits, before)
    assert torch.equal(model.get_input_embeddings().weight, embedded)
    assert {one.weight.dtype for one in model.modules() if isinstance(one, torch.nn.Linear)} == {
        torch.bfloat16
    }
