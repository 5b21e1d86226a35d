"""Floor 2: the stages from raw corpus to dump: pack, stream, train, embed; `pipeline/recipes` holds one paper a file."""
