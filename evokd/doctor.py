"""Checks of a task file that a person would make before a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from evokd.config import Config
from evokd.graph.serving import check_models
from evokd.graph.session import open_session
from evokd.store.run_dir import RunDirectory
from evokd.tasks import load_task_data


def check_task(config: Config) -> Iterator[str]:
    """Yield one line a passed check: data, models, endpoints.

    Raises:
        RefusedError: at the first check that fails.
    """
    data = load_task_data(config)
    yield (
        f"data: {len(data.seed)} seed, {len(data.validation)} validation, {len(data.test)} test "
        "rows" + (f", {len(data.labels)} labels" if data.labels else "")
    )
    yield from (f"warning: {warning}" for warning in data.warnings)
    check_models(config)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "doctor")
        run.lock()
        with open_session(config, data, run, emit=lambda event: None) as session:
            if session.pool and session.pool.counts:
                yield f"pool: {session.pool.counts.in_words}"
            yield from (f"warning: {one}" for one in session.warnings[len(data.warnings) :])
            for role, teacher in session.teachers.items():
                seen = teacher.capabilities
                yield (
                    f"{role}: {teacher.model}, schema {seen.schema_mode}, log-probabilities "
                    f"{'yes' if seen.logprobs else 'no'}, usage {'yes' if seen.usage else 'no'}"
                )
        run.unlock()
    yield "all checks passed"
