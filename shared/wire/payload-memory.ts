/**
 * Memory of large payloads, used again. What is allocated anew for each is given back by the garbage collector, which knows little
 * of it, runs every few payloads, and lets the kernel zero all of it again.
 */

/** Payloads of fewer bytes have memory of their own: it costs little, and there may be very many. */
const LARGE = 1024 * 1024;

/** Bytes kept at most unless less is wanted. What a service has in flight at once (SERVICE_WINDOW) fits. */
const MAX_KEPT = 32 * 1024 * 1024;

export class PayloadMemory {
  readonly #maxKept: number;
  readonly #kept: ArrayBuffer[] = [];
  #bytes = 0;

  constructor(maxKept = MAX_KEPT) {
    this.#maxKept = maxKept;
  }

  /** `length` bytes of whatever content: all of them are to be written before they are read. */
  take(length: number): Uint8Array {
    // Of one that is much larger, most would lie idle.
    const at = this.#kept.findIndex(({ byteLength }) => byteLength >= length && byteLength <= 2 * length);
    const [found] = at < 0 ? [] : this.#kept.splice(at, 1);
    if (found === undefined) return Buffer.allocUnsafeSlow(length);
    this.#bytes -= found.byteLength;
    return Buffer.from(found, 0, length);
  }

  /** Takes back the memory of `bytes` from {@link take}. Nobody may look at it any more: it gets other content. */
  giveBack({ buffer, length }: Uint8Array): void {
    if (length < LARGE || !(buffer instanceof ArrayBuffer)) return;
    if (this.#bytes + buffer.byteLength > this.#maxKept) return;
    this.#kept.push(buffer);
    this.#bytes += buffer.byteLength;
  }
}
