"""The weakness memory: one shared class for both versions, then what only one of them has."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evokd.config import MemorySection
from evokd.errors import ConfigError, EndpointError, PackError, RunInUseError, StorageError
from evokd.memory.chroma import ChromaRecords, ChromaWeaknesses, open_memory
from evokd.memory.embeddings import HashEmbedder, SentenceEmbedder
from evokd.memory.weakness import (
    InMemoryWeaknesses,
    MemoryRows,
    Neighbour,
    WeaknessMemory,
    retest,
    rewind,
)
from evokd.records import Failure, Weakness

Open = Callable[[str], WeaknessMemory]

CARD = "my new card has not arrived yet"
RATE = "which exchange rate do you use"
PIN = "I have forgotten my pin code"


def failure(id: str, text: str, run: str = "a", round: int = 1) -> Failure:
    return Failure(
        id=id,
        text=text,
        label="card_arrival",
        predicted="lost_card",
        confidence=1 / 3,
        round=round,
        run=run,
        weakness="w1",
    )


def weakness(id: str, round: int = 1, **more: Any) -> Weakness:
    fields = {"name": f"name {id}", "description": "mixes 'lost' and \"late\" ✓", "labels": ["x"]}
    return Weakness(id=id, round=round, **(fields | more))


@pytest.fixture(params=["plain", "chroma"])
def open_run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open the same memory for one run after another; the one before is closed."""
    opened: list[WeaknessMemory] = []
    rows = MemoryRows()

    def open_(run: str) -> WeaknessMemory:
        if opened:
            opened.pop().close()
        memory: WeaknessMemory
        if request.param == "plain":
            memory = InMemoryWeaknesses(HashEmbedder(), run, rows)
        else:
            memory = ChromaWeaknesses(HashEmbedder(), run, path=tmp_path / "memory")
        opened.append(memory)
        return memory

    yield open_
    for memory in opened:
        memory.close()


class TestEveryMemory:
    def test_starts_empty(self, open_run: Open) -> None:
        memory = open_run("a")
        assert memory.runs() == []
        assert memory.failures() == []
        assert memory.weaknesses() == []
        assert memory.related_failures([CARD], 3) == []
        assert memory.nearest_samples([CARD, PIN], 3) == [[], []]

    def test_records_come_back_exactly(self, open_run: Open) -> None:
        memory = open_run("a")
        one = failure("r1-j0-1", "a\nline, 'quoted' \"twice\" and ünïcode 漢字 \x00")
        two = weakness("w1", probes=["r1-j0-2"], probe_score=2 / 3, history=["2:open:0.667"])
        memory.add_failures([one])
        memory.put_weaknesses([two])
        assert memory.failures() == [one]
        assert memory.weaknesses() == [two]

    def test_rows_survive_the_end_of_a_run(self, open_run: Open) -> None:
        first = open_run("a")
        first.add_failures([failure("f1", CARD)])
        first.put_weaknesses([weakness("w1")])
        first.index_samples([("s1", CARD, "x", 1)])
        again = open_run("a")
        assert [row.id for row in again.failures("a")] == ["f1"]
        assert [row.id for row in again.weaknesses("a")] == ["w1"]
        assert again.nearest_samples([CARD], 1)[0][0].id == "s1"

    def test_failures_are_idempotent_by_run_and_id(self, open_run: Open) -> None:
        memory = open_run("a")
        rows = [failure("f1", CARD), failure("f1", CARD), failure("f2", RATE)]
        memory.add_failures(rows)
        memory.add_failures(rows)
        memory.add_failures([failure("f1", PIN, run="b")])
        assert [(row.run, row.id) for row in memory.failures()] == [
            ("a", "f1"),
            ("a", "f2"),
            ("b", "f1"),
        ]
        assert [row.text for row in memory.failures("b")] == [PIN]
        assert memory.runs() == ["a", "b"]

    def test_related_failures_come_from_all_runs_best_first(self, open_run: Open) -> None:
        memory = open_run("a")
        memory.add_failures([failure("f1", CARD, run="b"), failure("f2", RATE), failure("f3", PIN)])
        found = memory.related_failures([CARD + "!", PIN], 2)
        assert {row.id for row in found} == {"f1", "f3"}
        assert memory.related_failures([PIN], 1) == [failure("f3", PIN)]
        assert len(memory.related_failures([PIN], 9)) == 3
        assert memory.related_failures([PIN], 0) == memory.related_failures([], 3) == []

    def test_related_failures_leave_out_ids_of_this_run_only(self, open_run: Open) -> None:
        memory = open_run("a")
        memory.add_failures([failure("f1", CARD), failure("f1", RATE, run="b")])
        found = memory.related_failures([CARD], 5, exclude={"f1"})
        assert [(row.run, row.id) for row in found] == [("b", "f1")]

    def test_a_text_that_failed_in_many_runs_appears_once(self, open_run: Open) -> None:
        memory = open_run("a")
        memory.add_failures([failure("f1", CARD, run=f"b{number}") for number in range(30)])
        memory.add_failures([failure("f2", RATE), failure("f3", PIN)])
        assert [row.text for row in memory.related_failures([CARD], 2)][0] == CARD
        assert len(memory.related_failures([CARD], 3)) == 3

    def test_every_mistake_in_a_text_is_found(self, open_run: Open) -> None:
        memory = open_run("a")
        first = failure("f1", CARD).model_copy(update={"error": "missed", "part": "card"})
        other = first.model_copy(update={"id": "f1#1", "part": "week"})
        memory.add_failures([first, other, first.model_copy(update={"run": "b"})])
        assert {row.part for row in memory.related_failures([CARD], 5)} == {"card", "week"}
        assert len(memory.related_failures([CARD], 5)) == 2

    def test_weaknesses_are_replaced_by_id_and_ordered(self, open_run: Open) -> None:
        memory = open_run("a")
        memory.put_weaknesses([weakness("w2", 2), weakness("w9", 1), weakness("w1", 2)])
        memory.put_weaknesses([weakness("w9", 1, status="closed", probe_score=1.0)])
        assert [row.id for row in memory.weaknesses("a")] == ["w9", "w1", "w2"]
        assert memory.weaknesses("a")[0].status == "closed"
        assert memory.weaknesses("b") == []

    def test_open_weaknesses_are_the_open_and_the_returned_of_a_run(self, open_run: Open) -> None:
        open_run("a").put_weaknesses([weakness("w1"), weakness("w2", status="closed")])
        memory = open_run("b")
        memory.put_weaknesses([weakness("w1", status="returned")])
        assert [row.status for row in memory.open_weaknesses("b")] == ["returned"]
        assert [row.id for row in memory.open_weaknesses("a")] == ["w1"]
        assert len(memory.weaknesses()) == 3

    def test_nearest_samples_are_of_this_run_with_their_cosine(self, open_run: Open) -> None:
        open_run("a").index_samples([("s0", CARD, "x", 1)])
        memory = open_run("b")
        memory.index_samples([("s1", RATE, "rate", 1), ("s2", PIN, "pin", 2)])
        first, second = memory.nearest_samples([RATE, PIN], 5)
        assert [row.id for row in first] == ["s1", "s2"]
        assert second[0] == Neighbour("s2", PIN, "pin", second[0].similarity)
        assert second[0].similarity == pytest.approx(1.0, abs=1e-6)
        one, other = HashEmbedder().embed([RATE, PIN])
        expected = sum(x * y for x, y in zip(one, other, strict=True))
        assert first[1].similarity == pytest.approx(expected, abs=1e-5)
        assert memory.nearest_samples([], 5) == []
        assert memory.nearest_samples([PIN], 0) == [[]]

    def test_samples_are_idempotent_by_id(self, open_run: Open) -> None:
        memory = open_run("a")
        memory.index_samples([("s1", RATE, "x", 1), ("s1", RATE, "x", 1)])
        memory.index_samples([("s1", PIN, "pin", 1)])
        assert [(row.text, row.label) for row in memory.nearest_samples([RATE], 5)[0]] == [
            (PIN, "pin")
        ]
        memory.index_samples([])

    def test_drop_round_takes_back_that_round_and_later_of_one_run(self, open_run: Open) -> None:
        other = open_run("b")
        other.add_failures([failure("f9", RATE, run="b", round=3)])
        other.put_weaknesses([weakness("w9", 3)])
        other.index_samples([("s9", RATE, "x", 3)])
        memory = open_run("a")
        memory.add_failures([failure(f"f{n}", CARD, round=n) for n in (1, 2, 3)])
        memory.put_weaknesses([weakness("w1", 1), weakness("w2", 2), weakness("w3", 3)])
        memory.index_samples([(f"s{n}", CARD, "x", n) for n in (1, 2, 3)])
        memory.drop_round("a", 2)
        memory.drop_round("a", 2)
        assert [row.id for row in memory.failures()] == ["f1", "f9"]
        assert [row.id for row in memory.weaknesses()] == ["w1", "w9"]
        assert [row.id for row in memory.nearest_samples([CARD], 9)[0]] == ["s1"]
        assert [row.id for row in open_run("b").nearest_samples([CARD], 9)[0]] == ["s9"]

    def test_drop_round_gives_older_weaknesses_their_status_back(self, open_run: Open) -> None:
        memory = open_run("a")
        before = retest(weakness("w1", 1), [True, False], 2)
        memory.put_weaknesses([retest(before, [True, True], 3)])
        memory.drop_round("a", 3)
        assert memory.weaknesses("a") == [before]

    def test_returned_rows_are_copies(self, open_run: Open) -> None:
        memory = open_run("a")
        memory.put_weaknesses([weakness("w1")])
        memory.weaknesses()[0].labels.append("changed")
        assert memory.weaknesses()[0].labels == ["x"]


class TestRetest:
    def test_a_life_from_open_to_closed_to_returned_and_closed(self) -> None:
        row = weakness("w1", 1)
        for round, right in [(2, [True, False]), (3, [True] * 4 + [False]), (4, [False]), (5, [])]:
            row = retest(row, right, round)
        row = retest(retest(row, [False, True], 6), [True], 7)
        assert row.status == "closed"
        assert row.probe_score == 1.0
        assert row.history == [
            "2:open:0.500",
            "3:closed:0.800",
            "4:returned:0.000",
            "6:returned:0.500",
            "7:closed:1.000",
        ]

    def test_without_probes_nothing_changes(self) -> None:
        row = weakness("w1")
        assert retest(row, [], 2) == row
        assert retest(row, [], 2) is not row

    def test_the_threshold_can_be_set(self) -> None:
        assert retest(weakness("w1"), [True, False], 2, close_at=0.5).status == "closed"

    def test_a_second_test_in_the_same_round_replaces_the_first(self) -> None:
        row = retest(weakness("w1"), [True], 2)
        assert retest(retest(row, [False], 3), [False], 3) == retest(row, [False], 3)

    def test_the_argument_stays_as_it_was(self) -> None:
        row = weakness("w1")
        retest(row, [True], 2)
        assert row == weakness("w1")

    def test_rewind_to_the_start(self) -> None:
        assert rewind(retest(weakness("w1"), [True], 2), 2) == weakness("w1")


HOLD = """
import sys
from pathlib import Path
from evokd.memory.chroma import ChromaWeaknesses
from evokd.memory.embeddings import HashEmbedder
memory = ChromaWeaknesses(HashEmbedder(), "other", path=Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
memory.close()
"""


class TestChromaFolder:
    def test_a_second_process_is_refused(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as holder:
            assert holder.stdout and holder.stdin
            assert holder.stdout.readline() == "open\n"
            with pytest.raises(RunInUseError, match=r"in use by another process; wait"):
                ChromaWeaknesses(HashEmbedder(), "a", path=tmp_path)
            reader = ChromaRecords.read(tmp_path)  # reading needs no lock
            assert reader.weaknesses() == []
            reader.close()
        ChromaWeaknesses(HashEmbedder(), "a", path=tmp_path).close()

    @pytest.mark.parametrize("dimension", [32, 64])
    def test_another_embedder_is_refused_and_the_lock_freed(
        self, tmp_path: Path, dimension: int
    ) -> None:
        ChromaWeaknesses(HashEmbedder(64), "a", path=tmp_path).close()
        other = HashEmbedder(dimension)
        other.model_id = "other-model"
        with pytest.raises(ConfigError, match=r"'hash-trigrams' \(64 .*'other-model'"):
            ChromaWeaknesses(other, "a", path=tmp_path)
        ChromaWeaknesses(HashEmbedder(64), "a", path=tmp_path).close()

    def test_more_rows_than_one_batch_holds(self, tmp_path: Path) -> None:
        memory = ChromaWeaknesses(HashEmbedder(), "a", path=tmp_path)
        memory._batch = 4
        memory.index_samples([(f"s{n}", f"text number {n}", "x", 1) for n in range(10)])
        assert len(memory.nearest_samples(["text"], 20)[0]) == 10
        memory.close()

    def test_reading_leaves_the_folder_as_it_is_and_sees_what_was_written(
        self, tmp_path: Path
    ) -> None:
        writer = ChromaWeaknesses(HashEmbedder(), "a", path=tmp_path)
        writer.add_failures([failure("f1", CARD)])
        writer.put_weaknesses([weakness("w1"), weakness("w2", status="closed")])
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        reader = ChromaRecords.read(tmp_path)
        assert reader.runs() == ["a"]
        assert reader.failures() == [failure("f1", CARD)]
        assert [row.id for row in reader.open_weaknesses("a")] == ["w1"]
        reader.close()
        assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        writer.close()

    def test_reading_where_nothing_is(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no memory at"):
            ChromaRecords.read(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_database(self, tmp_path: Path) -> None:
        (tmp_path / "chroma.sqlite3").write_text("junk" * 1000)
        with pytest.raises(StorageError, match="failed: .*not a database"):
            ChromaWeaknesses(HashEmbedder(), "a", path=tmp_path)
        with pytest.raises(StorageError, match="cannot be read"):
            ChromaRecords.read(tmp_path)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="cannot write"):
            ChromaWeaknesses(HashEmbedder(), "a", path=tmp_path / "file" / "memory")

    def test_open_memory_takes_the_path_of_the_task_file_or_the_runs_own(
        self, tmp_path: Path
    ) -> None:
        shared = MemorySection(path=str(tmp_path / "shared"))
        for section in (shared, MemorySection()):
            open_memory(section, "a", tmp_path / "run" / "memory", HashEmbedder()).close()
        assert (tmp_path / "shared" / "chroma.sqlite3").exists()
        assert (tmp_path / "run" / "memory" / "chroma.sqlite3").exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real Chroma server on a free loopback port."""
    port = free_port()
    folder = tmp_path_factory.mktemp("server")
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the Chroma server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the Chroma server did not start")


class TestChromaServer:
    def test_two_runs_share_a_server(self, server: str, tmp_path: Path) -> None:
        section = MemorySection(url=server)
        one = open_memory(section, "a", tmp_path, HashEmbedder())
        two = open_memory(section, "b", tmp_path, HashEmbedder())
        one.add_failures([failure("f1", CARD)])
        two.add_failures([failure("f1", RATE, run="b")])
        one.put_weaknesses([weakness("w1"), weakness("w2", 2)])
        two.index_samples([("s1", PIN, "pin", 1)])
        assert two.related_failures([CARD], 1) == [failure("f1", CARD)]
        assert one.nearest_samples([PIN], 3) == [[]]
        assert two.nearest_samples([PIN], 3)[0][0].similarity == pytest.approx(1.0, abs=1e-6)
        one.drop_round("a", 2)
        assert two.weaknesses("a") == [weakness("w1")]
        with pytest.raises(ConfigError, match="was written with the embedder"):
            open_memory(section, "c", tmp_path, HashEmbedder(8))
        reader = ChromaRecords.read(url=server)
        assert reader.runs() == ["a", "b"]
        for memory in (one, two, reader):
            memory.close()
        assert list(tmp_path.iterdir()) == []

    def test_a_dead_server(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(EndpointError, match=rf"no Chroma server answers at {url} .*chroma run"):
            ChromaWeaknesses(HashEmbedder(), "a", url=url)

    @pytest.mark.parametrize("url", ["localhost:8000", "http://", "ftp://host", "http://h/path"])
    def test_a_malformed_url(self, url: str) -> None:
        with pytest.raises(ConfigError, match="expected http://host:port"):
            ChromaWeaknesses(HashEmbedder(), "a", url=url)

    def test_a_url_with_a_secret_is_refused_without_repeating_it(self) -> None:
        with pytest.raises(ConfigError) as caught:
            ChromaWeaknesses(HashEmbedder(), "a", url="http://me:hush@host:8000")
        assert "hush" not in str(caught.value)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a BERT of one layer with random weights."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "my", "card", "is", "late", "##r"]
    vocabulary = {word: place for place, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    return folder


class TestSentenceEmbedder:
    def test_the_mean_leaves_padding_out(self, tiny_bert: Path) -> None:
        import torch
        from transformers import BertModel

        model = BertModel.from_pretrained(tiny_bert).eval()
        ids = torch.tensor([[2, 5, 6, 3]])  # [CLS] my card [SEP], alone and so without padding
        with torch.no_grad():
            mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0)
        expected = (mean / mean.norm()).tolist()
        embedder = SentenceEmbedder(tiny_bert, "tiny", max_length=16)
        short, long = embedder.embed(["my card", "my card is late is late"])
        assert short == pytest.approx(expected, abs=1e-6)
        assert len(long) == embedder.dimension == 32
        assert math.hypot(*long) == pytest.approx(1.0, abs=1e-5)

    def test_order_repeats_and_the_cache(self, tiny_bert: Path) -> None:
        embedder = SentenceEmbedder(tiny_bert, "tiny", max_length=16, batch_size=2)
        texts = ["my card is late", "card", "later", "card", ""]
        first = embedder.embed(texts)
        assert first[1] == first[3] != first[0]
        embedder._encode = None  # type: ignore[method-assign, assignment]
        assert embedder.embed(texts) == first
        assert embedder.embed([]) == []

    def test_the_cache_is_bounded(self, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("evokd.memory.embeddings.CACHED_TEXTS", 2)
        embedder = SentenceEmbedder(tiny_bert, "tiny", max_length=16)
        assert len(embedder.embed(["my", "card", "is", "late"])) == 4
        assert len(embedder._cache) == 2

    def test_long_texts_are_cut(self, tiny_bert: Path) -> None:
        embedder = SentenceEmbedder(tiny_bert, "tiny", max_length=8)
        one, other = embedder.embed(["card " * 6, "card " * 60])
        assert one == pytest.approx(other, abs=1e-6)

    def test_loading_prints_nothing(
        self, tiny_bert: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        SentenceEmbedder(tiny_bert, "tiny").embed(["card"])
        assert capfd.readouterr() == ("", "")

    def test_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(PackError, match="no usable sentence encoder"):
            SentenceEmbedder(tmp_path, "none")

    def test_a_folder_without_weights(self, tiny_bert: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text((tiny_bert / "config.json").read_text())
        with pytest.raises(PackError, match="no usable sentence encoder"):
            SentenceEmbedder(tmp_path, "none").embed(["card"])


class TestHashEmbedder:
    def test_unit_vectors_that_follow_spelling(self) -> None:
        card, cards, rate, empty = HashEmbedder().embed([CARD, CARD + "s", RATE, ""])
        for vector in (card, cards, rate, empty):
            assert len(vector) == 64
            assert math.hypot(*vector) == pytest.approx(1.0)

        def cosine(one: list[float], other: list[float]) -> float:
            return sum(x * y for x, y in zip(one, other, strict=True))

        assert cosine(card, cards) > 0.9 > 0.5 > cosine(card, rate)

    def test_the_same_everywhere(self) -> None:
        # "  a", " ab", "ab " have the even CRC-32 1748888222, 408339808, 3673248232: each counts
        # -1, at place (crc // 2) % 4 = 3, 0, 0
        expected = [-2 / math.sqrt(5), 0.0, 0.0, -1 / math.sqrt(5)]
        assert HashEmbedder(4).embed(["ab"]) == [pytest.approx(expected)]
