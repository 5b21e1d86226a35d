"""What `evaluate.browse` starts by name: the process that embeds what a person gives and shows how items look."""
