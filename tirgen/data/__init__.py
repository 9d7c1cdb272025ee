"""Problems in: published and private data sets of questions with gold answers, read as they are."""
