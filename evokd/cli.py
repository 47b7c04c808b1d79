"""The command line. Exit codes: 0 done, 2 refused before the start, 3 stopped and resumable, 130
Ctrl-C."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from itertools import tee
from pathlib import Path
from typing import Annotated, Any

import typer

from evokd.errors import EXIT_INTERRUPTED, EXIT_STOPPED, EvokdError

# What goes on after Ctrl-C, by command; the others have nothing to lose.
ON_INTERRUPT = {
    **dict.fromkeys(("run", "resume"), "`evokd resume RUN` goes on"),
    "bench": "the same command goes on",
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn a task description and a handful of examples into a small model of your own.",
)
models_app = typer.Typer(no_args_is_help=True, help="List and fetch model packs.")
app.add_typer(models_app, name="models")

Task = Annotated[Path, typer.Argument(help="The task file (YAML).")]
Run = Annotated[str, typer.Argument(help="A run's id or path.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change a setting; repeatable.")
]
Strategy = Annotated[str | None, typer.Option(help="Instead of the task file's strategy.")]
RunsDir = Annotated[Path, typer.Option(help="Where runs live.")]
Cache = Annotated[
    Path | None, typer.Option("--cache", help="Reply cache; default: EVOKD_CACHE, else the user's.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from evokd import __version__

        print(f"evokd {__version__}")
        raise typer.Exit


@app.command()
def run(
    task: Task,
    strategy: Strategy = None,
    set_: Set = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run's folder.")] = None,
    runs_dir: RunsDir = Path("runs"),
    cache: Cache = None,
    json_: Json = False,
) -> None:
    """Teach a student the task; ends with a table and the path of the report."""
    from evokd import api
    from evokd.view import open_view

    with open_view(json_lines=json_) as emit:
        result = api.distill(
            task,
            overrides=_overrides(strategy, set_),
            run_id=run_id,
            runs_dir=runs_dir,
            cache_dir=cache,
            on_event=emit,
        )
    _end(result, json_)


@app.command()
def resume(
    run: Run,
    set_: Set = None,
    runs_dir: RunsDir = Path("runs"),
    cache: Cache = None,
    json_: Json = False,
) -> None:
    """Go on with a run that was stopped or killed."""
    from evokd import api
    from evokd.view import open_view

    with open_view(json_lines=json_) as emit:
        result = api.resume(
            run, overrides=set_ or [], runs_dir=runs_dir, cache_dir=cache, on_event=emit
        )
    _end(result, json_)


@app.command()
def plan(task: Task, strategy: Strategy = None, set_: Set = None, json_: Json = False) -> None:
    """Show calls, tokens and cost before a cent is spent."""
    from dataclasses import asdict

    from evokd import api

    estimate = api.plan(task, overrides=_overrides(strategy, set_))
    if json_:
        print(json.dumps(asdict(estimate) | {"usd": estimate.usd}, indent=1))
        return
    print(f"about {estimate.samples} accepted samples, refills not counted")
    for one in estimate.roles:
        cost = "" if one.usd is None else f", {one.usd:.4f} USD"
        print(
            f"{one.role:<10} {one.model}: {one.calls} calls, {one.input_tokens} tokens in, "
            f"{one.output_tokens} out{cost}"
        )
    print(
        "cost unknown: set usd_per_million_input and …_output"
        if estimate.usd is None
        else f"together {estimate.usd:.4f} USD"
    )


@app.command()
def report(run: Run, runs_dir: RunsDir = Path("runs"), json_: Json = False) -> None:
    """Print the report of a run, and where its page lies."""
    from evokd.errors import ResumeError
    from evokd.store.run_dir import find_run

    directory = find_run(run, runs_dir)
    content = directory.read_json(directory.report_json)
    if not content:
        raise ResumeError(
            f"the run {directory.run_id} has no report yet; `evokd resume {directory.run_id}` first"
        )
    if json_:
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return
    _print_report(content, directory.report_html)


@app.command()
def predict(
    run: Run,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; '-' reads lines, in UTF-8.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    json_: Json = False,
) -> None:
    """Ask the kept student; one line a text: label, confidence, text.

    A student for entities: the text, then a line an entity: offsets (in code points, the end not
    counted), type, confidence, string. One that reasons: the question, then a line a step, and a
    line with the answer; a question with choices is given as JSON: {"question": "…", "choices":
    ["…", "…"]}.
    """
    from evokd import api

    given = texts or ["-"]
    asked, answered = tee(_stdin_lines() if given == ["-"] else given)
    for text, answer in zip(asked, api.predict_each(run, answered, runs_dir=runs_dir), strict=True):
        if json_:
            said = answer.model_dump(exclude_none=True)
            print(json.dumps({"text": text} | said, ensure_ascii=False))
        elif answer.steps is not None:
            print(text)
            for step in answer.steps:
                print(f"  {step}")
            print(f"  = {answer.label or '?'}\t{answer.confidence:.3f}")
        elif answer.entities is None:
            print(f"{answer.label}\t{answer.confidence:.3f}\t{text}")
        else:
            print(text)
            for one in answer.entities:
                part = " ".join(text[one.start : one.end].split())
                print(f"  {one.start}-{one.end}\t{one.label}\t{one.confidence:.3f}\t{part}")


@app.command()
def memory(run: Run, runs_dir: RunsDir = Path("runs"), json_: Json = False) -> None:
    """Show the weaknesses and failures of a run, or of a memory's folder."""
    from evokd.errors import ResumeError
    from evokd.memory.chroma import ChromaRecords
    from evokd.store.run_dir import find_run

    try:
        folder = find_run(run, runs_dir).memory
    except ResumeError:
        if not (Path(run) / "chroma.sqlite3").exists():
            raise
        folder = Path(run)
    records = ChromaRecords.read(path=folder)
    for name in records.runs():
        for one in records.weaknesses(name):
            if json_:
                print(json.dumps({"run": name} | one.model_dump(), ensure_ascii=False))
            else:
                print(f"{name}  {one.id}  {one.status:<8}  {one.name} ({', '.join(one.labels)})")
        failures = records.failures(name)
        if not json_:
            print(f"{name}  {len(failures)} failures kept")
    records.close()


@app.command()
def graph(
    strategy: Annotated[str, typer.Option(help="Which graph.")] = "evokd",
    json_: Json = False,
) -> None:
    """Print the graph as Mermaid text."""
    from evokd.config import STRATEGIES, nearest
    from evokd.errors import ConfigError
    from evokd.graph.strategies import STRATEGY

    if strategy not in STRATEGIES:
        raise ConfigError(
            f"unknown strategy {strategy!r}{nearest(strategy, STRATEGIES)}; "
            f"known: {', '.join(STRATEGIES)}"
        )
    picture = STRATEGY[strategy].build().get_graph()
    print(json.dumps(picture.to_json(), indent=1) if json_ else picture.draw_mermaid())


@app.command()
def doctor(task: Task, strategy: Strategy = None, set_: Set = None) -> None:
    """Check data, models, keys and endpoints of a task file."""
    from evokd.doctor import check_task
    from evokd.task_file import load_config

    for line in check_task(load_config(task, _overrides(strategy, set_))):
        print(line)


@app.command()
def bench(
    suite: Annotated[str, typer.Argument(help="core, wide, ner, pool or reasoning.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the public sets; default: EVOKD_DATA.")
    ] = None,
    results: Annotated[Path, typer.Option(help="What is kept.")] = Path("benchmarks/results"),
    work: Annotated[Path, typer.Option(help="Run directories.")] = Path("runs/bench"),
    quick: Annotated[bool, typer.Option("--quick", help="One small grid, under 30 min.")] = False,
    on: Annotated[str, typer.Option(help="Rows to score: test, or dev to choose settings.")] = (
        "test"
    ),
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only this set.")] = None,
    strategies: Annotated[
        list[str] | None, typer.Option("--strategy", help="Only this strategy.")
    ] = None,
    variants: Annotated[
        list[str] | None, typer.Option("--variant", help="Only this variant, or none for none.")
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Only this seed.")] = None,
    budget: Annotated[
        int | None, typer.Option(help="Generated teacher tokens a cell, instead of the suite's.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="Model of all roles.")] = None,
    student: Annotated[
        str | None, typer.Option(help="Model of students that reason, instead of the set's.")
    ] = None,
    from_samples: Annotated[
        bool, typer.Option("--from-samples", help="Train anew on the kept samples; no teacher.")
    ] = False,
    table: Annotated[bool, typer.Option("--table", help="Only write the tables anew.")] = False,
    readme: Annotated[
        Path | None, typer.Option(help="Also write the table into this Markdown file.")
    ] = None,
    cache: Cache = None,
) -> None:
    """Compare strategies on public sets at equal teacher cost; goes on where it was stopped."""
    from evokd.bench.command import BenchOptions, run_bench
    from evokd.view import open_view

    options = BenchOptions(
        suite=suite,
        data=data,
        results=results,
        work=work,
        quick=quick,
        split=on,
        sets=sets or [],
        strategies=strategies or [],
        variants=["" if one == "none" else one for one in variants or []],
        seeds=seeds or [],
        budget=budget,
        teacher=teacher,
        student=student,
        from_samples=from_samples,
        table_only=table,
        readme=readme,
        cache=cache,
    )
    with open_view() as emit:
        failed = run_bench(options, emit)
    if failed:
        raise typer.Exit(EXIT_STOPPED)


@models_app.command("list")
def list_models(json_: Json = False) -> None:
    """List the model packs and which are here."""
    from evokd.tools.pack_list import PACKS
    from evokd.tools.packs import installed

    for name, pack in PACKS.items():
        folder = installed(name)
        size = sum(one.bytes for one in pack.files)
        if json_:
            print(
                json.dumps(
                    {
                        "name": name,
                        "kind": pack.kind,
                        "bytes": size,
                        "licence": pack.licence,
                        "path": str(folder) if folder else None,
                    }
                )
            )
        else:
            state = "here" if folder else "not fetched"
            print(f"{name:<30} {pack.kind:<8} {size / 1e6:7.0f} MB  {pack.licence:<11} {state}")


@models_app.command("pull")
def pull_models(
    names: Annotated[list[str], typer.Argument(help="Pack names.")],
    source: Annotated[Path | None, typer.Option("--from", help="A file or folder.")] = None,
) -> None:
    """Fetch model packs and check their hashes."""
    from evokd.tools.pack_list import find_pack
    from evokd.tools.packs import fetch_pack
    from evokd.view import open_view

    for name in names:
        find_pack(name)
    with open_view() as emit:
        for name in names:
            folder = fetch_pack(
                name,
                source=source,
                progress=lambda pack, done, total: emit(
                    {"kind": "download", "pack": pack, "done": done, "total": total}
                ),
            )
            emit({"kind": "note", "text": f"{name}: {folder}"})


def main() -> None:
    """Run the command line and turn errors into one message and an exit code."""
    try:
        app()
    except EvokdError as error:
        print(f"evokd: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:  # typer turns Ctrl-C into this
        if end.code == EXIT_INTERRUPTED:
            goes_on = ON_INTERRUPT.get(sys.argv[1] if sys.argv[1:] else "")
            print(f"evokd: interrupted{'; ' + goes_on if goes_on else ''}", file=sys.stderr)
        raise


def _overrides(strategy: str | None, set_: list[str] | None) -> list[str]:
    return [*(set_ or []), *([f"strategy.name={strategy}"] if strategy else [])]


def _stdin_lines() -> Iterator[str]:
    """Yield the lines of the standard input that hold something.

    Raises:
        DataError: one is not UTF-8.
    """
    from evokd.errors import DataError
    from evokd.tasks import is_unicode

    # What is no UTF-8 becomes half surrogates. Some editors begin a file with a mark: no text.
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(stdin, 1):
        if not is_unicode(line):
            raise DataError(
                f"line {number} of the standard input is not UTF-8; convert it to UTF-8 and try "
                "again"
            )
        if line.strip():
            yield line.rstrip("\n")


def _end(result: Any, json_: bool) -> None:
    if json_:
        print(json.dumps(result.report, ensure_ascii=False))
    else:
        _print_report(result.report, result.path / "report.html")


def _print_report(content: dict[str, Any], page: Path) -> None:
    from rich.console import Console

    from evokd.report_words import percent, reasons, revised_phrase, stage_phrase
    from evokd.view import summary_table

    scores, seconds = content["scores"], content["seconds"]
    Console(width=None if sys.stdout.isatty() else 100).print(summary_table(content))
    print(f"{content['status']}: {content['stop_reason']}")
    held_out = content.get("refitted")
    baseline = "untrained" if reasons(content) else "from the seeds alone"
    refitted = f", refitted with {held_out} held-out texts" if held_out else ""
    print(
        f"test: {percent(scores['baseline'])} {baseline}, {percent(scores['final'])} "
        f"after teaching ({stage_phrase(content, scores['best_round'])}{refitted})"
    )
    if revised := revised_phrase(content):
        print(revised)
    print(", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))
    print(f"report: {page}")
