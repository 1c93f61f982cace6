/** What a run stored of one VM: counts for a person, and a sample for its spot check. */

import { randomInt } from 'node:crypto';
import { KIND } from '../seal/object.ts';
import type { StoredObject } from './object-store.ts';

/** Objects of a VM that are remembered for its spot check. */
const SAMPLE_SIZE = 256;

export class Tally {
  objects = 0;
  /** Of objects, as they are stored. */
  bytes = 0;
  contentObjects = 0;
  /** Some of what was stored since the last takeSample(), each as likely as any other, and how many there were. */
  #sample: StoredObject[] = [];
  #sampledFrom = 0;

  add(stored: StoredObject, size: number): void {
    this.objects += 1;
    this.bytes += size;
    if (stored.sealer.place.kind === KIND.content) this.contentObjects += 1;
    this.#addToSample(stored);
  }

  /** At most SAMPLE_SIZE of the objects stored since the last call, chosen at random. */
  takeSample(): readonly StoredObject[] {
    const sample = this.#sample;
    this.#sample = [];
    this.#sampledFrom = 0;
    return sample;
  }

  /** Reservoir sampling (Vitter's algorithm R). */
  #addToSample(stored: StoredObject): void {
    this.#sampledFrom += 1;
    if (this.#sample.length < SAMPLE_SIZE) this.#sample.push(stored);
    else {
      const at = randomInt(this.#sampledFrom);
      if (at < SAMPLE_SIZE) this.#sample[at] = stored;
    }
  }
}
