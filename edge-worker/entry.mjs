// The Worker's entry: hands a request to the object that holds the connections, or answers it itself.
import Worker, { Pool as Program } from "./build/index.js";

const PANIC = "pgspan: a panic";

export default {
  async fetch(request, env, ctx) {
    const pooled = env.POOL && (env.PGSPAN_CONNECT || "pool") === "pool";
    try {
      return await (pooled ? object(env).fetch(request) : answer(request, env, ctx));
    } catch (error) {
      return lost(request, error, pooled);
    }
  },
};

// The object that holds the connections. After a panic it is ended: its connections close, all its requests fail, and the
// next one gets a new object.
export class Pool {
  constructor(state, env) {
    this.program = new Program(state, env);
    new Promise((end) => wait((this.end = end))).then(() => state.abort(PANIC));
  }

  fetch(request) {
    return this.program.fetch(request);
  }
}

// Lets the program answer, here.
async function answer(request, env, ctx) {
  let end, place;
  const ended = new Promise((_, reject) => (end = () => reject(new Error(PANIC))));
  try {
    place = wait(end);
    return await Promise.race([new Worker(ctx, env).fetch(request), ended]);
  } finally {
    waiting.delete(place);
    end = undefined; // until here it is held
  }
}

// A panic ends the program, which all requests and objects of this isolate share, and what they wait for never comes. Each
// says here how it ends. (It ends in its own request: `handle_cross_request_promise_resolution`, the default since 2024-10.)
// Held weakly: an object that is evicted and a request whose client hung up are not told to leave.
const waiting = new Set();

function wait(end) {
  if (waiting.size >= 256) for (const place of waiting) if (!place.deref()) waiting.delete(place);
  const place = new WeakRef(end);
  waiting.add(place);
  return place;
}

for (const kind of ["error", "unhandledrejection"]) {
  addEventListener(kind, ({ error, reason }) => {
    if ((error ?? reason) instanceof WebAssembly.RuntimeError) {
      for (const place of waiting) place.deref()?.();
      waiting.clear();
    }
  });
}

const ids = new Map();

// One of the objects, by chance.
function object(env) {
  const name = `pool-${Math.floor(Math.random() * (Number(env.POOL_SHARDS) || 1))}`;
  if (!ids.has(name)) ids.set(name, env.POOL.idFromName(name));
  const place = env.POOL_LOCATION_HINT ? { locationHint: env.POOL_LOCATION_HINT } : undefined;
  return env.POOL.get(ids.get(name), place);
}

// What should have answered ended before it did: a panic here or in the object, or a deploy or a failure of the platform
// that ended the object. What it wrote may be stored.
function lost(request, error, pooled) {
  console.error("the request was not answered:", error.message);
  const read = request.method === "GET" || request.method === "HEAD";
  const panic = !pooled || String(error.message).includes(PANIC);
  const [status, title, code, detail] = panic
    ? [500, "Internal Server Error", "internal", "something went wrong here"]
    : read
      ? [503, "Service Unavailable", "unavailable", "the database can't be reached now"]
      : [503, "Service Unavailable", "commit_outcome_unknown",
         "the answer of the database was lost: it may be stored or not. Look before you repeat it"];
  const retryable = code === "unavailable";
  const given = request.headers.get("x-request-id") ?? "";
  const id = /^[A-Za-z0-9-]{1,64}$/.test(given) ? given : crypto.randomUUID();
  const headers = {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-request-id": id,
    ...(retryable && { "retry-after": "1" }),
  };
  const problem = { type: "about:blank", title, status, code, detail, retryable, request_id: id };
  return new Response(JSON.stringify(problem), { status, headers });
}
