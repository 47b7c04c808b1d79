"""The teaching loops as LangGraph state graphs, one file a strategy.

`state` says what travels, `session` what stays outside the state, `planning` decides what to
write, `nodes` do the work, `checkpoint` makes a run resumable.
"""
