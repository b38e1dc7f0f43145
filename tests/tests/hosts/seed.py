"""The program pgspan grew from, on psycopg 3, in autocommit as its comments promise."""

import os

import psycopg
from psycopg.rows import namedtuple_row

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=namedtuple_row) as connection:
    session = connection.cursor()

    def add(a, b):
        return session.execute("SELECT %s::int8 + %s::int8 AS sum", (a, b)).fetchone().sum

    print("1 + 1 =", session.execute("SELECT 1 + 1 AS sum").fetchone().sum)
    try:
        with connection.transaction():
            for name in ("Thunder", "Bob"):
                session.execute("INSERT INTO users(name) VALUES (%s)", (name,))
        print("inserted Thunder and Bob")
    except psycopg.errors.UniqueViolation as error:
        print(f"rolled back: {error.diag.constraint_name} is violated")
    for user in session.execute("SELECT id, name FROM users ORDER BY id").fetchall():
        print(user.id, user.name)
    print("1 + 2 =", add(1, 2))
