// postgres.js in a Worker: a client for each request, closed after the answer, without the look-up of array types that
// Cloudflare's documentation advises against, and without named statements behind a transaction pooler, as its own says.
import postgres from "postgres";

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    if (url.pathname === "/livez") return new Response("ok");
    const prepare = env.DATABASE_POOLER !== "transaction";
    const sql = postgres(env.DATABASE_URL, { max: 5, fetch_types: false, prepare });
    try {
      return await answer(sql, request, url);
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 500 });
    } finally {
      ctx.waitUntil(sql.end());
    }
  },
};

async function answer(sql, request, url) {
  if (url.pathname === "/add") {
    const [a, b] = [url.searchParams.get("a"), url.searchParams.get("b")];
    const [row] = await sql`SELECT ${a}::int8 + ${b}::int8 AS sum`;
    return Response.json({ sum: Number(row.sum) }); // int8 arrives as text
  }
  const { names } = await request.json();
  const users = await sql.begin(async (sql) => {
    const users = [];
    for (const name of names) {
      const [row] = await sql`INSERT INTO users (name) VALUES (${name}) RETURNING id, name`;
      users.push({ id: Number(row.id), name: row.name });
    }
    return users;
  });
  return Response.json({ users }, { status: 201 });
}
