// Drives a daemon with the published `e2b` package and prints what it saw in every scenario as one JSON object.
//
// Run by tests/support/sdk.py: `node e2b.mjs PACKAGES DIRECTORY commands|files|terminals|watching`. PACKAGES is a folder with the
// package, DIRECTORY is shared with the programs that are started; the environment says where the daemon is. Only the
// package's public names are used.

import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, directory, group] = process.argv.slice(2);
const { CommandExitError, Sandbox } = createRequire(join(packages, "package.json"))("e2b");

// Waits until a file is there.
const waitFor = (gate) => `until test -e ${gate}; do sleep 0.02; done`;
const path = (name) => join(directory, name);
const open = (gate) => writeFileSync(gate, "");

const sandbox = await Sandbox.create();

const result = ({ stdout, stderr, exitCode, error }) => ({ stdout, stderr, exitCode, error: error ?? null });

// What a caller could tell from an exception.
function exception(error) {
  const found = { raised: error.constructor.name, text: String(error.message) };
  return error instanceof CommandExitError ? { ...found, ...result(error) } : found;
}

const outcome = (promise) => promise.then(result, exception);

const commands = {
  async isRunning() {
    return sandbox.isRunning();
  },

  async plain() {
    return outcome(sandbox.commands.run("echo out; echo err >&2"));
  },

  async failing() {
    return outcome(sandbox.commands.run("echo out; echo err >&2; exit 3"));
  },

  async missing() {
    return outcome(sandbox.commands.run("no-such-command-here"));
  },

  async large() {
    return (await sandbox.commands.run("head -c 3000000 /dev/zero | tr '\\0' x")).stdout.length;
  },

  async background() {
    const gate = path("background");
    const seen = { stdout: "", stderr: "" };
    const openWhenSeen = () => seen.stdout.includes("one\n") && seen.stderr.includes("err\n") && open(gate);
    const command = `echo one; echo err >&2; ${waitFor(gate)}; echo two`;
    const handle = await sandbox.commands.run(command, {
      background: true,
      onStdout: (text) => ((seen.stdout += text), openWhenSeen()),
      onStderr: (text) => ((seen.stderr += text), openWhenSeen()),
    });
    return { ...(await outcome(handle.wait())), onStdout: seen.stdout, onStderr: seen.stderr };
  },

  async stdin() {
    const handle = await sandbox.commands.run("cat", { background: true, stdin: true });
    await sandbox.commands.sendStdin(handle.pid, "by pid\n");
    await handle.sendStdin("by handle\n");
    await handle.closeStdin();
    return outcome(handle.wait());
  },

  async noStdin() {
    return outcome(sandbox.commands.run("cat; echo end"));
  },

  async kill() {
    const handle = await sandbox.commands.run("sleep 1000", { background: true });
    const killed = await sandbox.commands.kill(handle.pid);
    return { killed, ...(await outcome(handle.wait())), again: await handle.kill() };
  },

  async list() {
    const options = { background: true, envs: { A: "b" }, cwd: "/tmp" };
    const handle = await sandbox.commands.run("sleep 1000", options);
    const found = (await sandbox.commands.list()).find((info) => info.pid === handle.pid);
    await handle.kill();
    await outcome(handle.wait());
    return found;
  },

  async connect() {
    const gate = path("connect");
    const started = await sandbox.commands.run(`${waitFor(gate)}; echo later`, { background: true });
    const connected = await sandbox.commands.connect(started.pid);
    open(gate);
    return [await outcome(connected.wait()), await outcome(started.wait())];
  },

  async reconnect() {
    const gate = path("reconnect");
    const ready = path("ready");
    const command = `${waitFor(gate)}; echo meanwhile; touch ${ready}; sleep 1000`;
    const started = await sandbox.commands.run(command, { background: true });
    await started.disconnect();
    open(gate);
    await sandbox.commands.run(waitFor(ready)); // it appears after the line was printed to nobody
    return new Promise((resolve, reject) => {
      const connected = sandbox.commands.connect(started.pid, {
        onStdout: (text) => connected.then((handle) => handle.kill()).then(() => resolve(text), reject),
      });
      connected.then((handle) => handle.wait()).catch(() => undefined); // it is killed
    });
  },

  async connectToNothing() {
    return sandbox.commands.connect(2 ** 22 + 1).then((handle) => handle.pid, exception);
  },

  async timeout() {
    return outcome(sandbox.commands.run("sleep 1000", { timeoutMs: 500 }));
  },

  async cwd() {
    return (await sandbox.commands.run("pwd", { cwd: "/usr" })).stdout;
  },

  async missingCwd() {
    return outcome(sandbox.commands.run("pwd", { cwd: "/no/such/directory" }));
  },

  async unknownUser() {
    return outcome(sandbox.commands.run("id -un", { user: "no-such-user" }));
  },
};

// One terminal, and what it has printed.
class Terminal {
  constructor() {
    this.text = "";
    this.decoder = new TextDecoder();
    this.waiting = [];
    this.onData = (data) => {
      this.text += this.decoder.decode(data, { stream: true });
      this.waiting = this.waiting.filter(({ text, seen }) => !(this.text.includes(text) && (seen(), true)));
    };
  }

  static async create(options = {}) {
    const terminal = new Terminal();
    const { onData } = terminal;
    terminal.handle = await sandbox.pty.create({ cols: 80, rows: 24, timeoutMs: 60_000, onData, ...options });
    return terminal;
  }

  async type(text) {
    await sandbox.pty.sendInput(this.handle.pid, new TextEncoder().encode(text));
  }

  // Wait until it has printed a text that the echo of what was typed does not contain.
  async until(text) {
    if (!this.text.includes(text)) await new Promise((seen) => this.waiting.push({ text, seen }));
  }

  async end() {
    const { exitCode, error } = await outcome(this.handle.wait());
    return { exit_code: exitCode, error, text: this.text };
  }
}

// As in sdk_terminals.py, with its names.
const terminals = {
  async pty_size() {
    const terminal = await Terminal.create();
    await terminal.type("stty size; echo done-$((1+1))\n");
    await terminal.until("done-2");
    await sandbox.pty.resize(terminal.handle.pid, { cols: 100, rows: 40 });
    await terminal.type("stty size; echo resized-$((1+1))\n");
    await terminal.until("resized-2");
    await terminal.type("exit 3\n");
    return terminal.end();
  },

  async pty_environment() {
    const terminal = await Terminal.create({ cwd: "/usr", envs: { OWN: "a b=c" } });
    await terminal.type('echo "<$TERM|$OWN|$PWD>"; tty; exit\n');
    return terminal.end();
  },

  async pty_interrupt() {
    const terminal = await Terminal.create();
    await terminal.type("sh -c 'echo up-$((1+1)); exec sleep 1000'\n");
    await terminal.until("up-2");
    await terminal.type("\x03");
    await terminal.type('echo "status-$?-$((1+1))"; exit\n');
    return terminal.end();
  },

  async pty_kill() {
    const terminal = await Terminal.create();
    const killed = await sandbox.pty.kill(terminal.handle.pid);
    return { killed, ...(await terminal.end()), again: await sandbox.pty.kill(terminal.handle.pid) };
  },

  async pty_reconnect() {
    const first = await Terminal.create();
    await first.type("kept=word; echo first-$((1+1))\n");
    await first.until("first-2");
    await first.handle.disconnect();
    const second = new Terminal();
    second.handle = await sandbox.pty.connect(first.handle.pid, { onData: second.onData });
    await second.type('echo "again-$kept"; exit 5\n');
    return { same_pid: second.handle.pid === first.handle.pid, ...(await second.end()) };
  },

  async pty_list() {
    const terminal = await Terminal.create();
    const found = (await sandbox.commands.list()).find((info) => info.pid === terminal.handle.pid);
    await sandbox.pty.kill(terminal.handle.pid);
    await terminal.end();
    return { cmd: found.cmd, args: found.args };
  },
};

const root = path("node");
const content = randomBytes(5_000_000);
const digest = (data) => createHash("sha256").update(data).digest("hex");
const whole = digest(content);
const brief = (entry) => entry.path.slice(root.length);

const files = {
  async text() {
    const text = "first line\nzweite Zeile: äöü €\n";
    const { name, path, type } = await sandbox.files.write(`${root}/sub/text.txt`, text);
    const again = [await sandbox.files.read(path), await sandbox.files.read(path, { gzip: true })];
    return [{ name, path, type }, ...again.map((found) => found === text)];
  },

  async bytes() {
    const found = [];
    for (const options of [{}, { useOctetStream: true }, { gzip: true }]) {
      await sandbox.files.write(`${root}/bytes`, new Blob([content]), options);
      found.push(digest(await sandbox.files.read(`${root}/bytes`, { format: "bytes" })) === whole);
    }
    return found;
  },

  async stream() {
    const found = [];
    for (const useOctetStream of [true, false]) {
      await sandbox.files.write(`${root}/stream`, new Blob([content]).stream(), { useOctetStream });
      const pieces = [];
      for await (const piece of await sandbox.files.read(`${root}/stream`, { format: "stream" })) pieces.push(piece);
      found.push(digest(Buffer.concat(pieces)) === whole);
    }
    return found;
  },

  async many() {
    const entries = Array.from({ length: 200 }, (_, n) => ({ path: `${root}/many/${n % 7}/${n}`, data: `content ${n}` }));
    const infos = await sandbox.files.write(entries);
    const texts = await Promise.all(infos.map((info) => sandbox.files.read(info.path)));
    return [infos.length, texts.every((text, n) => text === `content ${infos[n].name}`)];
  },

  async missing() {
    return sandbox.files.read(`${root}/missing`).catch(exception);
  },

  async directory() {
    await sandbox.files.makeDir(`${root}/directory`);
    return sandbox.files.read(`${root}/directory`).catch(exception);
  },

  async listing() {
    for (const name of ["a", "d/b", "d/e/c"]) await sandbox.files.write(`${root}/listing/${name}`, name);
    const list = async (depth) => (await sandbox.files.list(`${root}/listing`, { depth })).map(brief).sort();
    return [await list(1), await list(2), await list(3)];
  },

  async exists() {
    await sandbox.files.write(`${root}/exists`, "");
    return [await sandbox.files.exists(`${root}/exists`), await sandbox.files.exists(`${root}/exists-not`)];
  },

  async rename() {
    await sandbox.files.write(`${root}/before`, "x");
    const info = await sandbox.files.rename(`${root}/before`, `${root}/new/after`);
    return [brief(info), await sandbox.files.exists(`${root}/before`)];
  },

  async remove() {
    await sandbox.files.write(`${root}/remove/x`, "x");
    await sandbox.files.remove(`${root}/remove`);
    return sandbox.files.exists(`${root}/remove`);
  },

  async make_dir() {
    return [await sandbox.files.makeDir(`${root}/made`), await sandbox.files.makeDir(`${root}/made`)];
  },

  async info() {
    const written = await sandbox.files.write(`${root}/info`, "12345", { metadata: { Key: "a value" } });
    const info = await sandbox.files.getInfo(`${root}/info`);
    return [written.metadata ?? {}, info.metadata ?? {}, info.size, info.permissions, info.type];
  },

  async home() {
    const info = await sandbox.files.write("sdk-file-in-home", "x");
    await sandbox.files.remove("sdk-file-in-home");
    return [info.path];
  },

  async bad_metadata() {
    return sandbox.files.write(`${root}/bad`, "x", { metadata: { k: "v".repeat(5000) } }).catch(exception);
  },
};

const watchRoot = (name) => {
  const made = `${directory}/node/${name}`;
  mkdirSync(made, { recursive: true });
  return made;
};

// Watches a new directory; `until` waits for an event by its type and name and gives all since the last call.
async function watched(name, options = {}) {
  const made = watchRoot(name);
  const found = [];
  let look = () => {};
  const handle = await sandbox.files.watchDir(made, (event) => (found.push(event), look()), options);
  const until = (word) =>
    new Promise((resolve) => {
      look = () => {
        if (!words(found).includes(word)) return;
        look = () => {};
        resolve(found.splice(0));
      };
      look();
    });
  return { made, handle, until, found };
}

const words = (events) => events.map(({ type, name }) => `${type} ${name}`);

const watching = {
  async upload() {
    const { made, handle, until } = await watched("upload");
    await sandbox.files.write(`${made}/file`, "content");
    const created = words(await until("write file"));
    await sandbox.files.write(`${made}/file`, "other");
    const found = words(await until("write file"));
    await handle.stop();
    return [created, found];
  },

  async tree() {
    const { made, handle, until } = await watched("tree", { recursive: true });
    await sandbox.files.makeDir(`${made}/a/b`);
    const found = await until("create a/b");
    await sandbox.files.write(`${made}/a/b/file`, "content");
    found.push(...(await until("write a/b/file")));
    await sandbox.files.rename(`${made}/a/b`, `${made}/a/c`);
    found.push(...(await until("create a/c/file")));
    await sandbox.files.remove(`${made}/a/c/file`);
    found.push(...(await until("remove a/c/file")));
    await handle.stop();
    return words(found);
  },

  async entries() {
    const { made, handle, until } = await watched("entries", { includeEntry: true });
    await sandbox.files.write(`${made}/file`, "content");
    const found = await until("write file");
    await handle.stop();
    return found.map(({ entry }) => [entry.path.slice(made.length), Number(entry.size)]);
  },

  async missing() {
    return sandbox.files.watchDir(`${directory}/node/missing`, () => {}).catch(exception);
  },

  async removed() {
    let ended;
    const end = new Promise((resolve) => (ended = resolve));
    const { made, until } = await watched("removed", { onExit: ended });
    rmSync(made, { recursive: true });
    return [words(await until("remove .")), (await end)?.constructor.name];
  },

  async stopped() {
    const { made, handle, found } = await watched("stopped");
    await handle.stop();
    await sandbox.files.write(`${made}/file`, "content");
    return found.length || null;
  },
};

const seen = {};
for (const [name, scenario] of Object.entries({ commands, files, terminals, watching }[group])) {
  try {
    seen[name] = await scenario();
  } catch (error) {
    seen[name] = { threw: String(error?.stack ?? error) };
  }
}
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
