/**
 * Many conversations, one after the other, over the stdio of one process that lives on. Each message: kind u8,
 * conversation u32, length u32, bytes. A conversation that was given up is told by its number.
 */

export const MESSAGE = { data: 0, open: 1, hangUp: 2, complaint: 3, closed: 4, ended: 5 } as const;
/** Bytes of one message at most: no receiver has to gather large ones. */
export const PIECE = 48 * 1024;
const HEADER = 9;

export interface MuxMessage {
  readonly kind: number;
  readonly conversation: number;
  readonly bytes: Buffer;
}

export function muxBytes(kind: number, conversation: number, bytes: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER);
  header[0] = kind;
  header.writeUInt32BE(conversation, 1);
  header.writeUInt32BE(bytes.length, 5);
  return Buffer.concat([header, bytes]);
}

export class MuxReader {
  #pending: Buffer = Buffer.alloc(0);

  take(bytes: Uint8Array): MuxMessage[] {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    const messages: MuxMessage[] = [];
    while (this.#pending.length >= HEADER) {
      const end = HEADER + this.#pending.readUInt32BE(5);
      if (this.#pending.length < end) break;
      messages.push({
        kind: this.#pending.readUInt8(0),
        conversation: this.#pending.readUInt32BE(1),
        bytes: this.#pending.subarray(HEADER, end),
      });
      this.#pending = this.#pending.subarray(end);
    }
    return messages;
  }
}
