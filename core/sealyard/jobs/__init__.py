"""The bus between the engine and its workers."""
