/** Bytes of X-Wing's keys. Apart from x-wing.ts, whose library takes 45 ms to load: whoever only counts needs none. */
export const X_WING = {
  privateBytes: 32,
  publicBytes: 1216,
  ciphertextBytes: 1120,
  sharedBytes: 32,
} as const;
