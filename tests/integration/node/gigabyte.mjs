// Sends 1 GiB up and takes it down again with the published `e2b` package; prints the two SHA-256 as JSON.
//
// Run by tests/support/sdk.py: `node gigabyte.mjs PACKAGES PATH`. PACKAGES is a folder with the package.

import { createHash, randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, path] = process.argv.slice(2);
const { Sandbox } = createRequire(join(packages, "package.json"))("e2b");

const block = randomBytes(1024 * 1024);
const blocks = 1024;
const sent = createHash("sha256");
const received = createHash("sha256");

let number = 0;
// A gibibyte in which no block is like another.
const content = new ReadableStream({
  pull(controller) {
    if (number === blocks) return controller.close();
    const next = Buffer.from(block);
    next.writeUInt32BE(number++);
    sent.update(next);
    controller.enqueue(next);
  },
});

const sandbox = await Sandbox.create();
await sandbox.files.write(path, content, { useOctetStream: true });
for await (const piece of await sandbox.files.read(path, { format: "stream" })) received.update(piece);
process.stdout.write(JSON.stringify({ sent: sent.digest("hex"), received: received.digest("hex") }));
