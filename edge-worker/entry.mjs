// A Worker's entry: hands a request to the object that holds the connections, or lets the program answer it here.
// It is the Worker's `main` as it is. docs/deploying.md shows how to put answers of your own in place of its own.
import * as program from "./build/index.js";

export * from "./build/index.js";
export default entry();

const Worker = program.default;
const PANIC = "pgspan: a panic";

// The Worker's handlers: all that the program has, and `fetch`. What is not answered becomes `answer`'s.
export function entry(answer = problemAnswer) {
  const handlers = {};
  for (const name of Object.getOwnPropertyNames(program.default.prototype)) {
    if (name !== "constructor") handlers[name] = (event, env, ctx) => here(name, event, env, ctx);
  }
  handlers.fetch = async (request, env, ctx) => {
    const pooled = env.POOL && (env.PGSPAN_CONNECT || "pool") === "pool";
    try {
      return await (pooled ? ask(request, env) : here("fetch", request, env, ctx));
    } catch (error) {
      await drain(request).catch(() => {});
      return answer(lost(request, error, pooled), request, error);
    }
  };
  return handlers;
}

// The object that holds the connections. A panic ends it, and the next request gets a new one.
export class Pool extends (program.Pool ?? Object) {
  constructor(state, env) {
    super(state, env);
    new Promise((end) => wait((this.end = end))).then(() => state.abort(PANIC));
  }
}

// Lets an object answer. A read that was not delivered is asked for once more.
async function ask(request, env) {
  try {
    return await object(env).fetch(request);
  } catch (error) {
    if (!error?.retryable || error.overloaded || !reads(request)) throw error;
    return object(env).fetch(request);
  }
}

const ids = new Map();

// One of the objects, by chance. Where a setting is nonsense the first object says so.
function object(env) {
  const count = /^([1-9]|[1-5]\d|6[0-4])$/.test(env.POOL_SHARDS) ? Number(env.POOL_SHARDS) : 1;
  const place = /^([we]nam|sam|[we]eur|apac|oc|afr|me)$/.test(env.POOL_LOCATION_HINT) && String(env.POOL_LOCATION_HINT);
  const name = `pool-${place ? `${place}-` : ""}${Math.floor(Math.random() * count)}`;
  if (!ids.has(name)) ids.set(name, env.POOL.idFromName(name));
  return env.POOL.get(ids.get(name), place ? { locationHint: place } : undefined);
}

// Lets the program do it here, to its end, whether or not the client waits for it.
async function here(handler, event, env, ctx) {
  let end, place;
  const ended = new Promise((_, reject) => (end = () => reject(new Error(PANIC))));
  try {
    place = wait(end);
    const done = Promise.race([new program.default(ctx, env)[handler](event), ended]);
    ctx.waitUntil(done.catch(() => {}));
    return await done;
  } finally {
    waiting.delete(place);
    end = undefined; // until here it is held
  }
}

// Takes what nobody read of a request's body: with an answer that comes first the connection breaks.
async function drain({ body, bodyUsed }) {
  if (!body || bodyUsed) return;
  const reader = body.getReader();
  const late = setTimeout(() => reader.cancel(), 1000);
  for (let left = 1 << 20; left > 0; ) {
    const { done, value } = await reader.read();
    left = done ? 0 : left - value.length;
  }
  clearTimeout(late);
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

// What should have answered ended before it did. What it wrote may be stored, unless it never got the request.
function lost(request, error, pooled) {
  const cause = String(error?.message ?? error);
  console.error("the request was not answered:", cause);
  const [status, title, code, detail] = error?.overloaded
    ? [503, "Service Unavailable", "unavailable", "too many requests are being answered now"]
    : !pooled || cause.includes(PANIC)
      ? [500, "Internal Server Error", "internal", "something went wrong here"]
      : reads(request)
        ? [503, "Service Unavailable", "unavailable", "the database can't be reached now"]
        : [503, "Service Unavailable", "commit_outcome_unknown",
           "the answer of the database was lost: it may be stored or not. Look before you repeat it"];
  const given = request.headers.get("x-request-id") ?? "";
  const id = /^[A-Za-z0-9-]{1,64}$/.test(given) ? given : crypto.randomUUID();
  return { type: "about:blank", title, status, code, detail, retryable: code === "unavailable", request_id: id };
}

function problemAnswer(problem) {
  const headers = {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-request-id": problem.request_id,
    ...(problem.retryable && { "retry-after": "1" }),
  };
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
}

function reads(request) {
  return request.method === "GET" || request.method === "HEAD";
}
