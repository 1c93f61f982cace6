/** docs/json.md: it is not old, and has every event that the program can print. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { JSON_PAGE, JSON_SCHEMA_FILE, jsonPage, jsonSchemaText } from '../../docs/generate/json.ts';
import { EVENTS, eventProblem } from '../../dom0/events/events.ts';
import { PROJECT } from '../support/processes.ts';

test('they are what `npm run docs:json` makes of this version: run that', () => {
  expect(readFileSync(JSON_PAGE, 'utf8')).toBe(jsonPage());
  expect(readFileSync(JSON_SCHEMA_FILE, 'utf8')).toBe(jsonSchemaText());
});

test('every event that is printed somewhere is documented, and no other', () => {
  const printed = new Set<string>();
  for (const file of readdirSync(join(PROJECT, 'dom0'), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || file.startsWith('events/')) continue;
    const source = readFileSync(join(PROJECT, 'dom0', file), 'utf8');
    for (const [, name = ''] of source.matchAll(/(?:\.event\(|\bevent: |entryRow\()'([a-z-]+)'/g))
      printed.add(name);
  }
  expect([...printed].sort()).toEqual([...EVENTS.keys()].sort());
});

test('every field has a meaning, or one by its kind', () => {
  const page = jsonPage();
  const unexplained = page.split('\n').filter((line) => /^\| `.*\|\s*\|$/.test(line));
  expect(
    unexplained.filter((line) => !/`(?:result|change|level|shell|vms|skipped|volumes)`/.test(line)),
  ).toEqual([]);
});

test('an event with a field too many, too few, of another kind, or of another name is none', () => {
  const right = { event: 'locked', wasUnlocked: true };
  expect(eventProblem(right)).toBeUndefined();
  expect(eventProblem({ ...right, since: 1 })).toMatch(/event locked: .*"since"/);
  expect(eventProblem({ event: 'locked' })).toMatch(/event locked/);
  expect(eventProblem({ ...right, wasUnlocked: 'yes' })).toMatch(/event locked/);
  expect(eventProblem({ event: 'sesame' })).toBe('there is no event sesame');
  expect(eventProblem([])).toBe('it is no object with a name');
});
