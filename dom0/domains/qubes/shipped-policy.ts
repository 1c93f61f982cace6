/** The policy that is installed, against the one that this version of the program needs. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError, messageOf } from '../../../shared/errors.ts';
import { PROGRAM } from '../../program.ts';
import { fail, ok, warn } from '../finding.ts';
import type { Finding } from '../finding.ts';
import { parseRule } from '../policy-parser.ts';
import type { Rule } from '../policy-parser.ts';

const NAME = '30-qubes-backup.policy';

/** The file as this version ships it: what is in /etc may have been edited, or be of an earlier version. */
export async function shippedPolicy(program = PROGRAM): Promise<string> {
  const files = [join(program, 'policies', 'shipped', NAME), join(program, 'policies', NAME)];
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text !== undefined) return text;
  }
  throw new BackupError('io', `${files[0] ?? ''} is missing: install qubes-backup-dom0 anew`);
}

/** One finding for each rule of `shipped` that is not installed, with the line to add; or one that all are. */
export function comparePolicy(shipped: string, installed: readonly Rule[]): readonly Finding[] {
  const there = new Set(installed.map(meaning));
  const findings = shipped.split('\n').flatMap((text) => {
    const line = text.trim();
    if (line === '' || line.startsWith('#')) return [];
    const rule = parseRule(line, NAME);
    if (there.has(meaning(rule))) return [];
    const plain = line.replace(/\s+/g, ' ');
    const add = `/etc/qubes/policy.d/${NAME} lacks a line: add "${plain}"`;
    return [rule.action.kind === 'allow' ? fail('policy', add) : warn('policy', add)];
  });
  return findings.length > 0 ? findings : [ok('policy', 'all lines that this version needs are installed')];
}

/** A policy that cannot be read denies every call. */
export function unreadable(error: unknown): Finding {
  return fail('policy', messageOf(error));
}

/** What a rule says, wherever it stands. */
function meaning({ service, argument, source, target, action }: Rule): string {
  return JSON.stringify([service ?? '*', argument ?? '*', source, target, action]);
}
