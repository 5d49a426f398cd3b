/** Which keys a file may hold: a Bloom filter, so that a file of any length costs one megabyte of memory. */
import { hash } from "node:crypto";

/** With 100,000 keys in it, one unknown key in 20,000 is taken for a known one; with a million, one in 30. */
const BITS = 2 ** 23;

export type Keys = {
  readonly add: (key: string) => void;
  /** False: it was never added. True: look for yourself. */
  readonly mayHold: (key: string) => boolean;
};

export function createKeys(): Keys {
  const bits = new Uint8Array(BITS / 8);
  return {
    add: (key) => {
      for (const place of placesOf(key)) bits[place >> 3] = (bits[place >> 3] ?? 0) | (1 << (place & 7));
    },
    mayHold: (key) => placesOf(key).every((place) => ((bits[place >> 3] ?? 0) >> (place & 7)) & 1),
  };
}

function placesOf(key: string): readonly number[] {
  const digest = hash("sha256", key, "buffer");
  return [digest.readUInt32BE(0) % BITS, digest.readUInt32BE(4) % BITS, digest.readUInt32BE(8) % BITS];
}
