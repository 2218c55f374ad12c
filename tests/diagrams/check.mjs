// Draws a machine whose states and events have hard names, and asks the parsers of Mermaid and Graphviz
// what they read: the same states, with the same names, and the same arrows. `make diagrams` runs it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { instance } from "@viz-js/viz";
import { JSDOM } from "jsdom";

const [program, namesFile] = process.argv.slice(2);
const names = JSON.parse(readFileSync(namesFile, "utf8"));

// Mermaid cleans texts with a DOM, so it wants one before it is loaded.
const { window } = new JSDOM("<!doctype html><body></body>");
Object.assign(globalThis, { window, document: window.document });
const { default: mermaid } = await import("mermaid");

const folder = mkdtempSync(join(tmpdir(), "rstmdb-diagrams-"));
let drawn;
try {
  const next = (index) => names[(index + 1) % names.length];
  const guard = (name) => `payload.name == ${JSON.stringify(name)}`;
  const definition = join(folder, "machine.json");
  const transitions = names.map((name, index) => ({ from: name, event: name, to: next(index), guard: guard(name) }));
  writeFileSync(definition, JSON.stringify({ states: names, initial: names[0], transitions }));
  const run = (...words) =>
    JSON.parse(execFileSync(program, ["--path", join(folder, "data"), "--output", "json", ...words], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  run("put-machine", "--lenient", "-n", names[0], "-v", "1", `@${definition}`);
  drawn = (...options) => run("diagram", ...options, "--", names[0]).diagram;
  const guards = run("get-machine", `--name=${names[0]}`).definition.transitions.map((row) => row.guard);
  await readsMermaid(drawn(), guards);
  await readsMermaid(drawn("--counts"), guards, " (0)");
  await readsDot(drawn("--format", "dot"), guards);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

console.log(`${names.length} hard names are read as they were meant by Mermaid and Graphviz`);

/** What is drawn for a name: hidden characters as escapes. */
function shown(name) {
  const hidden = /[\p{Cc}\p{Cf}\u034f\u115f\u1160\u2028\u2029\u3164\ufe00-\ufe0f\uffa0\ufffe\uffff]/u;
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  const escape = (c) => short[c] ?? (hidden.test(c) ? `\\u{${c.codePointAt(0).toString(16)}}` : c);
  return [...name].map(escape).join("") || '""';
}

async function readsMermaid(text, guards, behind = "") {
  await mermaid.parse(text);
  const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
  const label = (coded) => coded.replace(/ﬂ°°(\d+)¶ß/g, (_, code) => String.fromCodePoint(Number(code)));
  const states = [...db.getStates()].filter(([id]) => id !== "root_start");
  const expected = names.map((name, index) => [`s${index}`, `${shown(name)}${behind}`]);
  assert.deepEqual(states.map(([id, state]) => [id, ...state.descriptions.map(label)]), expected);
  const [first, ...arrows] = db.getRelations().map((row) => [row.id1, row.id2, label(row.relationTitle ?? "")]);
  assert.deepEqual(first.slice(0, 2), ["root_start", "s0"]);
  const to = (index) => `s${(index + 1) % names.length}`;
  assert.deepEqual(
    arrows,
    names.map((name, index) => [`s${index}`, to(index), `${shown(name)} [${shown(guards[index])}]`]),
  );
}

async function readsDot(text, guards) {
  const viz = await instance();
  const svg = viz.renderString(text, { format: "svg" });
  const page = new JSDOM(svg, { contentType: "image/svg+xml" }).window.document;
  const texts = (kind) =>
    [...page.querySelectorAll(`g.${kind}`)].map((group) => [
      group.querySelector("title").textContent,
      [...group.querySelectorAll("text")].map((line) => line.textContent.replaceAll("\u00a0", " ")).join("\n"),
    ]);
  const plain = (name) => shown(name).replaceAll("\u00a0", " ");
  const nodes = new Map(texts("node"));
  const edges = new Map(texts("edge"));
  assert.equal(nodes.size, names.length + 1);
  assert.equal(edges.size, names.length + 1);
  for (const [index, name] of names.entries()) {
    const to = `s${(index + 1) % names.length}`;
    assert.equal(nodes.get(`s${index}`), plain(name), `state ${index}`);
    assert.equal(edges.get(`s${index}->${to}`), `${plain(name)}\n[${plain(guards[index])}]`, `event ${index}`);
  }
}
