// Drives a daemon with @connectrpc/connect-node and prints what it saw in every scenario as one JSON object.
//
// Run by test_client_connect_node.py: `node connect.mjs PACKAGES URL DESCRIPTORS WIRE`. PACKAGES is a folder with the
// packages; DESCRIPTORS is a serialised FileDescriptorSet, so no code is generated from the contract.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, baseUrl, descriptors, wire] = process.argv.slice(2);
const require = createRequire(join(packages, "package.json"));
const { createFileRegistry, fromBinary } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = require("@connectrpc/connect");
const {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} = require("@connectrpc/connect-node");

const NO_PID = 2 ** 22 + 1;
const gzip = { sendCompression: compressionGzip, compressMinBytes: 0 };
const http11 = { baseUrl, httpVersion: "1.1" };
const transports = {
  "connect-json": () => createConnectTransport({ ...http11, useBinaryFormat: false }),
  "connect-proto": () => createConnectTransport({ ...http11, useBinaryFormat: true, ...gzip }),
  "grpc-web-json": () => createGrpcWebTransport({ ...http11, useBinaryFormat: false }),
  "grpc-web-proto": () => createGrpcWebTransport({ ...http11, useBinaryFormat: true, ...gzip }),
  grpc: () => createGrpcTransport({ baseUrl }),
  "grpc-gzip": () => createGrpcTransport({ baseUrl, ...gzip }),
};

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const transport = transports[wire]();
const client = createClient(registry.getService("process.Process"), transport);
const terminals = createClient(registry.getService("pty.Pty"), transport);

const bytes = (text) => new TextEncoder().encode(text);
const pid = (number) => ({ selector: { case: "pid", value: number } });
const stdin = (text) => ({ input: { case: "stdin", value: bytes(text) } });
const shell = (script, more = {}) => ({ process: { cmd: "/bin/sh", args: ["-c", script] }, ...more });

// One stream of a program's events; `seen` is what was read of it.
class Follower {
  constructor(messages) {
    this.messages = messages[Symbol.asyncIterator]();
    this.seen = { stdout: "", stderr: "" };
    this.decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  }

  async next() {
    const { done, value } = await this.messages.next();
    if (done) return false;
    const { case: kind, value: event } = value.event.event;
    if (kind === "start") this.pid = event.pid;
    if (kind === "data") {
      const { case: stream, value: data } = event.output;
      this.seen[stream] += this.decoders[stream].decode(data, { stream: true });
    }
    if (kind === "end") Object.assign(this.seen, { exitCode: event.exitCode, status: event.status });
    return true;
  }

  async until(text) {
    while (!this.seen.stdout.includes(text)) if (!(await this.next())) throw new Error(`ended without ${text}`);
  }

  async rest() {
    while (await this.next());
    return this.seen;
  }
}

async function started(request) {
  const follower = new Follower(client.start(request));
  await follower.next();
  return follower;
}

async function failed(work) {
  try {
    return { returned: await work() };
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    return { code: Code[error.code], message: error.rawMessage };
  }
}

const scenarios = {
  async start() {
    return (await started(shell("echo out; echo err >&2; exit 3"))).rest();
  },

  async large() {
    const { stdout } = await (await started(shell("head -c 3000000 /dev/zero | tr '\\0' x"))).rest();
    return stdout.length;
  },

  async list() {
    const program = await started(shell("read -r line", { tag: `listed-${wire}` }));
    const found = (await client.list({})).processes.find((info) => info.pid === program.pid);
    await client.sendInput({ process: pid(program.pid), input: stdin("\n") });
    await program.rest();
    return { cmd: found.config.cmd, args: found.config.args, tag: found.tag };
  },

  async input() {
    const program = await started(shell("while read -r line; do echo got $line; done; exit 4"));
    await client.sendInput({ process: pid(program.pid), input: stdin("one\n") });
    await program.until("got one\n");
    await client.closeStdin({ process: pid(program.pid) });
    return program.rest();
  },

  async streamInput() {
    const program = await started(shell("while read -r line; do echo got $line; done"));
    // The second line is sent once the first was answered, on one stream.
    async function* messages() {
      yield { event: { case: "start", value: { process: pid(program.pid) } } };
      yield { event: { case: "data", value: { input: stdin("one\n") } } };
      await program.until("got one\n");
      yield { event: { case: "keepalive", value: {} } };
      yield { event: { case: "data", value: { input: stdin("two\n") } } };
    }
    await client.streamInput(messages());
    await client.closeStdin({ process: pid(program.pid) });
    return program.rest();
  },

  async kill() {
    const program = await started(shell("exec sleep 1000"));
    await client.sendSignal({ process: pid(program.pid), signal: 9 });
    return program.rest();
  },

  async reconnect() {
    const leaving = new AbortController();
    const first = new Follower(client.start(shell("read -r line; echo got $line"), { signal: leaving.signal }));
    await first.next();
    leaving.abort();
    await client.sendInput({ process: pid(first.pid), input: stdin("later\n") });
    // By offset: Node sends the reset when it likes, and until then the program's output goes to the abandoned stream.
    return new Follower(client.connect({ process: pid(first.pid), resume: { stdout: 0n, stderr: 0n } })).rest();
  },

  async notFound() {
    return failed(() => client.sendSignal({ process: pid(NO_PID), signal: 15 }));
  },

  async notFoundStream() {
    return failed(() => new Follower(client.connect({ process: pid(NO_PID) })).rest());
  },

  async deadline() {
    const program = await started(shell("exec sleep 1000"));
    const options = { timeoutMs: 300 };
    const found = await failed(() => new Follower(client.connect({ process: pid(program.pid) }, options)).rest());
    await client.sendSignal({ process: pid(program.pid), signal: 9 });
    await program.rest();
    return found;
  },
};

// Messages that are sent one by one while the answers arrive.
class Outgoing {
  constructor() {
    this.messages = [];
    this.more = () => undefined;
  }

  put(message) {
    this.messages.push(message);
    this.more();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.messages.length === 0) await new Promise((more) => (this.more = more));
      const message = this.messages.shift();
      if (message === null) return;
      yield { message };
    }
  }
}

scenarios.terminal = async () => {
  const script = "stty -echo; echo ready; read -r a; echo got $a; read -r b; stty size; exit 7";
  const opening = { process: { cmd: "/bin/sh", args: ["-c", script] }, size: { cols: 80, rows: 24 } };
  const input = (value) => ({ case: "input", value: { input: value } });
  const sent = new Outgoing();
  sent.put({ case: "open", value: opening });
  const answers = {
    ready: () => sent.put(input({ case: "data", value: bytes("one\n") })),
    "got one": () => {
      sent.put(input({ case: "resize", value: { cols: 100, rows: 40 } }));
      sent.put(input({ case: "data", value: bytes("two\n") }));
    },
    "40 100": () => sent.put(null),
  };
  let shown = "";
  let exitCode = null;
  for await (const { event } of terminals.open(sent)) {
    const { case: kind, value } = event.event;
    if (kind === "output") shown += new TextDecoder().decode(value.data);
    if (kind === "exit") exitCode = value.exitCode;
    const next = Object.keys(answers)[0];
    if (next && shown.includes(`${next}\r\n`)) {
      answers[next]();
      delete answers[next];
    }
  }
  return { shown, exitCode };
};

const seen = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  try {
    seen[name] = await scenario();
  } catch (error) {
    seen[name] = { threw: String(error?.stack ?? error) };
  }
}
process.stdout.write(JSON.stringify(seen), () => process.exit(0)); // idle HTTP/2 connections would keep it alive
