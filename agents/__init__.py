"""The LLM roles. Each role is one file with its reply model; its prompt lies in `prompts/`.

Agents import the ground only. They are handed a `Teacher` for their role and return values; they
write no file.
"""
