/** What is mounted inside what a sandbox is shown. */

import { expect, test } from 'vitest';
import { visibleMounts } from '../../dom0/domains/mounts.ts';

const line = (id: number, parent: number, path: string) =>
  `${id} ${parent} 0:${id} / ${path} rw,relatime shared:1 - tmpfs tmpfs rw\n`;

test('mounts that can be reached, in the order of the kernel', () => {
  const text = [
    line(1, 0, '/'),
    line(2, 1, '/home'),
    line(3, 2, '/home/user/a\\040b\\134c'),
    line(4, 1, '/proc'),
  ];
  expect(visibleMounts(text.join(''))).toEqual(['/', '/home', '/home/user/a b\\c', '/proc']);
  expect(visibleMounts(line(1, 0, '/m\xc3\xbcll'))).toEqual(['/müll']);
  expect(visibleMounts('')).toEqual([]);
});

test('what a later mount hides is not among them', () => {
  // /a/b, then /a over it; /c twice; /ab is beside /a.
  const text = [line(1, 0, '/'), line(2, 1, '/a/b'), line(3, 1, '/a'), line(4, 1, '/ab'), line(5, 1, '/c')];
  expect(visibleMounts([...text, line(6, 5, '/c')].join(''))).toEqual(['/', '/a', '/ab', '/c']);
});

test('a table that goes in a circle ends', () => {
  expect(visibleMounts(line(1, 2, '/a') + line(2, 1, '/a/b'))).toHaveLength(2);
});
