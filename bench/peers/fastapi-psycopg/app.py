"""FastAPI with psycopg's asynchronous pool of 8 in each process, opened in the lifespan, as their documentation shows it."""

import os
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel


class Names(BaseModel):
    names: list[str]


class User(BaseModel):
    id: int
    name: str


class Users(BaseModel):
    users: list[User]


class Sum(BaseModel):
    sum: int


@asynccontextmanager
async def lifespan(app: FastAPI):
    # autocommit, so that a lone SELECT is one statement and not a transaction of three
    pool = AsyncConnectionPool(
        os.environ["DATABASE_URL"], min_size=8, max_size=8, open=False, kwargs={"autocommit": True}
    )
    async with pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


async def connection(request: Request):
    async with request.app.state.pool.connection() as connection:
        yield connection


Connection = Annotated[AsyncConnection, Depends(connection)]


@app.get("/livez")
async def livez() -> str:
    return "ok"


@app.get("/add")
async def add(a: int, b: int, connection: Connection) -> Sum:
    async with connection.cursor(row_factory=class_row(Sum)) as cursor:
        await cursor.execute("SELECT %s::int8 + %s::int8 AS sum", (a, b))
        return await cursor.fetchone()


@app.post("/users", status_code=201)
async def users(body: Names, connection: Connection) -> Users:
    stored = []
    async with connection.transaction(), connection.cursor(row_factory=class_row(User)) as cursor:
        for name in body.names:
            await cursor.execute("INSERT INTO users (name) VALUES (%s) RETURNING id, name", (name,))
            stored.append(await cursor.fetchone())
    return Users(users=stored)
