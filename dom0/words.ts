/**
 * Numbers as words of the English BIP-39 list (2,048 words, 11 bits each), for what people note, compare and type:
 * https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki.
 */

import { randomInt } from 'node:crypto';
import { entropyToMnemonic, mnemonicToEntropy } from '@scure/bip39';
import { wordlist } from '@scure/bip39/wordlists/english.js';
import { BackupError } from '../shared/errors.ts';
import type { RootHash } from '../shared/ids.ts';
import { nearest } from './nearest.ts';

/** Words of a fingerprint: 88 bits. */
const FINGERPRINT_WORDS = 8;
/** Words of a generated passphrase: 88 random bits. */
const PASSPHRASE_WORDS = 8;
/** Words of 32 bytes and their checksum. */
const PAPER_WORDS = 24;

/** A short form of a root's hash that a person can note and compare: its first 88 bits as words joined by `-`. */
export function fingerprint(hash: RootHash): string {
  const bits = BigInt(`0x${hash.slice(0, 22)}`);
  const words = Array.from({ length: FINGERPRINT_WORDS }, (_, index) => {
    const shift = BigInt(11 * (FINGERPRINT_WORDS - 1 - index));
    return wordlist[Number((bits >> shift) & 2047n)];
  });
  return words.join('-');
}

/** The fingerprint that a person typed, in the form of {@link fingerprint}. Throws `usage` if it cannot be one. */
export function parseFingerprint(text: string): string {
  const words = splitWords(text);
  const unknown = words.find((word) => !wordlist.includes(word));
  if (unknown !== undefined)
    throw new BackupError('usage', `"${unknown}" is no word of a fingerprint${nearest(unknown, wordlist)}`);
  if (words.length !== FINGERPRINT_WORDS)
    throw new BackupError('usage', `a fingerprint is ${FINGERPRINT_WORDS} words, this is ${words.length}`);
  return words.join('-');
}

/** A passphrase of random words. */
export function randomPassphrase(): string {
  const words = Array.from({ length: PASSPHRASE_WORDS }, () => wordlist[randomInt(wordlist.length)]);
  return words.join(' ');
}

/** 32 bytes as 24 words. */
export function paperWords(bytes: Uint8Array): string[] {
  return entropyToMnemonic(bytes, wordlist).split(' ');
}

/** The 32 bytes of 24 words as a person wrote them. Throws `usage`, naming the place of a word that is wrong, never the word. */
export function parsePaperWords(text: string): Uint8Array {
  const words = splitWords(text);
  if (words.length !== PAPER_WORDS)
    throw new BackupError('usage', `a paper key is ${PAPER_WORDS} words, this is ${words.length}`);
  const unknown = words.findIndex((word) => !wordlist.includes(word));
  if (unknown >= 0) throw new BackupError('usage', `word ${unknown + 1} of the paper key is not in the list`);
  try {
    return mnemonicToEntropy(words.join(' '), wordlist);
  } catch (cause) {
    throw new BackupError(
      'usage',
      'the words do not belong together: one of them is another word, or two are exchanged',
      { cause },
    );
  }
}

function splitWords(text: string): string[] {
  // Numbers as in a numbered list are no words.
  return text
    .toLowerCase()
    .split(/[\s,.:;-]+/)
    .filter((word) => word !== '' && !/^\d+$/.test(word));
}
