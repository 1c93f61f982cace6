import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExcludePatterns } from '../../dvm/exclude-patterns.ts';
import { byteString, bytesOf, utf8 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { patternProblem } from '../../shared/exclude-pattern.ts';
import { MAX_PATTERN } from '../../shared/limits.ts';
import { program, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';

const bytes = (text: string) => byteString(utf8(text));
const patternsOf = (...patterns: string[]) =>
  new ExcludePatterns(patterns.map((text) => ({ pattern: bytes(text), reason: bytes(text) })));

/** Paths with whether each is a directory, in path order. */
type Tree = ReadonlyMap<ByteString, boolean>;

/** The topmost paths that are left out, going down as a walk does. */
function leftOut(patterns: ExcludePatterns, tree: Tree): ByteString[] {
  const out: ByteString[] = [];
  for (const [path, isDirectory] of tree) {
    const pruned = out.some((above) => path.startsWith(`${above}/`));
    if (!pruned && patterns.reasonFor(path, isDirectory) !== undefined) out.push(path);
  }
  return out;
}

describe('a pattern', () => {
  test.each([
    ['*.iso', 'a/b.iso', true],
    ['*.iso', 'b.ISO', false],
    ['/top', 'a/top', false],
    ['a/b', 'x/a/b', false],
    ['**/a/b', 'x/a/b', true],
    ['a/**/b', 'a/x/y/b', true],
    ['a/**', 'a', false],
    ['only/', 'only', false],
    ['\\!bang', '!bang', true],
    ['\\#hash', '#hash', true],
    ['trailing\\ ', 'trailing ', true],
    ['[[:digit:]]x', '7x', true],
    ['é', 'é', true],
    ['??', 'é', true],
    ['?', 'é', false],
    ['*', 'new\nline', true],
  ])('%s on %j: %s', (pattern, path, matches) => {
    expect(patternProblem(bytes(pattern))).toBeUndefined();
    expect(patternsOf(pattern).reasonFor(bytes(path), false)).toBe(matches ? bytes(pattern) : undefined);
  });

  test.each([
    ['', 'is empty'],
    ['!', 'is empty'],
    ['/', 'is empty'],
    ['# note', 'is a comment'],
    ['a ', 'ends in a space'],
    ['a\\\\ ', 'ends in a space'],
    ['a\\', 'ends in a backslash'],
    ['a\\/', 'backslash before a slash'],
    ['[a', '[ without its ]'],
    ['[]', '[ without its ]'],
    ['[a/b]', 'slash in brackets'],
    ['[[:word:]]', 'unknown [:class:]'],
    ['a***', 'more than two asterisks'],
    ['a**/b', '** beside other characters'],
    ['a/**b', '** beside other characters'],
    ['a//b', 'two slashes'],
    ['./a', '. or ..'],
    ['a/../b', '. or ..'],
    ['**/a/**/b/**', '** more than 2 times'],
    ['*a'.repeat(17), 'more than 16 wildcards'],
    ['a\nb', 'line break'],
    ['a\0', 'NUL'],
    ['x'.repeat(MAX_PATTERN + 1), 'longer than'],
  ])('%j is refused: %s', (pattern, problem) => {
    expect(patternProblem(bytes(pattern))).toContain(problem);
  });

  test('a name of any bytes can be matched', () => {
    expect(patternsOf('?').reasonFor('\xe9' as ByteString, false)).toBe('?');
    expect(patternsOf('[!a]\xff*').reasonFor('\x80\xc3\xbf\x01' as ByteString, false)).toBe('[!a]\xc3\xbf*');
  });

  test('a later ! takes in again, but nothing below what is left out', () => {
    const patterns = patternsOf('*.iso', '!keep.iso', 'cache/', '!cache/keep');
    const tree: Tree = new Map([
      [bytes('a.iso'), false],
      [bytes('cache'), true],
      [bytes('cache/keep'), false],
      [bytes('keep.iso'), false],
    ]);
    expect(leftOut(patterns, tree)).toEqual(['a.iso', 'cache']);
    expect(patternsOf('cache/*', '!cache/keep').reasonFor(bytes('cache/keep'), false)).toBeUndefined();
  });
});

const word = fc.constantFrom(
  'a',
  'b',
  'ab',
  'a.b',
  'é',
  '#a',
  '!b',
  ' ',
  'a b',
  '[',
  '\\',
  '*',
  '-',
  'A',
  '\x7f',
);
const name = fc.oneof(
  word,
  fc.array(word, { minLength: 1, maxLength: 3 }).map((words) => words.join('')),
);
const wild = fc.constantFrom(
  ...[
    '*',
    '?',
    '**',
    '[ab]',
    '[!a]',
    '[^a-c]',
    '[]a]',
    '[a-]',
    '[[:alpha:]]',
    '[[:space:][:upper:]]',
    '\\*',
    '\\?',
  ],
  ...[
    '[c-a]',
    '[\\]]',
    '\\\\',
    '\\a',
    '\\ ',
    '\\[',
    '{a,b}',
    '(a|b)',
    '$',
    '^',
    '+',
    '.',
    '[.]',
    '[[:]',
    '[!]a]',
  ],
);
const component = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('a', 'b', 'ab', 'é', '*', '**', '?') },
  {
    weight: 3,
    arbitrary: fc.array(fc.oneof(wild, name), { minLength: 1, maxLength: 3 }).map((all) => all.join('')),
  },
);
const pattern = fc
  .tuple(
    fc.constantFrom('', '', '', '!'),
    fc.constantFrom('', '', '/'),
    fc.array(component, { minLength: 1, maxLength: 3 }),
    fc.constantFrom('', '', '/'),
  )
  .map(([not, start, components, end]) => `${not}${start}${components.join('/')}${end}`)
  .filter((text) => patternProblem(bytes(text)) === undefined);

/** A tree of up to three levels, in path order. */
const tree: fc.Arbitrary<Tree> = fc
  .uniqueArray(fc.array(name, { minLength: 1, maxLength: 3 }), {
    maxLength: 12,
    selector: (all) => all.join('/'),
  })
  .map((all) => {
    const paths = new Map<ByteString, boolean>();
    for (const names of all) {
      for (let depth = 1; depth <= names.length; depth++) {
        const path = bytes(names.slice(0, depth).join('/'));
        paths.set(path, paths.get(path) === true || depth < names.length);
      }
    }
    return new Map(
      [...paths].sort(([a], [b]) => (a.replaceAll('/', '\0') < b.replaceAll('/', '\0') ? -1 : 1)),
    );
  });

testNeeding(program('git'))(
  'R23: the same paths are left out as git leaves out',
  () => {
    const store = tempFolder();
    const git = { ...process.env, GIT_CONFIG_NOSYSTEM: '1', HOME: store, GIT_DIR: `${store}/git` };
    execFileSync('git', ['init', '-q'], { env: git, cwd: store });
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 6 }), tree, (patterns, paths) => {
        const folder = tempFolder();
        for (const [path, isDirectory] of paths) {
          const place = Buffer.concat([Buffer.from(`${folder}/`), bytesOf(path)]);
          if (isDirectory) mkdirSync(place);
          else writeFileSync(place, '');
        }
        writeFileSync(`${store}/list`, `${patterns.join('\n')}\n`);
        const asked = [...paths.keys()].map((path) => `${path}\0`).join('');
        const answer = spawnSync(
          'git',
          ['-c', `core.excludesFile=${store}/list`, 'check-ignore', '--no-index', '--stdin', '-z'],
          { env: { ...git, GIT_WORK_TREE: folder }, cwd: folder, input: Buffer.from(asked, 'latin1') },
        );
        expect(answer.stderr.toString()).toBe('');
        const ignored = new Set(byteString(answer.stdout).split('\0').slice(0, -1));
        const expected = [...paths.keys()].filter((path) => {
          const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
          return ignored.has(path) && !ignored.has(parent);
        });
        expect(leftOut(patternsOf(...patterns), paths)).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  },
  120_000,
);

test('R23: a million paths leave no memory of them behind', () => {
  const patterns = patternsOf('*.iso', '/home/*/.cache/', '**/build/**');
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const size = () => {
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  patterns.reasonFor(bytes('warm'), false);
  const before = size();
  let most = 0;
  for (let folder = 0; folder < 1000; folder++) {
    patterns.reasonFor(bytes(`home/user/folder-${folder}`), true);
    for (let file = 0; file < 1000; file++)
      patterns.reasonFor(bytes(`home/user/folder-${folder}/a-file-with-some-name-${file}`), false);
    if (folder % 50 === 0) most = Math.max(most, size() - before);
  }
  // The library alone would remember each: about 200 MB.
  expect(most).toBeLessThan(64 * 1024 * 1024);
});

test('R23: patterns made to run long end soon on paths made for them', () => {
  const names = ['a'.repeat(255), 'ab'.repeat(127), 'a'.repeat(31), 'a'];
  const hostile = [
    '*a'.repeat(15) + '*b',
    `${'*aaaaaaaa'.repeat(15)}b`,
    '**/*a*/**/*a*b',
    '*a*/**/*a*/**/b',
    `${'a*'.repeat(14)}/**/b`,
    `**/${'*'.repeat(1)}a/**/*a*a*a*a*b`,
    '[!b]*[!b]*[!b]*[!b]*[!b]*[!b]*[!b]*b',
  ];
  for (const each of hostile) {
    expect(patternProblem(bytes(each))).toBeUndefined();
    for (const repeated of names) {
      const depth = Math.min(128, Math.floor(4096 / (repeated.length + 1)));
      const path = bytes(Array(depth).fill(repeated).join('/'));
      const started = performance.now();
      patternsOf(each).reasonFor(path, false); // All directories above it as well, as after the library forgot.
      expect(performance.now() - started, `${each} on ${repeated.slice(0, 10)}`).toBeLessThan(1000);
    }
  }
});

test('a path longer than git knows, of any depth, matches nothing and costs no stack', () => {
  const deep = bytes('d/'.repeat(500_000) + 'd');
  expect(patternsOf('d').reasonFor(deep, true)).toBeUndefined();
  expect(patternsOf('**/e').reasonFor(bytes('d/'.repeat(127) + 'e'), true)).toBe('**/e');
  expect(patternsOf('**/e').reasonFor(bytes('d/'.repeat(128) + 'e'), true)).toBeUndefined();
});
