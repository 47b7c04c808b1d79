"""What a run will take at most, before a cent is spent: calls, tokens and cost a role."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evokd.agents.card import render_card
from evokd.config import Config, role_settings
from evokd.graph.planning import texts_for
from evokd.graph.session import load_prompts
from evokd.graph.strategies import used_roles
from evokd.tasks import load_task_data

CHARS_PER_TOKEN = 4
TOKENS_PER_TEXT = 25
OVERDRAW = 1.6  # texts written for one accepted, refills included


@dataclass(frozen=True)
class RoleEstimate:
    """Calls and tokens of one role."""

    role: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None


@dataclass(frozen=True)
class Estimate:
    """The estimate of a whole run."""

    roles: list[RoleEstimate]
    samples: int

    @property
    def usd(self) -> float | None:
        """The total cost, where every role has a price."""
        prices = [one.usd for one in self.roles if one.usd is not None]
        return sum(prices) if len(prices) == len(self.roles) else None


def estimate(config: Config) -> Estimate:
    """Return an upper estimate.

    Token counts assume four characters a token and an endpoint with log-probabilities; without
    them labeler and critic are asked `samples` times.

    Raises:
        RefusedError: config or data cannot be used.
    """
    data = load_task_data(config)
    prompts = load_prompts(config)
    card = render_card(prompts["card"], config.task.instructions, config.task.labels, data.seed)
    strategy = config.strategy
    samples = strategy.init_samples + strategy.rounds * strategy.samples_per_round
    texts = math.ceil(samples * OVERDRAW)
    per_call = texts_for(strategy.texts_per_call)
    votes = 1 if used_roles(config) else 0
    calls = {
        "analyst": (strategy.rounds, 900, 90 * strategy.max_weaknesses),
        "generator": (math.ceil(texts / per_call), 180, per_call * TOKENS_PER_TEXT),
        "labeler": (texts * votes, 60, 8),
        "critic": (texts * votes, 90, 5),
    }
    fixed = len(card) // CHARS_PER_TOKEN
    return Estimate(
        [_role(config, role, *calls[role], fixed) for role in used_roles(config)], samples
    )


def _role(
    config: Config, role: str, calls: int, asked: int, answered: int, fixed: int
) -> RoleEstimate:
    settings = role_settings(config.agents, role)
    tokens_in, tokens_out = calls * (fixed + asked), calls * answered
    usd = None
    if settings.usd_per_million_input is not None and settings.usd_per_million_output is not None:
        usd = (
            tokens_in * settings.usd_per_million_input
            + tokens_out * settings.usd_per_million_output
        ) / 1e6
    return RoleEstimate(role, settings.model or "", calls, tokens_in, tokens_out, usd)
