/**
 * Short-lived buffers. V8 counts their memory, which is not in its heap, as if it were old: as soon as it and the old generation reach
 * the limit of that one, the whole heap is marked, though a look at the young objects is enough to find them dead, in less than a
 * millisecond.
 */

/** Bytes of buffers after which the young generation is collected: well below those limits (node-options.ts). */
const EVERY = 24 * 1024 * 1024;

let used = 0;

/** Tells of `bytes` of buffers that are dropped soon. Does nothing but count without Node.js' option `--expose-gc`. */
export function usedBuffers(bytes: number): void {
  used += bytes;
  if (used < EVERY) return;
  used = 0;
  globalThis.gc?.({ type: 'minor' });
}
