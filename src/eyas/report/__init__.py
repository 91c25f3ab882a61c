"""A report as values, and its page in HTML, Markdown and JSON."""
