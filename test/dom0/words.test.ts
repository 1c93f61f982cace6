import { randomBytes } from 'node:crypto';
import { wordlist } from '@scure/bip39/wordlists/english.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  fingerprint,
  paperWords,
  parseFingerprint,
  parsePaperWords,
  randomPassphrase,
} from '../../dom0/words.ts';
import { rootHashOf } from '../../shared/ids.ts';
import { failure } from '../support/failure.ts';

describe('R06: a fingerprint', () => {
  const hash = rootHashOf(randomBytes(9));

  it('is 88 bits of the hash', () => {
    const bits = fingerprint(hash)
      .split('-')
      .map((word) => wordlist.indexOf(word).toString(2).padStart(11, '0'));
    expect(bits).toHaveLength(8);
    expect(BigInt(`0b${bits.join('')}`)).toBe(BigInt(`0x${hash.slice(0, 22)}`));
  });

  it('is read as people type it', () => {
    const words = fingerprint(hash).split('-');
    for (const text of [words.join('-'), words.join(' '), `  ${words.join(', ').toUpperCase()}\n`])
      expect(parseFingerprint(text)).toBe(fingerprint(hash));
  });

  it('is refused with what is wrong', () => {
    expect(failure(() => parseFingerprint('abandon ability')).message).toContain('this is 2');
    expect(failure(() => parseFingerprint(`abandn ${'zoo '.repeat(7)}`)).message).toContain(
      'did you mean abandon',
    );
  });
});

/** Of the specification's vectors. */
const ENTROPY = Buffer.from('9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863', 'hex');

describe('R52: a paper key', () => {
  it('is the 24 words of BIP-39 (test vectors of the specification)', () => {
    expect(paperWords(new Uint8Array(32)).join(' ')).toBe(`${'abandon '.repeat(23)}art`);
    expect(paperWords(new Uint8Array(32).fill(0xff)).join(' ')).toBe(`${'zoo '.repeat(23)}vote`);
    expect(paperWords(ENTROPY).join(' ')).toBe(
      'panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation flash devote level hobby quick inner drive ghost inside',
    );
  });

  it('is read as people write it down', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (entropy) => {
        const words = paperWords(entropy);
        const numbered = words.map((word, i) => `${i + 1}. ${word}`);
        for (const text of [words.join(' '), words.join('\n').toUpperCase(), numbered.join('\r\n')])
          expect(Buffer.compare(parsePaperWords(text), entropy)).toBe(0);
      }),
      { numRuns: 20 },
    );
  });

  it('is refused with the place of what is wrong, and without any of its words', () => {
    const words = paperWords(ENTROPY);
    const messages = [
      failure(() => parsePaperWords(words.slice(1).join(' '))).message,
      failure(() => parsePaperWords(words.with(6, 'sekret').join(' '))).message,
      failure(() => parsePaperWords(words.toReversed().join(' '))).message,
    ];
    expect(messages[0]).toContain('this is 23');
    expect(messages[1]).toContain('word 7');
    for (const message of messages) {
      expect(message).not.toContain('sekret');
      expect(words.filter((word) => message.split(/\W+/).includes(word))).toEqual([]);
    }
  });
});

it('a generated passphrase is 8 words of the list, another each time', () => {
  const several = Array.from({ length: 20 }, () => randomPassphrase());
  for (const passphrase of several) {
    expect(passphrase.split(' ')).toHaveLength(8);
    for (const word of passphrase.split(' ')) expect(wordlist).toContain(word);
  }
  expect(new Set(several).size).toBe(20);
});
