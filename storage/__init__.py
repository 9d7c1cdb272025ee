"""Records, the Arrow schema, commits, dataset versions, SQL views and renderings."""
