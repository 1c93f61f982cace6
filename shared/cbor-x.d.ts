// The one entry point of cbor-x that loads no native addon and uses no `new Function`; the package ships no types for it.
declare module 'cbor-x/index-no-eval' {
  export class Encoder {
    constructor(options: {
      useRecords: boolean;
      mapsAsObjects: boolean;
      variableMapSize: boolean;
      tagUint8Array: boolean;
      int64AsNumber: boolean;
    });
    encode(value: unknown): Uint8Array;
    decode(bytes: Uint8Array): unknown;
  }
}
