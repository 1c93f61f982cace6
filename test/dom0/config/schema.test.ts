/** What is generated from the settings, and that each says what it is for. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readConfigFile } from '../../../dom0/config/file.ts';
import { sentence } from '../../../dom0/config/problems.ts';
import {
  EXAMPLE_FILE,
  SCHEMA_FILE,
  exampleText,
  schemaText,
  settings,
} from '../../../docs/generate/config.ts';
import type { Setting } from '../../../docs/generate/config.ts';
import { tempFolder } from '../../support/temp.ts';

const all = (some: readonly Setting[]): Setting[] => some.flatMap((one) => [one, ...all(one.settings)]);

test.each(all(settings()).map(({ path, schema }) => [path.join('.'), schema] as const))(
  '%s has a description, and where it is no table a default or an example',
  (_, { description, properties, items, additionalProperties, default: preset, examples }) => {
    expect(description, 'dom0/config/schema.ts: .meta({ description })').toMatch(/^[ -~]+\.$/);
    const isTable = properties ?? items?.properties ?? additionalProperties;
    if (!isTable) expect(preset ?? examples?.[0], 'dom0/config/schema.ts: .meta({ examples })').toBeDefined();
  },
);

test.each([
  [SCHEMA_FILE, schemaText],
  [EXAMPLE_FILE, exampleText],
])('%s is as the settings are: else run `npm run docs:config`', (file, made) => {
  expect(readFileSync(file, 'utf8')).toBe(made());
});

describe('the annotated example', () => {
  const example = readFileSync(EXAMPLE_FILE, 'utf8');

  function problemsOf(text: string) {
    const file = join(tempFolder(), 'config.toml');
    writeFileSync(file, text);
    return readConfigFile({ file, localHome: undefined }).problems.map(sentence);
  }

  test('sets nothing as it is, and every line of it is right once it is set', () => {
    expect(problemsOf(example)).toEqual(['driver: is missing: give local or qubes']);
    // With all of it set, it is only too much at once.
    expect(problemsOf(example.replace(/^#\?/gm, ''))).toEqual([
      expect.stringMatching(/^line \d+: home: is of the driver "local"/),
      expect.stringMatching(/^line \d+: storage.0: give either vm, or name and folder/),
    ]);
  });

  test('each line that is set wrong is a problem in that line', () => {
    const lines = example.replace(/^#\?/gm, '').split('\n');
    const set = [...lines.entries()].filter(([, line]) => /^\w+ = /.test(line));
    expect(set.length).toBeGreaterThan(30);
    for (const [index, line] of set) {
      const wrong = lines.with(index, line.replace(/ = .*/, ' = { wrong = 1 }')).join('\n');
      expect(problemsOf(wrong).join('\n')).toContain(`line ${index + 1}: `);
    }
  });
});
