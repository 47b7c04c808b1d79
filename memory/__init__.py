"""The memory of a run: what the student was weak at, and which samples exist already.

`weakness` holds the protocol, its in-memory version and the pure rules (re-test, rewind);
`chroma` keeps the same on Chroma, in a folder or behind a server; `embeddings` turns texts into
vectors. Nothing here knows of agents, students or graphs.
"""
