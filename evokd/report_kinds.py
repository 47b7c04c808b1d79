"""What the page shows of one kind of task only: entities marked up, explanations revised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from evokd.report_words import Json, part_of, section, stage_name, stages, tint, words
from evokd.tasks.explanations import is_answer
from evokd.tasks.reasoning import lettered

FIRST_HUE, HUES_APART = 210, 137.5  # degrees; the golden angle, so that no two types look alike

# --------------------------------------------------------------------------------------- entities


def error_table(report: Json) -> Json | None:
    """Return the kinds of mistakes by round, where the task has more than one kind."""
    told = [
        (stage_name(report, one), section(one, "errors"))
        for one in stages(report)
        if one.get("errors")
    ]
    kinds = list(dict.fromkeys(kind for _, errors in told for kind in errors))
    if len(kinds) < 2:
        return None
    most = max((number for _, errors in told for number in errors.values()), default=0) or 1
    rows = [
        {
            "name": kind,
            "cells": [
                {"count": errors.get(kind), "tint": tint((errors.get(kind) or 0) / most)}
                for _, errors in told
            ],
        }
        for kind in kinds
    ]
    return {"columns": [name for name, _ in told], "rows": rows}


def marked_texts(report: Json) -> Json:
    """Return texts cut at their entities, as they are and as the student found them."""
    hues = {
        label: round(FIRST_HUE + place * HUES_APART) % 360
        for place, label in enumerate(_types(report))
    }
    rows = [
        {
            "round": one.get("round"),
            "mistakes": dict(Counter(one.get("mistakes") or [])),
            "gold": marked(one["text"], one["entities"], hues),
            "found": marked(one["text"], one["found"], hues) if one.get("mistakes") else None,
        }
        for one in report.get("marked") or []
    ]
    return {"rows": rows, "types": hues}


def marked(text: str, entities: Sequence[Json], hues: Mapping[str, int]) -> list[Json]:
    """Return a text in pieces: what is an entity has its label, its hue and how sure it is."""
    pieces: list[Json] = []
    place = 0
    for one in sorted(entities, key=lambda entity: int(entity["start"])):
        if one["start"] > place:
            pieces.append({"text": text[place : one["start"]], "label": None})
        label = one["label"]
        piece = {"text": text[one["start"] : one["end"]], "label": label}
        sure = one.get("confidence")
        pieces.append(piece | {"hue": hues.get(label, FIRST_HUE), "confidence": sure})
        place = one["end"]
    if place < len(text):
        pieces.append({"text": text[place:], "label": None})
    return pieces


def _types(report: Json) -> list[str]:
    return list(section(section(report, "task"), "labels"))


# ----------------------------------------------------------------------------------- explanations

# What a kind of uncertainty is the share of, or how it is worked out.
UNCERTAINTIES = {
    "intra": "the share of other answers where it answers after fewer of its steps",
    "inter": "the share of other answers where it goes on anew after each of its steps",
    "least_confidence": "one minus its confidence in its answer",
    "answer_entropy": "how much the answers of whole explanations differ",
}


def written_rows(report: Json) -> list[tuple[str, Json]]:
    """Return who explained what, with how many explanations were cut or hold no answer."""
    of_test = section(report, "explanations")
    told = [(f"{name}, test questions", section(of_test, name)) for name in ("baseline", "final")]
    told[1:1] = [
        (f"before round {stage_name(report, one)}, questions of the pool", counts)
        for one in stages(report)
        if (counts := section(one, "explanations"))
    ]
    return [(name, counts) for name, counts in told if counts]


def revision_tables(report: Json) -> Json | None:
    """Return how good the revisions are, in rows of (what, how many); None where there are none."""
    if report.get("revisions") is None:
        return None
    told = Counter({name: number or 0 for name, number in report["revisions"].items()})
    rejected = section(section(report, "samples"), "rejected")
    return {
        "told": told,
        "approved": told["approved"] / (told["revised"] or 1),
        "answers": _known_answers(told),
        "checked": "not_the_known_answer" in rejected,
        "walk": _walk(told),
    }


def _known_answers(told: Counter[str]) -> list[tuple[str, str]]:
    known = told["known"]
    rows = [
        ("right before the revision", told["right_before"], known),
        ("right after the revision", told["right_after"], known),
        ("right before, wrong after", told["spoiled"], told["right_before"]),
        ("wrong, but approved as they were", told["approved_wrong"], known),
        ("right among the accepted", told["accepted_right"], told["accepted_known"]),
    ]
    return [(name, part_of(part, whole)) for name, part, whole in rows if whole]


def _walk(told: Counter[str]) -> list[tuple[str, str]]:
    wrong = told["miscalculated"]
    rows = [
        ("explanations with a miscalculated step", wrong, told["walked"]),
        ("the reviser’s first “no” was to that very step", told["located"], wrong),
        ("it got as far as that step", told["asked"], wrong),
        ("and called it right", told["overlooked"], told["asked"]),
    ]
    return [(name, part_of(part, whole)) for name, part, whole in rows if whole]


def uncertainties(report: Json) -> list[tuple[str, str]]:
    """Return the kinds of uncertainty that the cards show, each with what it means."""
    shown = {kind for one in report.get("explained") or [] for kind in one.get("uncertainty") or {}}
    return [(words(kind), meaning) for kind, meaning in UNCERTAINTIES.items() if kind in shown]


def explanation_cards(report: Json) -> list[Json]:
    """Return questions with the student's explanation, the revised one, and what it says now."""
    return [explanation_card(one) for one in report.get("explained") or []]


def explanation_card(one: Json) -> Json:
    """Return one question's card; its columns are the three explanations."""
    steps, revised = list(one.get("steps") or []), list(one.get("revised") or [])
    broke, choices = one.get("first_wrong"), list(one.get("choices") or [])
    wanted, known = one.get("revised_answer") or "", one.get("known_answer") or ""
    as_revised = is_answer(one.get("after_answer") or "", wanted, choices)
    # A reviser that explained the question itself kept nothing, wherever the student's broke.
    kept = len(steps) if broke is None else broke
    kept = kept if revised[:kept] == steps[:kept] else 0
    is_kept = revised == steps and is_answer(one.get("answer") or "", wanted, choices)
    return {
        "question": one.get("question") or "",
        "choices": lettered(choices),
        "round": one.get("round"),
        "outcome": _outcome(broke, len(steps), is_kept=is_kept),
        "uncertainty": [(words(k), f"{v:.2f}") for k, v in (one.get("uncertainty") or {}).items()],
        "known": known,
        "meets_known": is_answer(wanted, known, choices),
        "columns": [
            {
                "name": "Student before",
                "steps": _marked_steps(steps, "wrong", [broke]),
                "answer": one.get("answer"),
                "is_wrong": broke is not None and broke >= len(steps),
            },
            {
                "name": "Revised",
                "steps": _marked_steps(revised, "new", range(kept, len(revised))),
                "answer": wanted,
            },
            {
                "name": "Student after training",
                "steps": _marked_steps(one.get("after") or [], "", []),
                "answer": one.get("after_answer"),
                "as_revised": as_revised,
            },
        ],
    }


def _marked_steps(steps: Sequence[str], mark: str, places: Container[int | None]) -> list[Json]:
    return [{"text": one, "mark": mark if at in places else ""} for at, one in enumerate(steps)]


def _outcome(broke: int | None, steps: int, *, is_kept: bool) -> str:
    """Say in a few words what became of the student's explanation."""
    if broke is None:
        return "approved as it was" if is_kept else "written anew"
    if broke < steps:
        return f"broke at step {broke + 1} of {steps}"
    return "broke at its answer"
