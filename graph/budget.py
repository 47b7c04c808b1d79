"""What a run has used of its budget, and what the rest still pays for."""

from __future__ import annotations

import math

from evokd.agents.teacher import Call
from evokd.config import Config
from evokd.graph.strategies import strategy_of
from evokd.store.ledger import Ledger, union_of
from evokd.store.run_dir import RunDirectory

# Purposes, phases and roles of what is asked only once.
CALIBRATE, NAMES, WORDS = "calibrate", "names", "words"
TOKENS_PER_VERDICT = 3  # a word
FEWEST_SHARE = 1 / 3  # of a round: fewer samples are not worth their planning and training


class Budget:
    """The budget of a run: tokens, dollars and minutes, and who has spent them.

    What it says is read anew from ledger and samples every time.
    """

    def __init__(self, config: Config, run: RunDirectory, ledger: Ledger) -> None:
        self._config = config
        self._run = run
        self._ledger = ledger

    def reached(self, *, to_read: int = 0, share: float = 1.0) -> str:
        """Return which budget is used up, or ''; calls that are still open count, too.

        Args:
            to_read: for so many texts that somebody has to read tokens are kept back.
            share: of the budget that may be used, in (0, 1].
        """
        limits = self._config.budget.limits
        if not limits:
            return ""
        spent, pending = self.spent(), self._ledger.spent_by_open_calls()
        reading = self._price_of_reading() if to_read else {}
        for name, limit in limits.items():
            kept_back = to_read * reading.get(name, 0.0)
            if spent[name] + pending.get(name, 0) + kept_back >= share * limit:
                return f"budget: {name} {limit}"
        return ""

    def pays_for(self, role: str, call: Call, share: float = 1.0) -> bool:
        """Whether the budget pays for a call, or has: what was answered before a kill is there.

        Args:
            share: of the budget that may be used, in (0, 1].
        """
        if not self.reached(share=share):
            return True
        return self._ledger.holds_reply(role, call.round, call.purpose)

    def writing_ends(self) -> bool:
        """Whether what is left of the budget is needed to read a round's texts.

        A text that nobody could read is lost where its label is in doubt, and reading costs a
        small part of what writing does.
        """
        return bool(self.reached(to_read=self._config.strategy.samples_per_round))

    def _price_of_reading(self) -> dict[str, float]:
        """Return what labeler and critic have cost so far for each text, in tokens and dollars.

        Before there is a text, a verdict reads as much as a call of the reviser, and is a word; in
        dollars it costs as much as that call.
        """
        texts = len(self._run.read_samples())
        by_role = self._ledger.spent_by_role()
        roles: list[str] = [role for role in ("labeler", "critic") if role in by_role]
        read = [by_role[role] for role in roles]
        if not texts and "reviser" in by_role:
            roles = ["reviser"]
            texts, tokens_in, _ = by_role["reviser"]
            read = [(texts, tokens_in, texts * TOKENS_PER_VERDICT)]
        if not texts:
            return {}
        words = self._ledger.budget_spent(f"{WORDS}:")
        written = sum(tokens_out for _, _, tokens_out in read)
        whole = written + sum(tokens_in for _, tokens_in, _ in read)
        usd = sum(self._ledger.budget_spent(role=role)["usd"] for role in roles)
        return {
            "output_tokens": (written - words["output_tokens"]) / texts,
            "total_tokens": (whole - words["total_tokens"]) / texts,
            "usd": (usd - words["usd"]) / texts,
        }

    def price_of_a_label(self) -> dict[str, float]:
        """Return what a text has cost so far that the labeler has read, by the budget's keys.

        Empty before it has read any. Minutes are those of calls that reached an endpoint.
        """
        texts = sum(one.labeler_label is not None for one in self._run.read_samples())
        if not texts:
            return {}
        minutes = _minutes(self._ledger.open_intervals("labeler"))
        spent = {**self._ledger.budget_spent(role="labeler"), "minutes": minutes}
        return {name: value / texts for name, value in spent.items()}

    def exhausted(self) -> str:
        """Return the budget as a reason to stop: reached, or too small for a third of a round.

        Too small it is, too, where what is left is needed to read what a round would write: then
        nothing would be written.
        """
        if reached := self.reached():
            return reached
        fewest = math.ceil(self._config.strategy.samples_per_round * FEWEST_SHARE)
        writes = strategy_of(self._config).writes
        if self.affordable(fewest) >= fewest and not (writes and self.writing_ends()):
            return ""
        return f"budget: too little is left for {fewest} more samples"

    def affordable(self, samples: int) -> int:
        """Return how many accepted samples, of those wanted, the budget still pays for.

        A sample's price, in tokens, dollars or minutes, is what the accepted ones have cost so
        far, all roles together, but for what was spent once at the start. Before there are any it
        is not known, and the wanted number stands.
        """
        accepted = sum(bool(sample.accepted) for sample in self._run.read_samples())
        spent = self.spent()
        once = [self.spent_on(purpose) for purpose in (CALIBRATE, NAMES, WORDS)]
        for name, limit in self._config.budget.limits.items():
            if accepted and spent[name] > 0:
                left = max(0.0, limit - spent[name])
                price = (spent[name] - sum(one[name] for one in once)) / accepted
                samples = min(samples, int(left / price)) if price > 0 else samples
        return samples

    def spent(self) -> dict[str, float]:
        """Return what counts against the budget, by its keys."""
        return {**self._ledger.budget_spent(), "minutes": self._ledger.window_seconds() / 60}

    def spent_on(self, purpose: str) -> dict[str, float]:
        """Return what calls of a purpose, and the phase called so, have cost, by the budget's keys.

        That of a killed try is in it, that of a phase under way only with its calls.
        """
        minutes = _minutes(self._ledger.phase_intervals(purpose))
        return {**self._ledger.budget_spent(f"{purpose}:"), "minutes": minutes}


def _minutes(spans: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in union_of(spans)) / 60
