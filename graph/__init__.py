"""The teaching loops as LangGraph state graphs, one file a strategy.

`state` says what travels, `session` what stays outside the state, `planning` and `quotas` decide
what to write; the nodes are in `writing`, `reading`, `gating` and `learning`; `checkpoint` makes a
run resumable.
"""
