/** How Node.js is started for the services of each part. */

/** Where a service runs: the folders of `services/`. */
export type ServiceRole = 'dvm' | 'storagevm' | 'vm';

/**
 * Options of Node.js. A storage VM's service has many small objects in flight, for which V8 would let its young generation grow
 * to 128 MiB: all of its garbage of a minute, and most of what the process may take in all.
 */
export const NODE_OPTIONS: Readonly<Record<ServiceRole, readonly string[]>> = {
  dvm: [],
  storagevm: ['--max-semi-space-size=8'],
  vm: [],
};
