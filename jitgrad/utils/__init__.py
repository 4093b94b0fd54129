"""What is useful around a model: checkpointing."""
