/**
 * Which lines are patterns of gitignore(5) that can match something, with bounded work. What git would silently take as
 * a pattern that never matches is refused here with the reason: a typo must not pass for an exclude.
 */

import type { ByteString } from './bytes.ts';
import { MAX_PATTERN, MAX_PATTERN_GLOBSTARS, MAX_PATTERN_WILDCARDS } from './limits.ts';

const CLASSES = new Set([
  'alnum',
  'alpha',
  'blank',
  'cntrl',
  'digit',
  'graph',
  'lower',
  'print',
  'punct',
  'space',
  'upper',
  'xdigit',
]);

/** What is wrong with `pattern` (UTF-8 bytes, `!` included) as the end of a sentence; undefined if nothing is. */
export function patternProblem(pattern: ByteString): string | undefined {
  if (pattern.length > MAX_PATTERN) return `is longer than ${MAX_PATTERN} bytes`;
  if (/[\0\r\n]/.test(pattern)) return 'holds a NUL or a line break';
  if (pattern.startsWith('#')) return 'is a comment; write \\# for a name that starts with #';
  if (/(?:^|[^\\])(?:\\\\)* $/.test(pattern))
    return 'ends in a space; write a backslash before it, or leave it off';
  const body = pattern.startsWith('!') ? pattern.slice(1) : pattern;
  if (/^\/?$/.test(body)) return 'is empty';
  return structureProblem(body) ?? componentProblem(body);
}

/** Escapes, brackets and wildcards. */
function structureProblem(body: string): string | undefined {
  let wildcards = 0;
  for (let at = 0; at < body.length; at++) {
    const char = body[at];
    if (char === '\\') {
      at += 1;
      if (at === body.length) return 'ends in a backslash';
      if (body[at] === '/') return 'has a backslash before a slash';
    } else if (char === '[') {
      const end = bracketEnd(body, at);
      if (typeof end === 'string') return end;
      at = end;
      wildcards += 1;
    } else if (char === '*' || char === '?') {
      if (body.startsWith('***', at)) return 'has more than two asterisks in a row';
      if (body.startsWith('**', at)) {
        // git's rules for `a**/b` are not those of gitignore(5), nor of other programs.
        const neighbours = [body.charAt(at - 1), body.charAt(at + 2)];
        if (neighbours.some((char) => char !== '' && char !== '/'))
          return 'has ** beside other characters; it stands alone between slashes';
        at += 1;
      }
      wildcards += 1;
    }
  }
  return wildcards > MAX_PATTERN_WILDCARDS ? `has more than ${MAX_PATTERN_WILDCARDS} wildcards` : undefined;
}

/** The index of the `]` that closes the bracket at `start`, or the problem. */
function bracketEnd(body: string, start: number): number | string {
  let at = start + 1;
  if (body[at] === '!' || body[at] === '^') at += 1;
  // The first member may be a `]` itself.
  for (let first = true; ; first = false) {
    const char = body[at];
    if (char === undefined) return 'has a [ without its ]';
    if (char === ']' && !first) return at;
    if (char === '/') return 'has a slash in brackets, which never matches';
    if (char === '[' && body[at + 1] === ':') {
      const name = /^[a-z]+(?=:\])/.exec(body.slice(at + 2))?.[0];
      if (name === undefined || !CLASSES.has(name)) return 'has an unknown [:class:] in brackets';
      at += name.length + 4;
    } else at += char === '\\' ? 2 : 1;
  }
}

/** Names that no path has. */
function componentProblem(body: string): string | undefined {
  const components = body.replace(/^\//, '').replace(/\/$/, '').split('/');
  if (components.includes('')) return 'has two slashes in a row';
  if (components.some((name) => name === '.' || name === '..'))
    return 'has the name . or .. in it; patterns start at the root of the volume';
  const globstars = components.filter((name) => name === '**').length;
  return globstars > MAX_PATTERN_GLOBSTARS ? `has ** more than ${MAX_PATTERN_GLOBSTARS} times` : undefined;
}
