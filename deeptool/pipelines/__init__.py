"""A settings file's input pipeline before its upload: what it yields, depends on and costs."""
