"""A trajectory as a web page that stands alone: no network, no script but the copy buttons."""
