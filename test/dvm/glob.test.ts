import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ByteString } from '../../shared/bytes.ts';
import { compileGlob } from '../../dvm/glob.ts';

const matches = (pattern: string, text: string) => compileGlob(pattern as ByteString)(text as ByteString);

describe('a glob', () => {
  test.each([
    ['*.txt', ['a.txt', '.txt', '..txt'], ['a.txt.gz', 'x/a.txt', 'a.TXT', '']],
    ['*', ['', 'a', '.a', '\xff\n'], ['a/b', '/']],
    ['**', ['', 'a', 'a/b/c'], []],
    ['**/x', ['x', 'a/x', 'a/b/x'], ['ax', 'a/bx', 'x/', 'a/x/y']],
    ['a/**/z', ['a/z', 'a/b/z', 'a/b/c/z'], ['az', 'a/bz', 'b/a/z', 'a//']],
    ['a/**', ['a/', 'a/b', 'a/b/c'], ['a', 'ab/c']],
    ['a**z', ['az', 'a/z', 'abcz'], ['a', 'azy']],
    ['?', ['a', '\xe9', '*'], ['', 'ab', '/']],
    ['[a-c]', ['a', 'b', 'c'], ['d', '-', '', 'ab']],
    ['[!a-c]', ['d', '-'], ['a', '/', '']],
    ['[^a]', ['b'], ['a']],
    ['[]]', [']'], ['[]]', '']],
    ['[a-]', ['a', '-'], ['b']],
    ['[-a]', ['a', '-'], ['b']],
    ['[\\]a]', [']', 'a'], ['\\']],
    ['[/]', [], ['/']],
    ['[abc', ['[abc'], ['a']],
    ['\\*', ['*'], ['a', '\\*']],
    ['\\x2a', ['*'], ['a', 'x2a']],
    ['\\xff*', ['\xff', '\xffa'], ['xff', 'a']],
    ['[\\x80-\\xff]', ['\x80', '\xff'], ['a']],
    ['\\xzz', ['xzz'], ['zz']],
    ['a\\', ['a\\'], ['a']],
    ['', [''], ['a']],
    ['{a,b}', ['{a,b}'], ['a']],
  ])('%s', (pattern, yes, no) => {
    for (const text of yes) expect(matches(pattern, text), text).toBe(true);
    for (const text of no) expect(matches(pattern, text), text).toBe(false);
  });

  test('matches what its definition says: random patterns and texts', () => {
    const piece = fc.constantFrom('*', '**', '**/', '/**/', '?', 'a', 'b', '/', '[ab]', '[!a]', '\\a', '\\*');
    const pattern = fc.array(piece, { maxLength: 7 }).map((pieces) => pieces.join(''));
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*'), maxLength: 8 });
    fc.assert(
      fc.property(pattern, text, (glob, candidate) => {
        expect(matches(glob, candidate)).toBe(byDefinition(glob, candidate, true));
      }),
      { numRuns: 5000 },
    );
  });

  test('R02: no name of a hostile volume makes a pattern slow', () => {
    const started = performance.now();
    expect(matches('*a'.repeat(100) + 'x', 'a'.repeat(10_000))).toBe(false);
    expect(matches('**/'.repeat(50) + 'x', 'a/'.repeat(5_000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

/** The glob's definition, word by word, with all the backtracking that takes. */
function byDefinition(glob: string, text: string, startsComponent: boolean): boolean {
  const rest = (length: number, count = 1) =>
    byDefinition(glob.slice(length), text.slice(count), glob[length - 1] === '/');
  const [char] = glob;
  if (char === undefined) return text === '';
  if (char === '*') {
    const stars = /^\*+/.exec(glob)![0].length;
    const tail = glob.slice(stars);
    const from = (at: number) => text.slice(at);
    const places = Array.from({ length: text.length + 1 }, (_, at) => at);
    if (stars === 1)
      return places.some((at) => !text.slice(0, at).includes('/') && byDefinition(tail, from(at), false));
    if (startsComponent && tail.startsWith('/')) {
      return places.some(
        (at) => (at === 0 || text[at - 1] === '/') && byDefinition(tail.slice(1), from(at), true),
      );
    }
    return places.some((at) => byDefinition(tail, from(at), false));
  }
  const [next] = text;
  if (next === undefined) return false;
  if (char === '?') return next !== '/' && rest(1);
  if (glob.startsWith('[ab]')) return 'ab'.includes(next) && rest(4);
  if (glob.startsWith('[!a]')) return next !== 'a' && next !== '/' && rest(4);
  if (char === '\\') return next === glob[1] && rest(2);
  return next === char && rest(1);
}
