"""Catalogs: names of tables on a file system, in a database, behind a server."""
