"""What the graph calls besides the LLM roles: student, training, gates, model packs, LLM server.

Tools import the ground only; a gate that needs vectors is handed an embedder.
"""
