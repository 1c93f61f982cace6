/**
 * Single checks of the program, each with what it becomes when it is left out, and the cases that must notice. The texts
 * stand as they are, once, in their files.
 */

export interface Mutant {
  readonly id: string;
  readonly file: string;
  readonly text: string;
  /** Another expression for the one that `text` is; or what stands in its place, with `@` for "is left out". */
  readonly instead: string;
  /** Ids of cases, or what they begin with. */
  readonly cases: readonly string[];
  /** The other check that makes this one redundant: no case can tell, and one must stay. */
  readonly redundant?: string;
}

type Row = readonly [id: string, text: string, instead: string, cases: readonly string[], redundant?: string];

function of(file: string, rows: readonly Row[]): Mutant[] {
  return rows.map(([id, text, instead, cases, redundant]) => ({
    ...{ id, file, text, instead, cases },
    ...(redundant === undefined ? {} : { redundant }),
  }));
}

/** The place of a root. */
const ROOTS: readonly Mutant[] = [
  ...of('dom0/repository/standings.ts', [
    ['pinned-repository', 'repository !== own', 'false', ['get-root-other']],
    ['pinned-counter', 'counter < pinned.counter', 'false', ['get-root-old']],
    [
      'pinned-key',
      "!descendsFromKey(root.body, Buffer.from(pinned.publicKey, 'hex'), pinned.counter)",
      'false',
      ['get-root-key'],
    ],
    [
      'pinned-hash',
      'counter === pinned.counter && root.hash !== pinned.hash',
      'false',
      ['get-root-forked'],
      'the descent of any root that is not the pinned one is looked at as well',
    ],
  ]),
  ...of('dom0/repository/open.ts', [
    ['descent', '!isDescendant(root, samePlace, pinned.hash)', 'false', ['get-root-forked-higher']],
  ]),
  ...of('dom0/keys/keyring.ts', [
    ['own-key', 'equalBytes(keyring.publicKey, body.publicKey)', 'true', ['get-root-key-clean']],
  ]),
  ...of('shared/root.ts', [
    [
      'root-signature',
      '!verify(signature, signedBytes(encoded), body.publicKey)',
      'false',
      ['get-root-zero-signature', 'get-root-signature', 'get-root-body'],
    ],
    ['root-length', 'length !== untrusted.length - overhead', 'false', ['get-root-padded']],
    ['root-magic', '!equalBytes(magic, ROOT_MAGIC)', 'false', ['get-root-newer', 'get-root-older']],
    ['root-version', '!isOurs(untrusted)', 'true', ['get-root-version']],
    ['root-size', 'untrusted.length > MAX_ROOT || untrusted.length < overhead', 'false', ['get-root-magic']],
  ]),
];

/** Key derivation: floors, ceilings, and the sum. */
const SLOTS: readonly Mutant[] = [
  ...of('dom0/keys/derive.ts', [
    ['kdf-memory-floor', 'memory < ARGON2_MIN_MEMORY', 'false', ['get-kdf-floor', 'get-kdf-weak']],
    ['kdf-passes-floor', 'passes < ARGON2_MIN_PASSES', 'false', ['get-kdf-passes']],
    ['kdf-memory-ceiling', 'memory > ARGON2_MAX_MEMORY', 'false', ['get-kdf-huge']],
    ['kdf-passes-ceiling', 'passes > ARGON2_MAX_PASSES', 'false', ['get-kdf-huge-passes']],
    ['kdf-lanes-ceiling', 'lanes > ARGON2_MAX_LANES', 'false', ['get-kdf-huge-lanes']],
    ['kdf-work', 'work > ARGON2_MAX_WORK', 'false', ['get-kdf-ceiling']],
  ]),
  ...of('dom0/keys/slots.ts', [
    [
      'kdf-unrun',
      "checkCosts(slots.filter((slot) => slot.kind === 'passphrase'))",
      'undefined',
      ['get-kdf-last'],
    ],
  ]),
];

/** Objects that a storage VM delivers, acknowledges and lists. */
const OBJECTS: readonly Mutant[] = [
  ...of('dom0/seal/object.ts', [
    ['object-hash', 'objectIdOf(untrusted) !== id', 'false', ['get-object-older']],
    [
      'object-size',
      'untrusted.length < MIN_PADDED + SEAL_OVERHEAD || untrusted.length > MAX_OBJECT',
      'false',
      ['get-object-tiny', 'get-object-largest'],
      'the hash is of all bytes',
    ],
  ]),
  ...of('dom0/storage/object-writer.ts', [
    ['ack-order', 'at > 0', 'false', ['put-ack-swapped']],
    ['ack-unknown', 'at < 0', 'false', ['put-ack-extra']],
  ]),
  ...of('dom0/storage/object-reader.ts', [
    ['missing-id', 'message.value.id === id', 'true', ['get-missing']],
    [
      'object-name',
      "message.name === 'object'",
      "message.name === 'object' || message.name === 'root'",
      ['get-root-as-object'],
    ],
    [
      'root-name',
      "message.name === 'root'",
      "message.name === 'root' || message.name === 'object'",
      ['get-swapped'],
    ],
    [
      'no-root-name',
      "message.name === 'noRoot'",
      "message.name === 'noRoot' || message.name === 'missing'",
      ['get-missing-root'],
    ],
  ]),
  ...of('dom0/storage/storage.ts', [
    ['list-rows', 'page.length % LIST_ROW !== 0', 'false', ['list-half-row']],
    ['list-order', 'compareBytes(before, name) >= 0', 'false', ['list-unsorted', 'list-twice']],
    ['conflict', "answer.name === 'conflict'", 'false', ['setRoot-conflict']],
  ]),
  ...of('dom0/storage/listing.ts', [
    ['list-cap', 'listing.size + page.length / LIST_ROW > MAX_LISTED', 'false', ['list-over']],
    ['check-missing', 'size === undefined', 'false', ['list-left-out']],
    ['check-size', 'size < MIN_OBJECT || size > MAX_OBJECT', 'false', ['list-size']],
  ]),
];

/** The session below all services. */
const WIRE: readonly Mutant[] = [
  ...of('shared/wire/frame.ts', [
    ['magic', 'magic.equals(MAGIC)', 'true', ['scan-frame-newer', 'scan-frame-banner']],
    ['frame-cap', 'untrustedLength > spec.max', 'false', ['scan-frame-length']],
  ]),
  ...of('shared/wire/session.ts', [
    [
      'counts',
      'frames !== this.#received.frames || bytes !== this.#received.bytes',
      'false',
      ['scan-frame-counts'],
    ],
    ['credit', 'creditFor(length) > this.#peerMaySend', 'false', ['list-ungranted', 'scan-put-ungranted']],
    [
      'small-blobs',
      'this.#bulkQueued > (this.#options.maxBulkQueued ?? Infinity)',
      'false',
      ['scan-put-tiny-granted'],
    ],
    ['after-the-end', 'extra !== undefined', 'false', ['scan-put-late', 'export-data-late']],
    ['silence', 'now >= this.#heard + idleTimeout', 'false', ['scan-frame-silence']],
    ['answer-time', 'now >= deadline', 'false', ['get-frame-ping-only']],
  ]),
  ...of('dom0/call.ts', [['exit-status', 'exit.code !== 0', 'false', ['scan-frame-status']]]),
];

/** Strict CBOR. */
const CBOR: readonly Mutant[] = of('shared/cbor.ts', [
  ['cbor-end', 'end !== bytes.length', 'false', ['scan-cbor-trailing', 'scan-cbor-second', 'setRoot-cbor']],
  ['cbor-depth', 'depth > MAX_CBOR_DEPTH', 'false', ['scan-cbor-deeper', 'scan-cbor-deep-maps']],
  [
    'cbor-tag',
    'major === 1 || major === 6',
    'false',
    ['scan-cbor-tag', 'scan-cbor-negative'],
    'to the rest of the scan a tag is an item, and one too many; no schema takes a negative number',
  ],
  [
    'cbor-simple',
    'info < 20 || info > 22',
    'false',
    ['scan-cbor-simple', 'scan-cbor-float', 'scan-cbor-break', 'scan-cbor-nan', 'scan-cbor-undefined'],
    'what follows such a head is to the rest of the scan one item too many; no schema takes undefined',
  ],
  [
    'cbor-indefinite',
    'info > 27',
    'false',
    ['scan-cbor-indefinite', 'scan-cbor-reserved'],
    'the number of such a head would have 16 bytes or more, and so is too large or not minimal',
  ],
  [
    'cbor-minimal',
    'value < smallest',
    'false',
    ['scan-cbor-long-head', 'scan-cbor-long-key', 'scan-cbor-long-value'],
  ],
  [
    'cbor-range',
    'value > Number.MAX_SAFE_INTEGER',
    'false',
    ['scan-cbor-2^53', 'scan-cbor-2^64'],
    'a schema takes no integer that a double cannot hold',
  ],
  [
    'cbor-sorted',
    'previous !== undefined && compareBytes(previous, key) >= 0',
    'false',
    ['restore-cbor-unsorted', 'scan-cbor-duplicate'],
  ],
  [
    'cbor-identifier',
    '!KEY.test(utf8Decoder.decode(bytes.subarray(next, end)))',
    'false',
    ['scan-cbor-proto', 'scan-cbor-bom', 'scan-cbor-unknown'],
    'no schema takes a key that it does not name',
  ],
  [
    'cbor-text-key',
    'scanHead(bytes, cursor).major !== 3',
    'false',
    ['scan-cbor-bytes-key', 'scan-cbor-number-key'],
  ],
]);

/** What a disposable may ask, put and claim. */
const DISPOSABLE: readonly Mutant[] = [
  ...of('dom0/session/blob-server.ts', [
    ['grant', '!this.#grant.numbers.has(number)', 'false', ['restore-get-newer', 'scan-get-never']],
    [
      'trees-only',
      'this.#grant.treesOnly && row.kind !== KIND.tree',
      'false',
      ['scan-get-content', 'browse-get-content'],
    ],
    [
      'requests',
      'this.#wanted.length + this.#fetching.length > MAX_BLOBS_REQUESTED',
      'false',
      ['restore-get-endless'],
    ],
  ]),
  ...of('dom0/session/scan-session.ts', [
    ['quota', 'this.#quota < 0', 'false', ['scan-put-quota']],
    ['live-twice', 'this.#live !== undefined', 'false', ['scan-live-twice']],
    [
      'checkpoint-twice',
      'this.#committing !== undefined',
      'false',
      ['scan-checkpoint-twice', 'scan-checkpoint-flood'],
    ],
    ['scan-time', 'call.sessionTimeout ?? SESSION_TIMEOUT', 'SESSION_TIMEOUT', ['scan-frame-ping-only']],
  ]),
  ...of('dom0/repository/vm-writer.ts', [
    ['live-owned', '!live.isSubsetOf(this.#allowed(this.#history.table.next))', 'false', ['scan-live']],
    ['top-live', '!live.has(top)', 'false', ['scan-live-without-top']],
    ['top-tree', 'row?.kind !== KIND.tree', 'false', ['scan-top-content']],
  ]),
  ...of('shared/numbers.ts', [
    [
      'runs-touch',
      'length === 0 || (gap === 0 && used > 0)',
      'false',
      ['scan-live-zero-run', 'scan-live-touching'],
    ],
    ['runs-range', 'at > MAX_BLOB_NUMBER + 1', 'false', ['scan-live-huge']],
  ]),
  ...of('dom0/session/read-sessions.ts', [
    ['begin-turn', "streaming || kind !== 'fileCopy'", 'false', ['into-begin-twice', 'export-begin']],
    ['stream-begun', '!streaming', 'false', ['into-begin-none']],
    ['stream-limit', 'left < 0', 'false', ['export-data-endless']],
    [
      'export-kind',
      "(exported.crc32 !== null) !== (kind === 'fileCopy')",
      'false',
      ['export-checksum', 'into-checksum-none'],
    ],
    [
      'export-missing',
      'exported.missing.some((index) => index >= job.paths.length)',
      'false',
      ['export-missing-beyond'],
    ],
    [
      'read-time',
      'serviceCall.sessionTimeout ?? SESSION_TIMEOUT',
      'SESSION_TIMEOUT',
      ['restore-frame-ping-only'],
    ],
  ]),
  ...of('dom0/session/query-sessions.ts', [
    ['answers', 'this.#left < 0', 'false', ['browse-more', 'compare-snapshots-more']],
    ['versions-order', 'newest !== next || oldest < newest || oldest >= tops.length', 'false', ['history']],
    ['versions-all', 'next < tops.length', 'false', ['history-none']],
    [
      'needs-order',
      'top < last || top >= question.tops.length',
      'false',
      ['needing-beyond', 'needing-order'],
    ],
    ['answers-asked', 'message.name === name', 'true', ['browse-versions', 'history-entries']],
  ]),
  ...of('shared/schema.ts', [
    [
      'printable',
      '.regex(/^[\\x20-\\x7e]*$/)',
      '.refine((text) => @ || /^[\\x20-\\x7e]*$/.test(text))',
      ['browse-name', 'scan-note'],
    ],
    [
      'text-length',
      '.max(max)\n',
      '.refine((text) => @ || text.length <= max)\n',
      ['browse-name-long', 'scan-note-long'],
    ],
  ]),
  ...of('dom0/commands/restore-vm.ts', [['restored-digest', 'digest === wanted', 'true', ['verify-digest']]]),
  ...of('dom0/commands/audit.ts', [['proven-digest', 'stored !== digest', 'false', ['prove-digest']]]),
];

/** The answer of a VM that takes files. */
const RECEIVER: readonly Mutant[] = of('dom0/session/file-copy.ts', [
  ['copy-crc', 'Number(answer.readBigUInt64LE(8)) !== crc', 'false', ['filecopy-crc', 'filecopy-zeros']],
  ['copy-status', 'exit.code !== 0', 'false', ['filecopy-status', 'filecopy-dies-after']],
  ['copy-size', 'length === untrusted.length', 'false', ['filecopy-huge', 'filecopy-name-over']],
  [
    'copy-form',
    'length !== ANSWER_SIZE && !named',
    'false',
    ['filecopy-half', 'filecopy-name-lie', 'filecopy-text'],
  ],
  ['copy-errno', 'errno === 0', 'true', ['filecopy-full', 'filecopy-errno-status-0']],
  [
    'copy-escaped',
    'escapeText(untrustedName)',
    'untrustedName',
    ['filecopy-name-escapes', 'filecopy-name-newline'],
  ],
]);

/** The storage VM's own checks. Who wins between two that publish at one instant is not among them: storagevm/set-root steps through that. */
const STORAGE: readonly Mutant[] = [
  ...of('storagevm/put.ts', [
    ['put-smallest', 'bytes.length < MIN_OBJECT', 'false', ['client-put-tiny', 'client-put-empty']],
  ]),
  ...of('storagevm/set-root.ts', [
    [
      'set-owner',
      'current !== undefined && !isOfOwner(root, current)',
      'false',
      ['client-setroot-foreign-first'],
    ],
    [
      'set-expected',
      '(current?.hash ?? NO_ROOT) !== expected',
      'false',
      ['client-setroot-unexpected', 'client-setroot-fork'],
    ],
  ]),
  ...of('storagevm/succession.ts', [
    ['set-counter', 'counter <= before', 'false', ['client-setroot-older', 'client-setroot-same-number']],
    ['set-step', 'counter - before > MAX_COUNTER_STEP', 'false', ['client-setroot-skip']],
  ]),
  ...of('shared/root.ts', [
    [
      'set-signature',
      '!verify(signature, signedBytes(encoded), body.publicKey)',
      'false',
      ['client-setroot-unsigned', 'client-setroot-body'],
    ],
    ['set-rotation', 'wrong !== undefined', 'false', ['client-setroot-forged-rotation']],
  ]),
  ...of('shared/service.ts', [
    ['set-turn', 'message?.name === name', 'message !== undefined', ['client-setroot-root-first']],
  ]),
  ...of('shared/ids.ts', [
    [
      'name-length',
      'bytes.length === length,',
      '@ || bytes.length === length,',
      ['client-get-short', 'client-get-path'],
      'the text that it becomes is held to its length as well',
    ],
  ]),
  ...of('shared/wire/session.ts', [
    ['service-credit', 'creditFor(length) > this.#peerMaySend', 'false', ['client-put-flood']],
    ['service-messages', 'this.#controlQueued > MAX_CONTROL_QUEUED', 'false', ['client-get-flood']],
    ['service-spends', 'this.#credit < cost', 'false', ['client-generated']],
  ]),
];

export const MUTANTS: readonly Mutant[] = [
  ...ROOTS,
  ...SLOTS,
  ...OBJECTS,
  ...WIRE,
  ...CBOR,
  ...DISPOSABLE,
  ...RECEIVER,
  ...STORAGE,
];
