"""Programs that behave on the wire as the book's."""
