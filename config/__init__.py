"""What the pipeline knows of its data: the source files and the warehouse tables, declared once."""
