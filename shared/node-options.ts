/** How Node.js is started for the services of each part. */

/** Where a service runs: the folders of `services/`. */
export type ServiceRole = 'dvm' | 'storagevm' | 'vm';

/** Of what has the keys; bin/qubes-backup says why of each. */
export const DOM0_NODE_OPTIONS: readonly string[] = [
  '--disallow-code-generation-from-strings',
  '--no-addons',
  '--max-semi-space-size=1',
  '--expose-gc',
  '--initial-old-space-size=96',
];

/**
 * Options of Node.js, sizes in MiB. Each part that moves much data may collect its young generation itself (young-memory.ts). The old one
 * of a disposable is not gone through before it and its buffers come to so much. A storage VM's service has many small objects in
 * flight, for which V8 would let its young generation grow to 128 MiB, and collects the old one the more often the less it may take.
 */
export const NODE_OPTIONS: Readonly<Record<ServiceRole, readonly string[]>> = {
  dvm: ['--expose-gc', '--initial-old-space-size=192'],
  storagevm: ['--expose-gc', '--max-semi-space-size=4', '--max-old-space-size=128'],
  vm: [],
};
