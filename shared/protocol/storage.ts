/** The four services of a storage VM. It sees sealed objects and signed roots, nothing else (R40). */

import * as z from 'zod';
import { objectIdCodec, rootHashCodec } from '../ids.ts';
import { MAX_LIST_PAGE, MAX_OBJECT, MAX_REQUEST, MAX_ROOT, SEAL_OVERHEAD, MIN_PADDED } from '../limits.ts';
import { bulk, control } from '../wire/frame.ts';
import type { Protocol } from '../wire/frame.ts';

/** Objects in, acknowledgements out. An ack promises that the object survives a power cut. */
export const put = {
  service: 'qubes.BackupPut',
  toService: {
    object: bulk(0x80, MAX_OBJECT),
  },
  toCaller: {
    /** In the order of arrival within one ack, and of acks; `stored` false where the object was there already. */
    ack: control(
      0x10,
      z.strictObject({
        objects: z
          .array(z.strictObject({ id: objectIdCodec, stored: z.boolean() }))
          .min(1)
          .max(MAX_REQUEST),
      }),
    ),
  },
} as const satisfies Protocol;

/** Names in, objects out, in the order asked. */
export const get = {
  service: 'qubes.BackupGet',
  toService: {
    /** Up to MAX_REQUEST names of 32 bytes each. */
    want: control(0x10, z.strictObject({ ids: z.array(objectIdCodec).min(1).max(MAX_REQUEST) })),
    wantRoot: control(0x11, z.strictObject({})),
  },
  toCaller: {
    object: bulk(0x80, MAX_OBJECT),
    root: bulk(0x81, MAX_ROOT),
    missing: control(0x10, z.strictObject({ id: objectIdCodec })),
    noRoot: control(0x11, z.strictObject({})),
  },
} as const satisfies Protocol;

/** Bytes of one row of a listing: the name, then the size as u32. */
export const LIST_ROW = 36;

/** All objects, as pages of LIST_ROW-byte rows sorted by name. */
export const list = {
  service: 'qubes.BackupList',
  toService: {
    /** Starts the listing. */
    start: control(0x10, z.strictObject({})),
  },
  toCaller: {
    page: bulk(0x80, MAX_LIST_PAGE),
  },
} as const satisfies Protocol;

const bytes = z.int().min(0);

/** A live list that leaves out so much that the storage VM does not apply it before its owner said so. */
const waitingList = z.strictObject({ deadBytes: bytes, bytes });
export type WaitingList = z.output<typeof waitingList>;

/** Compare-and-set of the signed root. */
export const setRoot = {
  service: 'qubes.BackupSetRoot',
  toService: {
    /** The hash of the root that must be current (NO_ROOT for none); the new root follows as `root`. */
    expect: control(0x10, z.strictObject({ current: rootHashCodec })),
    root: bulk(0x80, MAX_ROOT),
  },
  toCaller: {
    /**
     * Durable. Also the answer when exactly this root is current already. `waits`: what a live list leaves out that waits for the
     * owner's word, and all there was, in bytes, as of the last sweep; null if none waits.
     */
    done: control(0x10, z.strictObject({ waits: z.nullable(waitingList) })),
    /** Another root is current, or none. */
    conflict: control(0x11, z.strictObject({ current: rootHashCodec })),
  },
} as const satisfies Protocol;

/** Smallest object there can be, in bytes. */
export const MIN_OBJECT = MIN_PADDED + SEAL_OVERHEAD;
