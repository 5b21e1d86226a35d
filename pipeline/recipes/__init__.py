"""Floor 3: one paper a file; the trainer finds `NAME:VARIANT` here by name at run time and imports none of it."""
