/**
 * `restore --only-config`: shows the configuration that travelled with a backup, and how the VM of that name differs from it now. It sets
 * nothing: a network, a policy tag or a firewall of a VM that is in use is its owner's to change, with Qubes' own tools.
 */

import { byteString, escapeText, utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { App } from '../app.ts';
import { canonicalJson, parseJson } from '../domains/json.ts';
import { choose } from './chosen.ts';

export async function restoreConfig(app: App, target: string): Promise<void> {
  const { history, snapshot } = await choose(app, target);
  const captured = parsed(history.name, await history.config(snapshot));
  await app.closeStorage();
  const present = (await app.domains.list()).find(({ name }) => name === history.name);
  const now =
    present === undefined ? undefined : parsed(present.name, await app.domains.readConfig(present.name));
  app.output.event('config', { vm: history.name, snapshot: snapshot.number, config: captured });
  for (const line of canonicalJson(captured).trimEnd().split('\n')) app.output.line(shown(line));
  if (now === undefined) {
    app.output.note(
      `there is no VM ${history.name} now: "qubes-backup restore ${history.name}" makes it with all of this`,
    );
    return;
  }
  const differences = compare(captured, now);
  for (const [path, { was, is }] of differences)
    app.output.event('config-difference', { vm: history.name, path, was: was ?? null, is: is ?? null });
  if (differences.length === 0) app.output.note(`VM ${history.name} has all of this now`);
  for (const [path, { was, is }] of differences)
    app.output.note(shown(`${path} was ${text(was)}, and is ${text(is)} now`));
}

function parsed(vm: string, config: Uint8Array): unknown {
  const value = parseJson(Buffer.from(config).toString('utf8'));
  if (value !== undefined) return value;
  throw new BackupError('store-damaged', `VM ${vm}: its configuration is not valid`);
}

interface Difference {
  readonly was: unknown;
  readonly is: unknown;
}

/** Of two values of JSON, by the path of each value that differs. Lists are compared as a whole. */
function compare(was: unknown, is: unknown, path = ''): (readonly [path: string, Difference])[] {
  if (isTable(was) && isTable(is)) {
    const keys = [...new Set([...Object.keys(was), ...Object.keys(is)])].sort();
    return keys.flatMap((key) => compare(was[key], is[key], path === '' ? key : `${path}.${key}`));
  }
  return JSON.stringify(was) === JSON.stringify(is) ? [] : [[path, { was, is }]];
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return value === undefined ? 'not there' : JSON.stringify(value);
}

/** What a VM's notes or features say may be any text. */
function shown(line: string): string {
  return escapeText(byteString(utf8(line)));
}
