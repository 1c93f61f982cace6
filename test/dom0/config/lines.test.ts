/** Lines of keys, in TOML as awkward as it may be. */

import fc from 'fast-check';
import { parse } from 'smol-toml';
import { expect, test } from 'vitest';
import { Lines } from '../../../dom0/config/lines.ts';
import type { Path } from '../../../dom0/config/lines.ts';

/** Looks up keys of these lines. */
const linesOf = (...text: readonly string[]) => {
  const lines = new Lines(text.join('\n'));
  return (...path: (string | number)[]) => lines.of(path);
};

test('keys, quoted and dotted ones, and what they set on the way', () => {
  const at = linesOf('# a = 0', '', 'a = 1', '"b c".\'d.e\' . f = 2', '"\\u0067" = 3', '"" = 4', 'a-_1 = 5');
  expect([at('a'), at('b c'), at('b c', 'd.e', 'f'), at('g'), at(''), at('a-_1')]).toEqual([
    3, 4, 4, 5, 6, 7,
  ]);
  expect([at('b c', 'd'), at('f'), at('a', 'x'), at('__proto__'), at('toString')]).toEqual(
    Array(5).fill(undefined),
  );
});

test('tables, of which one may begin below another, and arrays of tables', () => {
  const at = linesOf(
    ...['[x.y.z]', 'a = 1', '[x]', 'a = 2', '[[s]]', 'a = 3', '[[s.t]]', 'a = 4', '[[s.t]]', '[[s]] # [[s]]'],
    ...['[s.u]', 'a = 5', '["x".w]', '[__proto__]', 'a = 6'],
  );
  expect([at('x'), at('x', 'y', 'z', 'a'), at('x', 'a'), at('x', 'w')]).toEqual([1, 2, 4, 13]);
  expect([at('s'), at('s', 0), at('s', 0, 'a'), at('s', 0, 't', 0, 'a')]).toEqual([5, 5, 6, 8]);
  expect([at('s', 0, 't', 1), at('s', 1), at('s', 1, 'u', 'a'), at('s', 1, 'a')]).toEqual([
    9,
    10,
    12,
    undefined,
  ]);
  expect(at('__proto__', 'a')).toBe(15);
});

test('strings and arrays of many lines that look like TOML themselves', () => {
  const at = linesOf(
    ...[
      'a = """',
      'b = 1',
      '[c]',
      '\\"""',
      '"""',
      "d = '''",
      '[[e]]',
      "'''",
      'f = [ # ]',
      '  "]",',
      '  { g = 1 },',
      '',
      ']',
    ],
    ...['h = { i.j = 1, "k" = [', '2] }', 'b = "[c]" # """'],
  );
  expect([at('a'), at('b'), at('c'), at('d'), at('e')]).toEqual([1, 16, undefined, 6, undefined]);
  expect([at('f'), at('f', 0), at('f', 1, 'g'), at('h', 'i', 'j'), at('h', 'k', 0)]).toEqual([
    9, 9, 9, 14, 14,
  ]);
});

test('other ends of lines, and none at the end', () => {
  expect(linesOf('a = 1\r', 'b = """\r', 'c = 2\r', '"""\r', 'c = 3')('c')).toBe(5);
  expect(linesOf()('a')).toBeUndefined();
});

test('any file: the line of a key is where its statement begins', () => {
  const key = fc.constantFrom('a', '"b c"', "'d.e'", '"#"', '"[f]"', '"="');
  const filler = fc.constantFrom('', '# [x]', '  # """', '\t');
  const value = fc.constantFrom(
    ...[
      '@',
      '[@]',
      '[\n@,\n# ]\n]',
      '{ v = @ }',
      '[{ v = @ }, """\n[q]\n"""]',
      '["""\nq = 9\n""", @]',
      "['''\n''', @]",
    ],
  );
  const statement = fc.record({
    fillers: fc.array(filler, { maxLength: 2 }),
    name: fc.array(key, { minLength: 1, maxLength: 3 }),
    value,
  });
  const table = fc.record({
    many: fc.boolean(),
    name: key,
    statements: fc.array(statement, { maxLength: 4 }),
  });
  fc.assert(
    fc.property(fc.array(table, { maxLength: 5 }), (tables) => {
      const lines: string[] = [];
      const expected: number[] = [];
      for (const [index, { many, name, statements }] of tables.entries()) {
        const header = `T${many ? 's' : index}.${name}`;
        lines.push(many ? `[[${header}]]` : `[${header}]`);
        for (const { fillers, name: words, value: text } of statements) {
          lines.push(...fillers);
          expected.push(lines.length + 1);
          // Numbers tell keys of one table apart, so that none is set twice.
          const dotted = words.map((word) => ` ${word} `).join('.');
          lines.push(
            ...`k${expected.length}.${dotted} = ${text.replace('@', String(expected.length))}`.split('\n'),
          );
        }
      }
      const text = lines.join('\n');
      const found = new Lines(text);
      const numbers = [...numbersIn(parse(text), [])];
      expect(numbers).toHaveLength(expected.length);
      for (const { path, number } of numbers) expect(found.of(path), text).toBe(expected[number - 1]);
    }),
    { numRuns: 60 },
  );
});

function* numbersIn(value: unknown, path: Path): Iterable<{ path: Path; number: number }> {
  if (typeof value === 'number') yield { path, number: value };
  else if (Array.isArray(value))
    for (const [index, item] of value.entries()) yield* numbersIn(item, [...path, index]);
  else if (typeof value === 'object' && value !== null)
    for (const [key, item] of Object.entries(value)) yield* numbersIn(item, [...path, key]);
}
