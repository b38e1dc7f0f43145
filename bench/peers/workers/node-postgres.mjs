// node-postgres in a Worker: a client for each request, closed after the answer (the form of Cloudflare's and
// node-postgres's own documentation), statements with parameters, a transaction awaited step by step.
import { Client } from "pg";

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    if (url.pathname === "/livez") return new Response("ok");
    const client = new Client({ connectionString: env.DATABASE_URL });
    try {
      await client.connect();
      return await answer(client, request, url);
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 500 });
    } finally {
      ctx.waitUntil(client.end());
    }
  },
};

async function answer(client, request, url) {
  if (url.pathname === "/add") {
    const values = [url.searchParams.get("a"), url.searchParams.get("b")];
    const result = await client.query("SELECT $1::int8 + $2::int8 AS sum", values);
    return Response.json({ sum: Number(result.rows[0].sum) }); // int8 arrives as text
  }
  const { names } = await request.json();
  const users = [];
  try {
    await client.query("BEGIN");
    for (const name of names) {
      const result = await client.query("INSERT INTO users (name) VALUES ($1) RETURNING id, name", [name]);
      users.push({ id: Number(result.rows[0].id), name: result.rows[0].name });
    }
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
  return Response.json({ users }, { status: 201 });
}
