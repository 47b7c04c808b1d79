"""The strategy elad on the scripted reviser and a tiny student: what is chosen, revised, learnt."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from fake_llm import FakeLLM

from evokd import api, distill
from evokd.agents.compact_grammar import CALCULATION
from evokd.agents.parsing import Lines
from evokd.agents.prompting import load_prompt
from evokd.agents.reviser import Reviser, numbered, rest_of
from evokd.agents.teacher import Call, Choice
from evokd.doctor import check_task
from evokd.errors import ConfigError, DataError, ResumeError
from evokd.graph.elad import (
    _drawn,
    _mistake_of,
    _remember,
)
from evokd.graph.filling import check_of_questions, fill, long_explanations
from evokd.graph.fitting import rows_for
from evokd.graph.pooling import random_of
from evokd.graph.prompts import load_prompts
from evokd.graph.revising import (
    inspect_revision,
    is_spent,
    revise_explanation,
    without_too_long,
)
from evokd.memory.embeddings import HashEmbedder
from evokd.memory.weakness import InMemoryWeaknesses
from evokd.planner import estimate
from evokd.records import POOL, Example, Prediction, Revision, Sample
from evokd.report_chart import curve_columns
from evokd.report_explanations import agreement_warning, revision_counts, told_of
from evokd.report_html import render_html
from evokd.report_kinds import explanation_card
from evokd.runner import RunResult, resume_run
from evokd.store.ledger import Ledger
from evokd.store.pool import Pool, PoolCounts
from evokd.store.replies import Reply
from evokd.store.run_dir import RunDirectory
from evokd.task_file import load_config
from evokd.tasks import kind_of, load_task_data
from evokd.tasks.explanations import AnswerForm
from evokd.tasks.pool import PoolRow
from evokd.tasks.reasoning import Question
from evokd.tools.reasoner import Explained
from evokd.tools.shakiness import look_closely

ROUNDS, EACH = 2, 4


def question(one: int, other: int) -> dict[str, str]:
    return {"question": f"What is {one} plus {other}?", "answer": str(one + other)}


def write_questions(
    folder: Path, base_url: str, student: Path, changes: dict[str, Any] | None = None
) -> Path:
    """Write a toy task of sums and its data; `changes` are merged into the sections."""
    rng = random.Random(3)
    pairs = rng.sample([(a, b) for a in range(9) for b in range(9)], 28)
    rows = [question(*pair) for pair in pairs]
    seed = [
        row | {"rationale": f"{a} + {b} = {a + b}"}
        for row, (a, b) in zip(rows[:2], pairs[:2], strict=True)
    ]
    for name, part in (("seed", seed), ("test", rows[2:8]), ("pool", rows[8:])):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    task: dict[str, Any] = {
        "task": {"kind": "reasoning", "name": "sums", "instructions": "Add."},
        "data": {"seed": "seed.jsonl", "test": "test.jsonl", "pool": "pool.jsonl"},
        "student": {
            "model": f"path:{student}",
            "max_new_tokens": 24,
            "min_steps": 2,
            "passes": 1,
            "threads": 1,
        },
        "agents": {
            "default": {
                "model": "openai:scripted",
                "base_url": base_url,
                "timeout": 20,
                "max_concurrency": 2,
            }
        },
        "strategy": {
            "rounds": ROUNDS,
            "samples_per_round": EACH,
            "candidates": 8,
            "continuations": 1,
            "annotation": "clear",
        },
        "memory": {"embedder": "hash:64"},
    }
    for section, values in (changes or {}).items():
        task[section] = {**task.get(section, {}), **values}
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path


@pytest.fixture
def sums(tmp_path: Path, llm: FakeLLM, tiny_reasoner: Path) -> Path:
    return write_questions(tmp_path, llm.base_url, tiny_reasoner)


def run(task: Path, *overrides: str, run_id: str = "r", **options: Any) -> RunResult:
    return distill(
        task, overrides=overrides, run_id=run_id, runs_dir=task.parent / "runs", **options
    )


def samples(result: RunResult) -> list[Sample]:
    return RunDirectory(result.path).read_samples()


def revised(**values: Any) -> Sample:
    """Return a question whose explanation was revised."""
    told: dict[str, Any] = {
        "id": "r01p0000001",
        "text": "What is 3 plus 4?",
        "round": 1,
        "call": POOL,
        "role": POOL,
        "intended_label": "8",
        "prediction": Prediction(label="8", confidence=0.4, steps=["3 + 4 = 8"]),
        "revision": Revision(steps=["3 + 4 = 7"], answer="7", verdicts=[False], first_wrong=0),
    }
    return Sample(**told | values)


def session(task: Path, teacher: Any, *overrides: str) -> Any:
    """Return what the nodes that revise need of a session."""
    config = load_config(task, list(overrides))
    return SimpleNamespace(
        config=config,
        data=load_task_data(config),
        kind=kind_of(config),
        prompts=load_prompts(config),
        card="card",
        answers="number",
        teachers={"reviser": teacher},
        ledger=SimpleNamespace(
            purposes=lambda round, beginning: set(), holds_reply=lambda *asked: False
        ),
        budget=SimpleNamespace(reached=lambda **_: "", affordable=lambda samples: samples),
    )


class _Judge:
    """A reviser's model that says no to what holds a word."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked: list[str] = []

    def choose(self, turns: Any, options: Any, call: Call) -> Choice:
        asked = turns[-1][1]
        self.asked.append(asked)
        last = asked.rsplit("Check the last step:", 1)[-1]
        return Choice("No" if self.word in last else "Yes", 0.9)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_reasoner: Path
) -> tuple[RunResult, list[dict[str, Any]]]:
    """A whole run, and what the teacher was asked in it."""
    from fake_llm import running_llm

    folder = tmp_path_factory.mktemp("sums")
    with running_llm() as llm, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVOKD_CACHE", str(folder / "cache"))
        task = write_questions(folder, llm.base_url, tiny_reasoner)
        return run(task), llm.requests


def test_a_run_revises_trains_and_reports(finished: Any) -> None:
    result, _ = finished
    report = result.report
    assert report["status"] == "finished"
    assert report["strategy"] == "elad"
    assert report["task"]["kind"] == "reasoning"
    assert [one["accepted"] for one in report["rounds"]] == [EACH] * ROUNDS
    assert [one["train_rows"] for one in report["rounds"]] == [2 + EACH, 2 + 2 * EACH]
    assert report["scores"]["best_round"] == ROUNDS
    assert set(report["teacher"]) == {"reviser", "critic"} - (
        set() if "critic" in report["teacher"] else {"critic"}
    )
    assert (result.student / "reasoner.json").exists()
    assert (result.path / "report.html").exists()
    assert "holds nothing out" in report["best_round_rule"]


def test_the_student_of_the_seeds_alone_is_round_0(finished: Any) -> None:
    report = finished[0].report
    first = report["init"]
    told = [first[name] for name in ("round", "kind", "train_rows", "accepted")]
    assert told == [0, "init", 2, 0]
    assert first["score"] is not None
    page = render_html(report)
    assert re.search(r'<th scope="row">seeds\b', page)
    assert [one["name"] for one in curve_columns(report)] == ["baseline", "seeds", "1", "2"]


def test_what_is_learnt_is_the_revision_not_what_the_student_said(finished: Any) -> None:
    rows = samples(finished[0])
    assert len(rows) == ROUNDS * EACH
    for one in rows:
        assert one.accepted
        assert one.revision is not None
        a, b = (int(word.strip("?")) for word in one.text.split() if word.strip("?").isdigit())
        assert one.label == str(a + b) == one.known_answer
        assert one.revision.steps == [f"{a} + {b} = {a + b}"]
        assert one.prediction is not None
        assert one.prediction.steps is not None


def test_no_question_is_revised_twice_and_none_is_a_test_question(finished: Any) -> None:
    result, _ = finished
    texts = [one.text for one in samples(result)]
    assert len(set(texts)) == len(texts)
    folder = result.path.parent.parent
    test = {json.loads(line)["question"] for line in (folder / "test.jsonl").open()}
    assert not test & set(texts)


def test_nobody_is_shown_a_known_answer_before_it_is_found(finished: Any) -> None:
    _, requests = finished
    first = [one for one in requests if "Is it right, in what it takes" in str(one["messages"])]
    for one in first:
        shown = one["messages"][-1]["content"]
        a, b = (int(word) for word in shown.replace("?", " ").split() if word.isdigit())
        assert f"Answer: {a + b}" not in shown


def test_the_shakiest_explanations_are_chosen(finished: Any) -> None:
    for one in samples(finished[0]):
        assert set(one.uncertainty) == {"intra", "inter", "least_confidence"}


def test_an_answer_in_other_letters_makes_no_explanation_shaky() -> None:
    again = [Explained((), "paris.", True), Explained((), "Paris", True)]
    student: Any = SimpleNamespace(
        answers=lambda prefixes: ["paris"] * len(prefixes),
        go_on=lambda prefixes, **_: again,
        explain=lambda questions, **_: again * 2,
        answer_form="text",
    )
    (shaky,) = look_closely(
        student,
        [Question("Where?")],
        [Explained(("In France.",), "Paris", True)],
        [0.5],
        ["intra", "inter", "answer_entropy"],
        samples=2,
        temperature=1.0,
        random_seed=0,
    )
    assert shaky.by_kind == {
        "intra": 0.0,
        "inter": 0.0,
        "answer_entropy": 0.0,
        "least_confidence": 0.5,
    }


def test_after_an_explanation_without_an_answer_nothing_is_sampled() -> None:
    asked: list[str] = []
    student: Any = SimpleNamespace(
        answers=lambda prefixes: [asked.append(one.question.text) or "7" for one in prefixes],
        go_on=lambda prefixes, **_: [Explained((), "7", True) for _ in prefixes],
        answer_form="number",
    )
    shaky = look_closely(
        student,
        [Question("a"), Question("b")],
        [Explained(("3 + 4",), "", False), Explained(("3 + 4 = 7",), "7", True)],
        [0.0, 0.5],
        ["intra", "inter"],
        samples=1,
        temperature=1.0,
        random_seed=0,
    )
    assert [one.by_kind for one in shaky] == [
        {"intra": 1.0, "inter": 1.0, "least_confidence": 1.0},
        {"intra": 0.0, "inter": 0.0, "least_confidence": 0.5},
    ]
    assert asked == ["b"]


def test_wrong_steps_become_weaknesses(finished: Any) -> None:
    report = finished[0].report
    assert sum(report["weaknesses"].values()) >= 1
    assert {one["labels"][0] for one in report["weakness_list"]} <= {
        "no_answer",
        "miscalculated",
        "misreasoned",
    }


def test_samples_are_shown_with_the_weakness_they_show(finished: Any) -> None:
    shown = {one["id"]: one["samples"] for one in finished[0].report["weakness_list"]}
    aimed = {one.weakness for one in samples(finished[0]) if one.accepted} - {None}
    assert aimed
    assert {name for name, texts in shown.items() if texts} == aimed


def test_the_report_shows_where_explanations_broke(finished: Any) -> None:
    report = finished[0].report
    assert report["revisions"]["revised"] == ROUNDS * EACH
    assert report["revisions"]["known"] == ROUNDS * EACH
    assert report["revisions"]["right_after"] == ROUNDS * EACH
    shown = report["explained"][0]
    assert shown["revised_answer"] == shown["known_answer"]
    assert shown["first_wrong"] is not None


def test_what_was_cut_and_what_holds_no_answer_is_counted(finished: Any) -> None:
    report = finished[0].report
    rounds = [one["explanations"] for one in report["rounds"]]
    assert [one["explained"] for one in rounds] == [8] * ROUNDS
    told = [*rounds, *report["explanations"].values()]
    assert set(report["explanations"]) == {"baseline", "final"}
    assert report["explanations"]["baseline"]["explained"] == 6
    assert report["explanations"]["baseline"]["cut"] > 0
    assert all(0 <= one[name] <= one["explained"] for one in told for name in one)


def test_the_kept_student_explains_new_questions(finished: Any) -> None:
    result, _ = finished
    said = api.predict(result.path.name, ["What is 1 plus 1?"], runs_dir=result.path.parent)
    assert said[0].steps is not None
    row = json.dumps({"question": "What is 1 plus 1?", "choices": ["2", "3"]})
    (chosen,) = api.predict(result.path.name, [row], runs_dir=result.path.parent)
    assert chosen.label in ("2", "3", "")


def test_a_run_goes_on_where_it_stopped(sums: Path, llm: FakeLLM) -> None:
    class StopError(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "phase" and (event["phase"], event["round"]) == ("train", 2):
            raise StopError

    with pytest.raises(StopError):
        run(sums, on_event=stop)
    asked = len(llm.requests)
    directory = RunDirectory(sums.parent / "runs" / "r")
    result = resume_run(directory, emit=lambda event: None)
    assert result.report["status"] == "finished"
    assert [one["accepted"] for one in result.report["rounds"]] == [EACH] * ROUNDS
    probes = 2
    assert len(llm.requests) - asked <= probes


def test_a_budget_ends_the_run(sums: Path) -> None:
    result = run(sums, "budget.output_tokens=60")
    assert result.report["status"] == "budget"
    assert Ledger(result.path / "calls.sqlite").budget_spent()["output_tokens"] <= 60 + 4 * 20


def test_what_was_revised_is_judged_however_little_is_left(
    tmp_path: Path, llm: FakeLLM, tiny_reasoner: Path
) -> None:
    changes = {"strategy": {"rounds": 1}, "budget": {"output_tokens": 60}}
    task = write_questions(tmp_path, llm.base_url, tiny_reasoner, changes)
    for name, count in (("seed", 2), ("test", 1), ("pool", 20)):
        rows = [
            {"question": f"Is {name} {n} big?", "answer": "yes", "rationale": "So it is."}
            for n in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")

    def answer(body: dict[str, Any]) -> str:
        if '"Answer: "' in body["messages"][0]["content"]:
            return "It is big.\nAnswer: yes"
        agrees = "It is big." in body["messages"][-1]["content"]
        return json.dumps({"answer": "Yes" if agrees else "No"})

    llm.answer = answer  # type: ignore[method-assign]
    decided = Counter(one.reason if one.revision else "not revised" for one in samples(run(task)))
    assert decided[None] >= 1
    assert set(decided) <= {None, "not revised"}


@pytest.mark.parametrize("selection", ["random", "least-confidence", "answer-entropy"])
def test_other_selections(sums: Path, selection: str) -> None:
    result = run(sums, f"strategy.selection={selection}", "strategy.rounds=1")
    assert len(samples(result)) == EACH


def test_whole_explanations_keep_nothing_of_the_students(sums: Path, llm: FakeLLM) -> None:
    result = run(sums, "strategy.annotation=whole", "strategy.rounds=1")
    assert all(one.revision and not one.revision.verdicts for one in samples(result))
    assert not any("Check the last step" in str(one["messages"]) for one in llm.requests)


@pytest.mark.parametrize(
    ("steps", "answer", "wrong", "outcome", "error"),
    [
        (["3 + 4 = 8"], "7", 0, "broke at step 1 of 1", "miscalculated"),
        (["It is seven."], "7", None, "written anew", None),
        (["3 + 3 = 6", "6 + 1 = 7"], "7", None, "written anew", None),
        (["4 + 3 = 7", "7 * 2 = 14"], "14", 1, "broke at step 2 of 2", "misreasoned"),
        (["4 + 3 = 7"], "8", 1, "broke at its answer", "misreasoned"),
        (["It is eight."], "", 1, "broke at its answer", "no_answer"),
    ],
)
def test_beside_a_whole_explanation_code_tells_where_the_student_s_broke(
    sums: Path, steps: list[str], answer: str, wrong: int | None, outcome: str, error: str | None
) -> None:
    asking = session(sums, _Teller("3 + 4 = 7\nAnswer: 7"), "strategy.annotation=whole")
    said = Prediction(label=answer, confidence=0.5, steps=steps)
    one = revise_explanation(asking, revised(prediction=said, revision=None))
    assert one.revision is not None
    assert (one.revision.first_wrong, one.revision.steps) == (wrong, ["3 + 4 = 7"])
    shown = explanation_card(told_of(one, said))
    assert shown["outcome"] == outcome
    marks = [[step["mark"] for step in column["steps"]] for column in shown["columns"]]
    assert marks[0] == ["wrong" if at == wrong else "" for at in range(len(steps))]
    assert marks[1] == ["new"]
    mistake = _mistake_of(asking, one.model_copy(update={"label": "7"}))
    broken = None if wrong is None else "".join(steps[wrong : wrong + 1])
    assert (mistake and mistake.error, mistake and mistake.part) == (error, broken)


class _Agrees(_Judge):
    """A reviser's model that says yes to anything, and explains with the same words always."""

    def tell(self, turns: Any, form: Lines, read: Callable[[str], Any], call: Call) -> Any:
        return read("3 + 4 = 7\nAnswer: 7")


@pytest.mark.parametrize("annotation", ["clear", "solved"])
def test_of_an_answer_without_steps_the_reviser_s_explanation_is_taught(
    sums: Path, annotation: str
) -> None:
    asking = session(sums, _Agrees("bad"), f"strategy.annotation={annotation}")
    said = Prediction(label="7", confidence=0.5, steps=[])
    one = revise_explanation(asking, revised(prediction=said, revision=None))
    assert one.revision is not None
    assert (one.revision.steps, one.revision.first_wrong) == (["3 + 4 = 7"], None)


def test_what_has_no_step_is_not_taught(sums: Path) -> None:
    bare = revised(accepted=True, label="7", revision=Revision(steps=[], answer="7"))
    assert inspect_revision(bare, "number", check_known=True).reason == "no_steps"
    told = revised(accepted=True, label="7")
    rows = rows_for(load_config(sums), [], [bare, told])
    assert [row.steps for row in rows] == [("3 + 4 = 7",)]


def test_gold_explanations_that_the_student_cannot_end_are_warned_of(
    sums: Path, tiny_reasoner: Path
) -> None:
    config = load_config(sums)
    data = load_task_data(config)
    assert long_explanations(config, data, str(tiny_reasoner)) == []
    config.student.max_new_tokens = 8
    (told,) = long_explanations(config, data, str(tiny_reasoner))
    assert told.startswith("student.max_new_tokens: 2 of 2 gold explanations are longer than 8")
    config.student.max_new_tokens = int(told.split("; give ")[1].split(",")[0])
    assert long_explanations(config, data, str(tiny_reasoner)) == []


def test_more_explanations_revised_than_there_are_candidates_is_refused(sums: Path) -> None:
    with pytest.raises(ConfigError, match="candidates is 3, but 4 explanations are revised"):
        load_config(sums, ["strategy.candidates=3"])


def test_comparisons_with_a_solution_are_counted_apart_from_walks(sums: Path) -> None:
    asking = session(sums, _Teller("3 + 4 = 7\nAnswer: 7"), "strategy.annotation=solved")
    one = revise_explanation(asking, revised(revision=None))
    assert one.revision is not None
    assert (one.revision.compared, one.revision.first_wrong) == (True, 0)
    counts = revision_counts([one])
    assert counts is not None
    assert (counts["walked"], counts["compared"], counts["approved"]) == (0, 1, 0)


@pytest.mark.parametrize(
    ("steps", "answer", "kept"),
    [
        (["3 + 3 = 6", "6 + 1 = 7"], "7", True),
        (["3 + 3 = 6", "6 + 2 = 7"], "7", False),  # the sum is wrong
        (["3 + 3 = 6", "6 + 2 = 8"], "8", False),
        (["It is seven."], "8", False),
    ],
)
def test_what_comes_to_the_same_answer_on_another_way_is_kept(
    sums: Path, steps: list[str], answer: str, kept: bool
) -> None:
    asking = session(sums, _Agrees("bad"), "strategy.annotation=solved")
    said = Prediction(label=answer, confidence=0.5, steps=steps)
    one = revise_explanation(asking, revised(prediction=said, revision=None))
    assert one.revision is not None
    assert (one.revision.first_wrong is None) is kept
    assert (one.revision.steps == steps) is kept


def test_a_weakness_is_tested_in_later_rounds_on_all_that_the_student_explained(sums: Path) -> None:
    asking = session(sums, None)
    asking.memory = InMemoryWeaknesses(HashEmbedder(64), "r")
    asking.run = SimpleNamespace(run_id="r")
    wrong = revised(accepted=True, label="7", split="train")
    told, counts = _remember(asking, 1, [wrong], {wrong.id: "miscalculated", "other": ""})
    assert counts == {"open": 1, "closed": 0, "returned": 0}
    (weakness,) = asking.memory.weaknesses("r")
    assert (weakness.status, weakness.history) == ("open", [])
    assert weakness.description == "1 of 2 explanations of round 1"
    assert [one.weakness for one in told] == [weakness.id]
    assert _remember(asking, 1, [wrong], {wrong.id: "miscalculated", "other": ""}) == (told, counts)
    found = {f"r02p{number:07d}": "miscalculated" for number in range(2)}
    found |= {f"r02p{number:07d}": "" for number in range(2, 9)}
    _remember(asking, 2, [], found)
    (weakness,) = asking.memory.weaknesses("r")
    assert weakness.history == ["2:open:0.778"]


def test_some_candidates_are_like_failures_of_open_weaknesses(sums: Path) -> None:
    asking = session(sums, None, "strategy.candidates=10", "memory.related=0")
    asking.memory = InMemoryWeaknesses(HashEmbedder(64), "r")
    asking.embedder = HashEmbedder(64)
    asking.run = SimpleNamespace(run_id="r", read_samples=lambda: [])
    asking.pool = Pool(sums.parent / "pool.sqlite")
    texts = [f"How many apples has Ann {n}?" for n in range(20)]
    texts += [f"When does train {n} to Rome leave?" for n in range(20)]
    asking.pool.fill((PoolRow(text, text) for text in texts), lambda row: "")
    by_chance = asking.pool.draw(10, (), random_of(asking, 2))
    assert _drawn(asking, 2) == by_chance
    wrong = revised(text="When does the train to Rome leave?", accepted=True, label="7")
    _remember(asking, 1, [wrong], {})
    drawn = _drawn(asking, 2)
    assert len(set(drawn)) == 10
    assert drawn[:7] == asking.pool.draw(7, (), random_of(asking, 2))
    assert all("train" in text for text in asking.pool.texts(drawn[7:]))
    asking.config.strategy.selection = "random"
    asking.config.strategy.samples_per_round = 6  # no more are explained than chosen
    assert _drawn(asking, 2) == asking.pool.draw(6, (), random_of(asking, 2))
    asking.budget.affordable = lambda samples: samples - 1
    assert len(_drawn(asking, 2)) == 5
    asking.pool.close()


def test_an_answer_the_pool_knows_is_checked(tmp_path: Path) -> None:
    right, wrong = revised(known_answer="7"), revised(known_answer="9")
    assert inspect_revision(right, "number", check_known=True).accepted is None
    assert inspect_revision(wrong, "number", check_known=True).reason == "not_the_known_answer"
    assert inspect_revision(wrong, "number", check_known=False).label == "7"


def test_a_revision_longer_than_the_student_may_write_is_rejected(sums: Path) -> None:
    settings = SimpleNamespace(
        config=load_config(sums), student_source=load_config(sums).student.model.partition(":")[2]
    )
    fits = "3 + 4 = 7 a"  # 12 tokens with its end, as many as "Answer: 170"
    rows = [
        revised(label="170", revision=Revision(steps=[step], answer="170"))
        for step in (fits, fits + "b")
    ]
    kept, out = without_too_long(settings, rows)  # type: ignore[arg-type]
    assert (kept.accepted, out.reason) == (None, "explanation_too_long")


def test_miscalculated_revisions_are_rejected() -> None:
    broken = revised(revision=Revision(steps=["3 + 4 = 6", "so 6 + 1 = 7"], answer="7"))
    assert inspect_revision(broken, "number", check_known=True).reason == "miscalculated"


def test_revisions_that_repeat_themselves_are_rejected() -> None:
    steps = ["It is seven.", "It is more than six.", "It is seven."]
    twice = revised(revision=Revision(steps=steps, answer="7"))
    assert inspect_revision(twice, "number", check_known=True).reason == "repeated_step"


def test_answers_must_be_readable_and_among_the_choices() -> None:
    vague = revised(revision=Revision(steps=["Who knows."], answer="some"))
    assert inspect_revision(vague, "number", check_known=True).reason == "answer_unreadable"
    outside = revised(choices=["red", "blue"], revision=Revision(steps=["x"], answer="green"))
    reason = inspect_revision(outside, "choice", check_known=True).reason
    assert reason == "answer_outside_options"
    inside = revised(choices=["red", "blue"], revision=Revision(steps=["x"], answer="(b)"))
    assert inspect_revision(inside, "choice", check_known=True).label == "blue"


def test_an_answer_may_be_a_sum_worked_out() -> None:
    told = revised(revision=Revision(steps=["3 + 4 = 7"], answer="3 + 4 = 7 apples"))
    assert inspect_revision(told, "number", check_known=True).label == "7"


def test_only_what_code_cannot_recompute_goes_to_the_critic() -> None:
    proven = inspect_revision(revised(), "number", check_known=True)
    assert not proven.checked
    unproven = revised(revision=Revision(steps=["It is seven."], answer="7"))
    assert inspect_revision(unproven, "number", check_known=True).checked
    twice = revised(revision=Revision(steps=["3 + 4 = 7, so 7 * 2 = 14"], answer="7"))
    assert inspect_revision(twice, "number", check_known=True).checked


@pytest.mark.parametrize(
    ("step", "answer", "reason"),
    [
        ("3 + 4 = 7", "8", "answer_contradicts_steps"),
        ("3 + 4 = 7", "-7", "answer_contradicts_steps"),
        ("3 + 4 = 7", "7 apples", None),
        ("3 + 4 = 7, so 2 are left", "2", None),
        ("7 / 2 = 3.5", "4", None),
        ("1 / 4 = 0.25", "25%", None),
        ("It is seven.", "8", None),
    ],
)
def test_an_answer_other_than_the_last_step_works_out_is_rejected(
    step: str, answer: str, reason: str | None
) -> None:
    one = revised(revision=Revision(steps=["1 + 1 = 2", step], answer=answer))
    assert inspect_revision(one, "number", check_known=True).reason == reason


@pytest.mark.parametrize(
    ("answer", "choices", "reason", "checked"),
    [
        ("8", ["7", "8"], "answer_contradicts_steps", True),
        ("7", ["7 apples", "8 apples"], None, False),
        ("(a)", ["7", "8"], None, False),
        ("8", ["7", "8", "none"], None, True),
    ],
)
def test_options_that_are_numbers_are_held_against_the_last_step(
    answer: str, choices: list[str], reason: str | None, checked: bool
) -> None:
    one = revised(choices=choices, revision=Revision(steps=["3 + 4 = 7"], answer=answer))
    found = inspect_revision(one, "number", check_known=False)
    assert (found.reason, found.checked) == (reason, checked)


def reviser(judge: _Judge) -> Reviser:
    return Reviser(judge, load_prompt("reviser", "reasoning"), "card")  # type: ignore[arg-type]


def test_the_walk_ends_at_the_first_wrong_step() -> None:
    judge = _Judge("bad")
    walk = reviser(judge).walk("q", ["good", "bad one", "bad two"], "7", Call(1, "x"))
    assert (walk.first_wrong, walk.verdicts) == (1, (True, False))
    assert len(judge.asked) == 2
    assert "bad two" not in judge.asked[1]


def test_a_step_that_repeats_another_is_wrong_whatever_is_said_of_it() -> None:
    judge = _Judge("bad")
    walk = reviser(judge).walk("q", ["good", "fine", "good", "better"], "7", Call(1, "x"))
    assert (walk.first_wrong, len(judge.asked)) == (2, 3)


def test_after_a_step_that_is_known_to_be_wrong_nothing_is_asked(sums: Path) -> None:
    judge = _Agrees("bad")
    steps = ["3 + 4 = 7", "7 + 1 = 9", "9 + 1 = 10"]
    said = Prediction(label="10", confidence=0.5, steps=steps)
    one = revise_explanation(session(sums, judge), revised(prediction=said, revision=None))
    assert one.revision is not None
    assert (one.revision.first_wrong, one.revision.verdicts) == (1, [True, True])
    assert len(judge.asked) == 2


def test_a_budget_that_ends_in_the_walk_pays_for_no_correction(sums: Path) -> None:
    asking = session(sums, _Judge("8"))
    asking.budget.reached = lambda **_: "budget: output_tokens 60"
    assert revise_explanation(asking, revised(revision=None)).reason == "budget"
    right = Prediction(label="7", confidence=0.5, steps=["3 + 4 = 7"])
    kept = revise_explanation(asking, revised(prediction=right, revision=None))
    assert kept.revision is not None
    assert kept.accepted is None


def test_a_correction_that_a_killed_run_has_paid_for_is_kept(sums: Path) -> None:
    asking = session(sums, None)
    asking.budget.reached = lambda **_: "budget: output_tokens 60"
    assert is_spent(asking, revised(id="a"))
    paid = ("reviser", 1, "revise:a:correct")
    asking.ledger.holds_reply = lambda *asked: asked == paid
    assert not is_spent(asking, revised(id="a"))
    assert is_spent(asking, revised(id="b"))


def test_verdicts_are_kept_back_for_what_the_round_has_revised_so_far(sums: Path) -> None:
    asking = session(sums, None)
    kept_back: list[int] = []
    asking.budget.reached = lambda *, to_read=0: str(kept_back.append(to_read) or "")
    calls = [(1, "a:step 0"), (1, "a:correct"), (1, "b:whole"), (2, "c:whole"), (1, "")]
    asking.ledger = Ledger(sums.parent / "calls.sqlite")
    for round, one in calls:
        purpose = f"revise:{one}" if one else "probe"
        asking.ledger.open_call(
            role="reviser", round=round, purpose=purpose, model="m", key=one, attempt=0
        )
    for one in ("a", "new"):
        assert not is_spent(asking, revised(id=one))
    asking.config.strategy.critic = False
    assert not is_spent(asking, revised())
    assert kept_back == [2, 3, 0]


def test_the_answer_is_the_last_step_of_the_walk() -> None:
    walk = reviser(_Judge("answer: 7")).walk("q", ["good"], "7", Call(1, "x"))
    assert (walk.first_wrong, walk.verdicts) == (1, (True, False))
    all_right = reviser(_Judge("bad")).walk("q", ["good"], "7", Call(1, "x"))
    assert (all_right.first_wrong, all_right.verdicts) == (None, (True, True))


@pytest.mark.parametrize(
    ("steps", "agrees", "verdicts"),
    [
        (["4 + 3 = 7 pears", "7 + 7 = 14"], True, [True, True]),
        (["3 + 4 = 7", "7 * 3 = 21"], False, [True, False]),
        (["3 + 5 = 7"], False, [False]),
        (["3 + 4 = 7", "3 + 4 = 7"], True, [True, False]),
        # What says nothing stands and falls with the next sums, or with the answer.
        (["good", "3 + 4 = 7", "fine"], True, [True, True, True]),
        (["good", "3 + 4 = 7", "fine"], False, [True, True, False]),
        (["good", "3 + 5 = 8"], False, [False]),
        (["The 2 pears * $3 = $6 less."], False, [False]),
        (["good"], True, [True]),
        ([], True, []),
    ],
)
def test_steps_are_compared_with_a_solution_that_has_sums(
    steps: list[str], agrees: bool, verdicts: list[bool]
) -> None:
    judge = _Judge("bad")
    solution = ["3 + 4 = 7", "7 * 2 = 14"]
    walk = reviser(judge).compare("q", steps, solution, Call(1, "x"), agrees=agrees)
    assert list(walk.verdicts) == verdicts
    assert walk.first_wrong == (verdicts.index(False) if False in verdicts else None)
    assert judge.asked == []


def test_results_agree_but_for_rounding() -> None:
    judge = _Judge("bad")
    asked = "q", ["10 / 3 = 3.3"], ["10 / 3 = 3.33"], Call(1, "x")
    assert reviser(judge).compare(*asked, agrees=True).verdicts == (True,)


def test_beside_a_solution_without_sums_the_reviser_is_asked() -> None:
    judge = _Judge("bad")
    steps = ["34 + 18 = 52", "bad", "good"]
    walk = reviser(judge).compare("q", steps, ["He has 52."], Call(1, "x"), agrees=True)
    assert (walk.verdicts, walk.first_wrong) == ((True, False), 1)
    assert all("A right solution:\n1. He has 52." in one for one in judge.asked)
    wrong = reviser(judge).compare("q", ["3 + 4 = 8"], ["He has 8."], Call(1, "x"), agrees=True)
    assert (wrong.verdicts, len(judge.asked)) == ((False,), 2)
    steps = ["good", "good", "good"]
    twice = reviser(judge).compare("q", steps, ["He has 52."], Call(1, "x"), agrees=True)
    assert (twice.verdicts, twice.first_wrong, len(judge.asked)) == ((True, False), 1, 3)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("3 + 4 = 7\nAnswer: 7\n\n2 + 2 = 4\nAnswer: 4", "7"),
        ("3 + 4 = 7\n**Answer:** 7 pears", "7"),
        ("3 + 4 = 7\nAnswer: 3 + 4 = 7", "7"),
        ("3 + 4 = 7\nAnswer: a few", "a few"),
    ],
)
def test_the_first_answer_line_of_a_reply_counts(words: str, answer: str) -> None:
    own = explainer(_Teller(words)).explain("q", Call(1, "x"), "number")
    assert (own.steps, own.answer) == (("3 + 4 = 7",), answer)


class _Teller:
    """A reviser's model that explains with the same words always."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.turns: list[Any] = []
        self.grammar = ""

    def tell(self, turns: Any, form: Lines, read: Callable[[str], Any], call: Call) -> Any:
        self.turns, self.grammar = list(turns), form.grammar
        return read(self.words)


class _Calculator(_Teller):
    """A reviser's model that writes the same calculation always, and how likely it found it."""

    def __init__(self, words: str, *probabilities: float) -> None:
        super().__init__(words)
        self.tokens = [{"logprob": math.log(one)} for one in probabilities] or None

    def tell_raw(self, turns: Any, form: Lines, read: Callable[[str], Any], call: Call) -> Any:
        return self.tell(turns, form, read, call), Reply(text=self.words, logprobs=self.tokens)


def explainer(teller: _Teller) -> Reviser:
    solved = [Example(text="2 and 2?", label="4", rationale="2 + 2 = 4")]
    prompt = load_prompt("reviser", "reasoning")
    return Reviser(teller, prompt, "card", "Add.", solved)  # type: ignore[arg-type]


def test_examples_are_turns_of_the_conversation_in_which_the_reviser_explains() -> None:
    teller = _Teller("3 + 4 = 7 pears.\nAnswer: 7")
    own = explainer(teller).explain("3 and 4?", Call(1, "x"), "number")
    assert (own.steps, own.answer) == (("3 + 4 = 7 pears.",), "7")
    assert teller.turns[1:] == [
        ("user", "2 and 2?"),
        ("assistant", "2 + 2 = 4\nAnswer: 4"),
        ("user", "3 and 4?"),
    ]
    assert teller.turns[0][1].startswith("Add. Explain")
    assert 'root ::= line{1,8} "Answer: " ("-"? ([0-9]' in teller.grammar


@pytest.mark.parametrize(
    ("form", "choices", "rule"),
    [("yes_no", [], '("yes" | "no")'), ("choice", ["red", "blue"], '("red" | "blue")')],
)
def test_an_answer_is_bound_to_its_form(form: AnswerForm, choices: list[str], rule: str) -> None:
    teller = _Teller("It is known.\nAnswer: red")
    explainer(teller).explain("Which?", Call(1, "x"), form, choices)
    assert rule in teller.grammar


def test_a_correction_follows_the_right_steps_and_repeats_none() -> None:
    teller = _Teller("3 + 4 = 7\n7 * 2 = 14\nAnswer: 14")
    own = explainer(teller).correct("q", ["3 + 4 = 7"], "7 * 2 = 15", Call(1, "x"), "number")
    assert own.steps == ("7 * 2 = 14",)
    assert 'The next step was wrong: "7 * 2 = 15"' in teller.turns[-1][1]
    explainer(teller).correct("q", [], "7 * 2 = 15", Call(1, "x"), "number")
    assert teller.turns[-1] == ("user", "q")


def test_a_calculation_is_asked_for_after_those_of_the_examples() -> None:
    teller = _Calculator("(3 + 4) * 2", 0.8, 0.5)
    asked = explainer(teller)
    told = [*asked.solved, Example(text="Why?", label="3", rationale="It is known.")]
    own = replace(asked, solved=told).calculate("3 and 4, twice?", Call(1, "x"))
    assert (own.steps, own.answer) == (("3 + 4 = 7", "7 * 2 = 14"), "14")
    assert own.confidence == pytest.approx(0.4)
    assert teller.turns[1:] == [
        ("user", "2 and 2?"),
        ("assistant", "2 + 2"),
        ("user", "3 and 4, twice?"),
    ]
    assert teller.turns[0][1].startswith("Add. Write the calculation alone")
    assert teller.grammar == f"root ::= {CALCULATION}"


def test_without_log_probabilities_nobody_knows_how_likely_a_calculation_was() -> None:
    assert explainer(_Calculator("3 + 4")).calculate("q", Call(1, "x")).confidence is None


@pytest.mark.parametrize(
    ("said", "probability", "reason"),
    [
        (["3 + 5 = 8"], 0.2, "reviser_unsure"),
        (["3 + 5 = 8"], 0.5, None),
        (["3 + 5 = 8"], None, None),
        (["4 + 3 = 7"], 0.2, None),  # the student comes to the same
    ],
)
def test_a_calculation_the_reviser_is_unsure_of_is_not_learnt(
    sums: Path, said: list[str], probability: float | None, reason: str | None
) -> None:
    told = () if probability is None else (probability,)
    asking = session(sums, _Calculator("3 + 4", *told), "strategy.annotation=calculation")
    prediction = Prediction(label=said[0][-1], confidence=0.5, steps=said)
    one = revise_explanation(asking, revised(prediction=prediction, revision=None))
    assert one.revision is not None
    assert one.revision.compared
    assert one.revision.confidence == (told[0] if told else None)
    assert one.revision.steps == (["3 + 4 = 7"] if said[0] == "3 + 5 = 8" else said)
    seen = inspect_revision(one, "number", check_known=True, min_confidence=0.3)
    assert (seen.reason, seen.checked) == (reason, False if reason is None else one.checked)


def test_a_run_may_ask_for_calculations_only(sums: Path, llm: FakeLLM) -> None:
    calculated = "strategy.annotation=calculation"
    rows = samples(run(sums, calculated, "strategy.rounds=1"))
    assert [one.label for one in rows] == [one.known_answer for one in rows]
    assert len([one for one in rows if one.accepted]) == EACH
    asked = [str(one["messages"]) for one in llm.requests]
    assert sum("Write the calculation alone" in one for one in asked) == EACH
    assert not any("Explain in short steps" in one for one in asked)
    written = {
        way: {one.role: one for one in estimate(load_config(sums, [way])).roles}["reviser"]
        for way in (calculated, "strategy.annotation=solved")
    }
    calls = [one.calls for one in written.values()]
    assert calls[0] == calls[1]
    tokens = [one.output_tokens for one in written.values()]
    assert tokens[0] < tokens[1] / 2


def test_calculations_are_for_numbers(sums: Path) -> None:
    with pytest.raises(DataError, match=r"calculation is for answers that are numbers.*'text'"):
        run(sums, "strategy.annotation=calculation", "task.answers=text")


@pytest.mark.parametrize(("words", "told"), [("3 + 4", "no answer"), ("Answer: 7", "no step")])
def test_a_reply_without_steps_or_answer_cannot_be_used(words: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        explainer(_Teller(words)).explain("q", Call(1, "x"), "yes_no")


def test_a_solution_goes_on_where_the_kept_steps_end() -> None:
    solution = ["Add.", "3 + 4 = 7", "7 * 2 = 14"]
    assert rest_of(solution, []) == solution
    assert rest_of(solution, ["4 + 3 = 7"]) == solution[2:]
    assert rest_of(solution, ["4 + 3 = 7", "7 + 7 = 14"]) == []
    assert rest_of(["It is known."], ["good"]) == ["It is known."]
    assert rest_of(["3 + 4 = 7", "14 - 7 = 7"], ["4 + 3 = 7"]) == ["14 - 7 = 7"]
    weeks = ["3 + 4 = 7", "There are 2 weeks.", "7 * 2 = 14"]
    assert rest_of(weeks, ["4 + 3 = 7"]) == weeks[1:]


def test_a_solution_is_kept_to_where_the_student_is_wrong(sums: Path, llm: FakeLLM) -> None:
    rows = samples(run(sums, "strategy.annotation=solved", "strategy.rounds=1"))
    assert len(rows) == EACH
    for one in rows:
        assert one.revision is not None
        assert one.label == one.known_answer
        assert one.revision.first_wrong is not None
        said = one.prediction.steps if one.prediction else None
        assert (
            one.revision.steps[: one.revision.first_wrong]
            == (said or [])[: one.revision.first_wrong]
        )
    assert not any("The student's answer" in str(one["messages"]) for one in llm.requests)


def test_an_explanation_without_an_answer_breaks_at_its_end() -> None:
    walk = reviser(_Judge("bad")).walk("q", ["good", "fine"], "", Call(1, "x"))
    assert (walk.first_wrong, walk.verdicts) == (2, (True, True))


def test_steps_are_numbered() -> None:
    assert numbered(["a", "b"]) == "1. a\n2. b"
    assert numbered([]) == "(none)"


def walked(verdicts: list[bool], steps: list[str], number: int = 0) -> Sample:
    first = verdicts.index(False) if False in verdicts else None
    return revised(
        id=f"r01p{number:07d}",
        prediction=Prediction(label="7", confidence=0.5, steps=steps),
        revision=Revision(steps=steps, answer="7", verdicts=verdicts, first_wrong=first),
    )


def test_the_reviser_is_held_against_recomputed_steps() -> None:
    steps = ["3 + 4 = 7", "7 + 1 = 9"]
    rows = [
        walked([True, False], steps, 1),  # found
        walked([False], steps, 2),  # a no before it was asked
        walked([True, True, True], steps, 3),  # overlooked
        walked([True, True], ["3 + 4 = 7"], 4),  # nothing to find
        walked([True], [], 5).model_copy(  # an answer alone, explained anew
            update={"revision": Revision(steps=steps[:1], answer="7", verdicts=[True])}
        ),
    ]
    counts = revision_counts(rows)
    assert counts is not None
    told = {name: counts[name] for name in ("walked", "miscalculated", "located")}
    assert told == {"walked": 5, "miscalculated": 3, "located": 1}
    assert (counts["asked"], counts["overlooked"], counts["approved"]) == (2, 1, 2)


def test_a_reviser_that_agrees_with_everything_is_warned_about() -> None:
    agreeable = [walked([True, True], ["3 + 4 = 8"], n) for n in range(12)]
    assert "agrees with nearly everything" in agreement_warning(revision_counts(agreeable))[0]
    careful = [walked([False], ["3 + 4 = 8"], n) for n in range(12)]
    assert agreement_warning(revision_counts(careful)) == []
    assert agreement_warning(revision_counts(agreeable[:3])) == []
    none = [walked([True, True], ["It is 7."], n) for n in range(12)]
    assert agreement_warning(revision_counts(none)) == []
    wrong = [one.model_copy(update={"known_answer": "8"}) for one in none]
    (told,) = agreement_warning(revision_counts(wrong))
    assert "the reviser called 12 of 12 explanations right whose answer" in told
    judged = {"critic_verdict": "accept", "prediction": None}
    believed = [one.model_copy(update=judged | {"known_answer": "8"}) for one in careful]
    (told,) = agreement_warning(revision_counts(believed))
    assert "the critic called 12 of 12 revisions right" in told
    assert revision_counts([]) is None


def test_a_reviser_that_finds_fault_with_answers_only_is_warned_about() -> None:
    def parted(first_wrong: int, number: int) -> Sample:
        at = {"compared": True, "first_wrong": first_wrong}
        one = walked([True], ["It is so."], number)
        assert one.revision is not None
        return one.model_copy(update={"revision": one.revision.model_copy(update=at)})

    agreeing = [parted(1, number) for number in range(12)]
    (told,) = agreement_warning(revision_counts(agreeing))
    assert "every step right in 12 of 12 explanations with another answer" in told
    assert agreement_warning(revision_counts(agreeing[:9])) == []
    assert agreement_warning(revision_counts([*agreeing, *(parted(0, n) for n in (12, 13))])) == []


def test_unusable_replies_lose_one_question_not_the_run(sums: Path, llm: FakeLLM) -> None:
    original = llm.answer

    def answer(body: dict[str, Any]) -> str:
        explains = '"Answer: "' in body["messages"][0]["content"]
        return "no idea" if explains else original(body)

    llm.answer = answer  # type: ignore[method-assign]
    result = run(sums, "strategy.rounds=1")
    assert {one.reason for one in samples(result)} == {"revision_unusable_reply"}
    assert result.report["status"] == "finished"
    assert result.report["rounds"][0]["rejected"] == {"revision_unusable_reply": EACH}
    # Nothing was taught, and the student of the seeds is kept, not the untrained one.
    assert result.report["scores"]["best_round"] == 0
    assert result.report["scores"]["final"] == result.report["init"]["score"]


def test_rows_with_choices_are_shown_them(
    tmp_path: Path, llm: FakeLLM, tiny_reasoner: Path
) -> None:
    task = write_questions(tmp_path, llm.base_url, tiny_reasoner, {"strategy": {"rounds": 1}})
    rows = [
        {"question": f"What is {n} plus 1?", "choices": [str(n + 1), "99"]} for n in range(20, 32)
    ]
    (tmp_path / "pool.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for one in samples(run(task)):
        assert one.label in one.choices
        assert one.known_answer is None
    shown = [str(one["messages"][-1]["content"]) for one in llm.requests]
    assert any(re.search(r"\(a\) \d+\n\(b\) 99", one) for one in shown)


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_where_questions_have_choices_gold_rows_without_are_refused_and_pool_rows_dropped(
    sums: Path,
) -> None:
    folder, choices = sums.parent, {"choices": ["7", "8"]}
    gold = {"question": "What is 3 plus 4?", "answer": "7", "rationale": "3 + 4 = 7"}
    write_rows(folder / "seed.jsonl", [gold])
    with pytest.raises(DataError, match="seed.jsonl:1: no choices; every question"):
        load_task_data(load_config(sums, ["task.answers=choice"]))
    write_rows(folder / "seed.jsonl", [gold | choices])
    with pytest.raises(DataError, match="test.jsonl:1: no choices"):
        load_task_data(load_config(sums))
    write_rows(folder / "test.jsonl", [{"question": "What is 4 plus 4?", "answer": "8"} | choices])
    asked = [{"question": f"What is {n} plus 1?"} for n in range(3)]
    assert filled(sums, [asked[0], asked[1] | choices, asked[2]]).dropped == {"choices_missing": 2}


def test_gold_answers_are_of_the_form_that_the_task_names(sums: Path) -> None:
    folder, named = sums.parent, ["task.answers=number"]
    test = [{"question": "How much a day?", "answer": "18 dollars a day for each of us"}]
    write_rows(folder / "test.jsonl", test)
    assert load_task_data(load_config(sums, named)).test[0].label == "18"
    write_rows(folder / "test.jsonl", [*test, {"question": "In which ratio?", "answer": "3:2"}])
    with pytest.raises(DataError, match="test.jsonl:2: the answer '3:2' is no number"):
        load_task_data(load_config(sums, named))
    with pytest.raises(DataError, match="seed.jsonl:1: the answer .* is neither yes nor no"):
        load_task_data(load_config(sums, ["task.answers=yes_no"]))


def test_answers_that_no_student_gives_are_warned_of(sums: Path) -> None:
    more = [{"question": "In which ratio?", "answer": "3:2"}, question(20, 30)]
    write_rows(sums.parent / "test.jsonl", more)
    (told,) = load_task_data(load_config(sums)).warnings
    assert told.startswith("test: 1 answer(s), such as '3:2', are no number, and can never be")
    ratio = {"question": "In which proportion?", "answer": "2:1", "rationale": "Twice as many."}
    with (sums.parent / "seed.jsonl").open("a") as file:
        file.write(json.dumps(ratio) + "\n")
    assert load_task_data(load_config(sums)).warnings == ()


def test_seeds_that_the_student_cannot_learn_are_warned_of(sums: Path) -> None:
    bare = [question(3, 4), question(4, 4) | {"rationale": "The answer is 8, for 4 + 4 is 8."}]
    explained = question(5, 4) | {"rationale": "5 + 4 = 9"}
    write_rows(sums.parent / "seed.jsonl", [*bare, explained])
    (told,) = load_task_data(load_config(sums)).warnings
    assert told.startswith("seed: 2 of 3 row(s) have no rationale with a step before the answer")


def test_gold_explanations_whose_sums_do_not_hold_are_warned_of(sums: Path) -> None:
    assert load_task_data(load_config(sums)).warnings == ()
    with (sums.parent / "seed.jsonl").open("a", encoding="utf-8") as file:
        row = {"question": "Add binary 101 and 11.", "answer": "1000"}
        print(json.dumps(row | {"rationale": "101 + 11 = 1000"}), file=file)
    (told,) = load_task_data(load_config(sums)).warnings
    assert told.startswith("seed: 1 of 3 row(s) explain with a sum that does not hold")
    assert "'101 + 11 = 1000'" in told


def test_fewshot_is_the_student_that_the_rounds_begin_with(
    sums: Path, llm: FakeLLM, finished: Any
) -> None:
    result = run(sums, "strategy.name=fewshot")
    assert llm.requests == []
    report = result.report
    assert (report["status"], report["rounds"]) == ("finished", [])
    assert (report["init"]["train_rows"], report["scores"]["best_round"]) == (2, 0)
    whole = finished[0].report
    assert report["scores"]["baseline"] == whole["scores"]["baseline"]
    assert report["init"]["score"] == whole["init"]["score"] == report["scores"]["final"]
    assert report["baseline_marks"] == whole["baseline_marks"]
    assert "untrained" in render_html(report)
    assert estimate(load_config(sums, ["strategy.name=fewshot"])).samples == 0


def test_fullshot_learns_the_rationales_of_train_and_asks_nobody(sums: Path, llm: FakeLLM) -> None:
    train = [question(n, 20) | {"rationale": f"{n} + 20 = {n + 20}"} for n in range(3)]
    bare = question(5, 20)
    write_rows(sums.parent / "train.jsonl", [*train, bare])
    overrides = ["strategy.name=fullshot", "data.train=train.jsonl"]
    report = run(sums, *overrides).report
    assert llm.requests == []
    assert report["rounds"][0]["train_rows"] == 2 + 3
    assert report["scores"]["best_round"] == 1
    assert report["explanations"]["final"]["explained"] == 6
    assert any(
        one.startswith("train: 1 of 4 row(s) have no rationale") for one in report["warnings"]
    )
    write_rows(sums.parent / "train.jsonl", [bare])
    with pytest.raises(DataError, match="train.jsonl: no row has a rationale with a step before"):
        load_task_data(load_config(sums, overrides))
    write_rows(sums.parent / "seed.jsonl", [bare])
    with pytest.raises(DataError, match="seed.jsonl: no row has .* the strategy fewshot learns"):
        load_task_data(load_config(sums, ["strategy.name=fewshot"]))


def filled(task: Path, rows: list[dict[str, Any]]) -> PoolCounts:
    """Return what becomes of a pool's rows when a run is opened."""
    write_rows(task.parent / "pool.jsonl", rows)
    pool = Pool(task.parent / "pool.sqlite")
    config = load_config(task)
    check = check_of_questions(config, config.student.model.partition(":")[2])
    fill(pool, config, load_task_data(config), check, lambda event: None)
    counts = pool.counts
    pool.close()
    assert counts is not None
    return counts


def test_rows_of_the_pool_with_answers_that_cannot_be_met_are_dropped_by_name(sums: Path) -> None:
    choices = {"choices": ["7", "9"]}
    rows: list[dict[str, Any]] = [
        {"question": "a?", "answer": "8", **choices},
        {"question": "b?", "answer": "no idea"},
        {"question": "c?", "answer": "3 + 4 = 7\n#### 7"},
        {"question": "d?"},
    ]
    counts = filled(sums, rows)
    assert counts.dropped == {"answer_outside_choices": 1, "answer_unreadable": 1}
    assert counts.kept == 2


def test_questions_longer_than_the_student_reads_are_found_before_the_start(sums: Path) -> None:
    long = {"question": "Why " * 240 + "?", "answer": "7"}
    assert filled(sums, [long, {"question": "Why?"}]).dropped == {"too_long": 1}
    write_rows(sums.parent / "test.jsonl", [long])
    with pytest.raises(DataError, match="test: the question 'Why Why .* than the student reads"):
        run(sums)


def test_a_question_with_the_words_of_a_test_question_is_dropped(sums: Path) -> None:
    test = {"question": "Tom has 3 pens and Ann 12. How many in all?", "answer": "15"}
    write_rows(sums.parent / "test.jsonl", [test])
    pool = [
        {"question": "Ann has 3 pens and Tom 12; how many in all?"},
        {"question": "Ann has 3 pens and Tom 11; how many in all?"},
    ]
    counts = filled(sums, pool)
    assert (counts.kept, counts.dropped) == (1, {"nearly_test": 1})


def test_other_choices_make_another_question(sums: Path) -> None:
    asked = {"question": "Which is 3 plus 4?"}
    right = {"answer": "7", "rationale": "3 + 4 = 7"}
    gold = [asked | right | {"choices": ["7", one]} for one in ("8", "9")]
    write_rows(sums.parent / "seed.jsonl", [gold[0]])
    write_rows(sums.parent / "test.jsonl", [gold[1]])
    data = load_task_data(load_config(sums))
    assert (len(data.seed), len(data.test), data.warnings) == (1, 1, ())
    pool = [asked | {"choices": choices} for choices in (["9", "7"], ["7", "1"], ["1", "7"])]
    counts = filled(sums, pool)
    assert (counts.kept, counts.dropped) == (1, {"test": 1, "duplicate": 1})


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("strategy.name=evokd", "evokd is not for task.kind reasoning; elad is for reasoning, wh"),
        ("strategy.name=fullshot", "give them in data.train"),
        ("strategy.selection=llkd", "unknown strategy.selection 'llkd'"),
        ("strategy.mode=paper", "strategy.mode paper"),
        ("data.pool=null", "give them in data.pool"),
        ("task.labels={a: b, c: d}", "a task of reasoning has none"),
        ("student.model=path:nowhere", "config.json"),
    ],
)
def test_what_does_not_go_together_is_refused(sums: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        run(sums, override)


def test_elad_is_for_reasoning_only(sums: Path) -> None:
    labels = "task.labels={a: b, c: d}"
    with pytest.raises(ConfigError, match="not for task.kind classification"):
        load_config(sums, ["task.kind=classification", labels, "strategy.name=elad"])


def test_a_seed_whose_answer_is_outside_its_choices_is_named(sums: Path) -> None:
    (sums.parent / "seed.jsonl").write_text(
        '{"question": "Which?", "answer": "green", "choices": ["red", "blue"]}\n'
    )
    with pytest.raises(DataError, match=r"seed.jsonl:1: the answer 'green' is none of the choices"):
        run(sums)


def test_broken_rows_of_the_pool_are_counted_and_named(sums: Path) -> None:
    with (sums.parent / "pool.jsonl").open("a") as file:
        file.write('{"text": "no question"}\n{"question": "Which?", "choices": ["one"]}\n')
    result = run(sums, "strategy.rounds=1")
    assert result.report["pool"]["dropped"] == {"broken": 2}
    assert "no column question" in result.report["pool"]["broken"][0]
    assert "fewer than two choices" in result.report["pool"]["broken"][1]


def test_doctor_and_plan_know_the_task(sums: Path) -> None:
    assert list(check_task(load_config(sums)))[-1] == "all checks passed"
    planned = {one.role: one.calls for one in estimate(load_config(sums)).roles}
    assert planned["reviser"] == 4 * ROUNDS * EACH


def test_a_changed_prompt_stops_a_resume(sums: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "phase" and event["phase"] == "revise":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(sums, on_event=stop)
    directory = RunDirectory(sums.parent / "runs" / "r")
    raw = yaml.safe_load(directory.config.read_text())
    raw["task"]["instructions"] = "Subtract."
    directory.config.write_text(yaml.safe_dump(raw))
    with pytest.raises(ResumeError, match="instructions"):
        resume_run(directory, emit=lambda event: None)
